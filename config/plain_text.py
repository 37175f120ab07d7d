"""What is not UTF-8 is refused before anything reads it: no second reading of the same bytes gets past a check.

Django would decode a query and a form by whatever charset the request names, also one that is no encoding of text, and
would read broken UTF-8 as something that nobody has sent. Settings name the middleware, `config.urls` the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse

from config import failures
from eventstore.rest.problems import problem_response

_UTF_8: Final = frozenset({"utf-8", "utf8"})
_API: Final = "/api/"
_CODES: Final = {400: "validation_error", 413: "request_too_large", 415: "unsupported_media_type"}


def plain_text_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware: refuses another charset (415), and what is not UTF-8 in an address (400)."""

    def answer(request: HttpRequest) -> HttpResponse:
        charset = (request.content_params or {}).get("charset", "utf-8")
        if charset.strip().lower() not in _UTF_8:
            return _refused(request, 415)
        if not _is_utf_8(request.META.get("QUERY_STRING", "")):
            return _refused(request, 400)
        return get_response(request)

    return answer


def not_understood(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """What Django itself cannot read, such as an unknown `Host`: 400, or 413 when there is too much of it."""
    return _refused(request, 413 if isinstance(exception, RequestDataTooBig) else 400)


def _refused(request: HttpRequest, status: int) -> HttpResponse:
    """For programs as a problem, for people as a page."""
    if request.path.startswith(_API):
        return problem_response(request, code=_CODES[status])
    return failures.not_understood(request, status=status)


def _is_utf_8(query: str) -> bool:
    """Whether a query, as WSGI has it, is UTF-8 throughout."""
    if query.isascii() and "%" not in query:
        return True
    try:
        unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeDecodeError:
        return False
    return True
