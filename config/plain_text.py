"""What is not UTF-8 is refused before anything reads it: no second reading of the same bytes gets past a check.

Django would decode a query and a form by whatever charset the request names, also one that is no encoding of text, and
would read broken UTF-8 as something that nobody has sent. Settings name the middleware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from django.http import HttpRequest, HttpResponse

from views_readmodel.pages.failures import not_understood, other_charset

_UTF_8: Final = frozenset({"utf-8", "utf8"})


def plain_text_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware: refuses another charset (415), and what is not UTF-8 in an address (400)."""

    def answer(request: HttpRequest) -> HttpResponse:
        charset = (request.content_params or {}).get("charset", "utf-8")
        request.encoding = "utf-8"  # whatever was named
        if charset.strip().lower() not in _UTF_8:
            return other_charset(request)
        if not _is_utf_8(request.META.get("QUERY_STRING", "")):
            return not_understood(request)
        return get_response(request)

    return answer


def _is_utf_8(query: str) -> bool:
    """Whether a query, as WSGI has it, is UTF-8 throughout."""
    if query.isascii() and "%" not in query:
        return True
    try:
        unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeDecodeError:
        return False
    return True
