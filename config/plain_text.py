"""What is not UTF-8 is refused before anything reads it: no second reading of the same bytes gets past a check.

Django would decode a query and a form by whatever charset the request names, also one that is no encoding of text, and
would read broken UTF-8 as something that nobody has sent: as Latin-1, or with U+FFFD for what is broken. JSON has a
parser that checks it. A form in parts is refused as a whole: each part has a head of its own, with a charset, a coding
and parameters of its own, and none of our forms sends a file, which alone is sent so. Who is refused here is counted
here, for the limits come later. Settings name the middleware, `config.urls` the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse

from config import failures
from config.heads import has_extended_parameter
from config.paths import is_by_api
from config.staff.limits import refused_wait_seconds
from eventstore.rest.problems import problem_response

_UTF_8: Final = frozenset({"utf-8", "utf8"})
_FORM: Final = "application/x-www-form-urlencoded"
_PARTS: Final = "multipart/form-data"
_CODES: Final = {
    400: "validation_error",
    406: "not_acceptable",
    413: "request_too_large",
    415: "unsupported_media_type",
}


def plain_text_middleware(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Django middleware: refuses another charset (415), and what is not UTF-8 in an address or a form (400).

    An extended parameter names a charset too: it is refused where it is sent (415) and where it is asked for (406).
    """

    def answer(request: HttpRequest) -> HttpResponse:
        status = _wrong_head(request) or _wrong_form(request)
        return _refused(request, status) if status else get_response(request)

    return answer


def not_understood(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """What Django itself cannot read, such as an unknown `Host`: 400, or 413 when there is too much of it."""
    return _refused(request, 413 if isinstance(exception, RequestDataTooBig) else 400)


def _refused(request: HttpRequest, status: int) -> HttpResponse:
    """For programs as a problem, for people as a page; who is refused too often is told to wait."""
    if seconds := refused_wait_seconds(request):
        return failures.told_to_wait(request, seconds=seconds)
    if is_by_api(request.path):
        return problem_response(request, code=_CODES[status])
    return failures.not_understood(request, status=status)


def _wrong_head(request: HttpRequest) -> int:
    """The status that refuses the address or a header, 0 for what can be read."""
    charset = (request.content_params or {}).get("charset", "utf-8")
    if charset.strip().lower() not in _UTF_8:
        return 415
    if has_extended_parameter(request.META.get("HTTP_ACCEPT", "")):
        return 406
    return 0 if _is_utf_8(request.META.get("QUERY_STRING", "").encode("latin-1")) else 400


def _wrong_form(request: HttpRequest) -> int:
    """The status that refuses a form, 0 for one that can be read. Django reads one from a POST alone.

    The API takes no form, and reads its bodies itself. A body that is too large raises `RequestDataTooBig` here, as it
    would later.
    """
    if request.method != "POST" or is_by_api(request.path):
        return 0
    if request.content_type == _PARTS:
        return 415
    return 0 if request.content_type != _FORM or _is_utf_8(request.body) else 400


def _is_utf_8(fields: bytes) -> bool:
    """Whether a query or a form is UTF-8 throughout, both as it was sent and with its percents taken out.

    Both, for a letter of which one half is written by percent and the other is not would be read as two.
    """
    return _decodes(fields) and (b"%" not in fields or _decodes(unquote_to_bytes(fields)))


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
