"""The heads of requests: how long a header may be, and which cookies are passed on."""

from __future__ import annotations

from typing import Any

import pytest

from config.bridge import environ_of
from config.heads import MOST_HEADER_BYTES, has_too_long, most_bytes_of, with_plain_cookies
from eventstore.rest.scopes import request_of

NAMES = (
    *(
        "accept",
        "accept-encoding",
        "accept-language",
        "authorization",
        "content-type",
        "cookie",
        "host",
        "hx-current-url",
    ),
    *(
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "last-event-id",
        "origin",
        "prefer",
        "range",
    ),
    *("referer", "x-correlation-id", "x-csrftoken", "x-forwarded-for", "x-forwarded-proto", "x-of-nobody"),
)


def _scope(*headers: tuple[str, str]) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/log-in",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


def _passed_on(scope: Any, name: str) -> list[str]:
    """What the pages and the live stream are given of a header."""
    key = name.upper().replace("-", "_")
    pages = environ_of(scope, b"")
    return [pages.get(key) or pages[f"HTTP_{key}"], request_of(scope).META[f"HTTP_{key}"]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [1, 2, 7])
def test_whatever_is_passed_on_of_a_header_is_no_longer_than_it_may_be(name: str, times: int) -> None:
    most = most_bytes_of(name.encode())
    assert most <= MOST_HEADER_BYTES
    for length in range(most // times - 8, most // times + 2):
        scope = _scope(*[(name, "x" * length)] * times)
        if not has_too_long(scope):
            assert all(len(value) <= most for value in _passed_on(scope, name))
    assert has_too_long(_scope(*[(name, "x" * (most // times + 1))] * times))
    assert not has_too_long(_scope(*[(name, "x" * (most // times - 2))] * times))


def test_media_types_may_be_far_shorter_for_what_reads_them_is_slow() -> None:
    assert most_bytes_of(b"content-type") == 256
    assert most_bytes_of(b"accept") == 1024


def test_many_headers_of_different_names_are_each_as_long_as_they_may_be() -> None:
    assert not has_too_long(_scope(*[(f"x-{number}", "x" * MOST_HEADER_BYTES) for number in range(5)]))


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("sessionid=abc; csrftoken=def", "sessionid=abc; csrftoken=def"),
        ('sessionid=abc; other="quoted"', 'sessionid=abc; other="quoted"'),
        ('a="\\\\\\\\"', ""),
        ('a="\\054"; sessionid=abc', " sessionid=abc"),
        ('sessionid=abc; a="\\"; csrftoken=def', "sessionid=abc; csrftoken=def"),
    ],
)
def test_cookies_with_a_backslash_are_none(sent: str, passed_on: str) -> None:
    scope = with_plain_cookies(_scope(("cookie", sent), ("x-other", "\\")))
    assert _passed_on(scope, "cookie") == [passed_on] * 2
    assert _passed_on(scope, "x-other") == ["\\"] * 2
