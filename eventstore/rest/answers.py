"""Answers: a frozen Struct becomes a JSON body; whether it is new, repeated or unchanged becomes status and headers."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.http import HttpResponse
from django.utils.http import parse_etags
from rest_framework.request import Request

from eventstore.rest.etags import etag_of
from eventstore.store import Answered

JSON: Final = "application/json"
REPLAYED: Final = "Idempotent-Replayed"
_encode: Final = msgspec.json.Encoder().encode


def answer(answered: Answered[Any], *, status: int = 200, location: str = "") -> HttpResponse:
    """What came of a command. `location` is where the thing that was made can be read."""
    response = HttpResponse(_encode(answered.value), status=status, content_type=JSON)
    if location:
        response.headers["Location"] = location
    if answered.replayed:
        response.headers[REPLAYED] = "true"
    return response


def document(request: Request, value: Any, *, version: int = 0) -> HttpResponse:
    """What was asked for, with its tag; 304 without a body when `If-None-Match` has that tag."""
    body = _encode(value)
    response = tagged(request, body, etag=etag_of(body, version=version), content_type=JSON)
    response.headers["Vary"] = "Accept, Authorization, Cookie"
    return response


def tagged(request: Request, body: bytes, *, etag: str, content_type: str) -> HttpResponse:
    """The body with its tag, to keep; 304 without it when `If-None-Match` has that tag."""
    response = HttpResponse(body, content_type=content_type)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, no-cache"  # keep it, but ask each time
    response.headers["Vary"] = "Accept"
    if _is_known(request.headers.get("If-None-Match", ""), etag):
        response.status_code = 304
        response.content = b""
        del response.headers["Content-Type"]
    return response


def _is_known(if_none_match: str, etag: str) -> bool:
    """Whether the client has this answer already; a proxy may have weakened the tag."""
    tags = {tag.removeprefix("W/") for tag in parse_etags(if_none_match)}
    return etag in tags or "*" in tags
