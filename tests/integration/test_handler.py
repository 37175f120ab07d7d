"""Requests as the web server makes them: Django's test client makes its own, and breaks where these must not."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest

from config.bridge import environ_of
from config.handler import PlainTextHandler

IN_PIECES = [
    *("; ".join(pair) for pair in permutations(("x*=a", "x*0=b", "x*0*=c", "x*", "x*0", "x=d"), 2)),
    *("q*=a; q*0=b", "charset*=utf-8; charset*0=utf-8", "boundary*=a; boundary*0=b", 'y="a;x*=b;x*0=c"'),
]
"""Parameters that are coded or in pieces: many of these cannot be put together."""
BREAKING = [
    *(f"x/y; charset={name}" for name in ("base64", "rot13", "hex", "zip", "bz2", "uu", "quopri", "undefined", "idna")),
    "x/y; a*=nonsense''x",
    "x/y; a*=idna''%ff",
    "x/y; charset*=utf-8''%00",
    f"x/y; a*{'9' * 5_000}*=x",
    *(f"text/plain; {parameters}" for parameters in IN_PIECES),
    *(f"multipart/form-data; {parameters}" for parameters in IN_PIECES),
]
WANTED = [
    *(f"application/json; {parameters}" for parameters in IN_PIECES),
    *(f"text/html, */*; {parameters}" for parameters in IN_PIECES),
    "*/*;x=\"a;y*=bogus''z\"",
    "application/json;x*=bogus''z",
    "text/csv;x*=utf-8''%ff",
]
HEADS_OF_PARTS = [
    "Content-Disposition: form-data; name=username",
    *(f"Content-Disposition: form-data; name=username; {parameters}" for parameters in IN_PIECES),
    "Content-Disposition: form-data; name*=a; name*0=b",
    "Content-Disposition: form-data; name=username; filename*=a; filename*0=b",
    "Content-Disposition: form-data; name=username\r\nContent-Type: text/plain; charset*=a; charset*0=b",
]


def _ask(method: str, path: str, *, query: str = "", body: bytes = b"", **headers: str) -> tuple[int, str, bytes]:
    """The status, the type of the answer and the answer."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "http_version": "1.1",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), *named],
    }
    started: list[Any] = []
    application: Any = PlainTextHandler()
    answered = application(environ_of(scope, body), lambda *given: started.extend(given))
    return int(started[0][:3]), dict(started[1])["Content-Type"], b"".join(answered)


def _is_refused(status: int, code: str, **asked: Any) -> None:
    """To a program in a problem, to a person in a page."""
    answered, content_type, body = _ask("GET", "/api/v1/accounts", **asked)
    assert (answered, content_type) == (status, "application/problem+json")
    assert json.loads(body)["code"] == code
    answered, content_type, body = _ask("GET", "/log-in", **asked)
    assert (answered, content_type) == (status, "text/html; charset=utf-8")
    assert b"Not understood" in body


@pytest.mark.parametrize("content_type", BREAKING, ids=lambda found: found[:40])
def test_a_charset_that_django_cannot_decode_by_is_refused(content_type: str) -> None:
    _is_refused(415, "unsupported_media_type", query="a=%ff", content_type=content_type)


@pytest.mark.parametrize("accept", WANTED)
def test_a_wanted_type_that_cannot_be_taken_apart_is_refused(accept: str) -> None:
    _is_refused(406, "not_acceptable", accept=accept)


@pytest.mark.parametrize("head", HEADS_OF_PARTS)
def test_a_form_in_parts_is_refused_whatever_the_heads_of_its_parts_are(head: str) -> None:
    body = f"--x\r\n{head}\r\n\r\nalice\r\n--x--\r\n".encode()
    sent = {"content_type": "multipart/form-data; boundary=x", "cookie": f"csrftoken={'a' * 32}"}
    status, content_type, _ = _ask("POST", "/log-in", body=body, **sent)
    assert (status, content_type) == (415, "text/html; charset=utf-8")
