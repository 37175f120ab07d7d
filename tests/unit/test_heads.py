"""The heads of requests: how long a header may be, which cookies are passed on, and what is taken apart."""

from __future__ import annotations

from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from django.http import HttpRequest
from django.utils.http import parse_header_parameters
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from config.bridge import environ_of
from config.heads import (
    MOST_HEADER_BYTES,
    has_extended_parameter,
    has_too_long,
    most_bytes_of,
    with_plain_cookies,
)
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


# A parameter in every form: plain, quoted, bare, coded, in pieces, in coded pieces, and what is none of these.
PARAMETERS = (
    "x", "x=a", 'x="a"', 'x="a', 'x="a, b"', "x=*", "q=0.5", "x*", "x*=a", "x*=bogus''a", "x*=utf-8''%ff",
    "x*=idna''%ff", "x*=utf-8''%00", "x*0", "x*0=a", "x*0*=a", "x*1*=b", f"x*{'9' * 5_000}=a", "*=a", "*0*=a", "x**=a",
    'x="a;y*=b"', "x=\"a;y*=bogus''b\"", 'x="a; y*0=b;y*=c"', 'x="a\\";y*=b"',
)  # fmt: skip


def _take_apart(media_type: str) -> None:
    """As Django does with the type of a body, and Django REST framework with what is wanted and what it makes of it."""
    parse_header_parameters(media_type)
    request = HttpRequest()
    request.META["HTTP_ACCEPT"] = media_type
    with suppress(NotAcceptable):
        renderer, accepted = DefaultContentNegotiation().select_renderer(Request(request), [JSONRenderer()])
        renderer.get_indent(accepted, {})


def test_no_media_type_that_is_taken_apart_breaks_what_does() -> None:
    broken = set()
    for base, count in product(("application/json", "*/*"), range(3)):
        for parameters in product(PARAMETERS, repeat=count):
            media_type = "; ".join((base, *parameters))
            try:
                _take_apart(media_type)
            except (LookupError, TypeError, ValueError) as error:
                assert has_extended_parameter(media_type), media_type
                broken.add(type(error))
    assert {TypeError, ValueError} <= broken, "some that are refused would break it"


@pytest.mark.parametrize(
    "media_types",
    [
        "",
        "*/*",
        "text/*;q=0.8, */*",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "application/signed-exchange;v=b3;q=0.7,*/*;q=0.5",
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "application/json; charset=utf-8",
        'application/json; charset="utf-8"; indent=4',
        "application/x-www-form-urlencoded; charset=UTF-8",
    ],
)
def test_what_browsers_and_programs_send_is_taken_apart(media_types: str) -> None:
    assert not has_extended_parameter(media_types)
