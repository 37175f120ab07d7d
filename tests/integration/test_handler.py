"""Requests as the web server makes them: Django's test client makes its own, and breaks where these must not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from config.bridge import environ_of
from config.handler import PlainTextHandler

BREAKING = [
    *(f"x/y; charset={name}" for name in ("base64", "rot13", "hex", "zip", "bz2", "uu", "quopri", "undefined", "idna")),
    "x/y; a*=nonsense''x",
    "x/y; a*=idna''%ff",
    "x/y; charset*=utf-8''%00",
    f"x/y; a*{'9' * 5_000}*=x",
]


def _get(path: str, content_type: str, *, query: str = "a=%ff") -> tuple[int, dict[str, str], bytes]:
    scope = {
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "http_version": "1.1",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", content_type.encode())],
    }
    started: list[Any] = []
    application: Any = PlainTextHandler()
    answered = application(environ_of(scope, b""), lambda *given: started.extend(given))
    return int(started[0][:3]), dict(started[1]), b"".join(answered)


@pytest.mark.parametrize("content_type", BREAKING, ids=lambda found: found[:24])
def test_a_charset_that_django_cannot_decode_by_is_refused(content_type: str) -> None:
    status, headers, body = _get("/api/v1/accounts", content_type)
    assert (status, headers["Content-Type"]) == (415, "application/problem+json")
    assert json.loads(body)["code"] == "unsupported_media_type"
    assert _get("/log-in", content_type)[0] == 415
