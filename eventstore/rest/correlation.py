"""One id for the whole story: taken from `X-Correlation-ID` or made, logged with every line, always returned.

The middleware stands first, so that every answer carries the id, refusals of other middleware included.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from django.utils.decorators import sync_and_async_middleware

from eventstore.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponseBase

HEADER: Final = "X-Correlation-ID"
_CANONICAL_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_ATTRIBUTE: Final = "correlation_id"


def parse_uuid(text: str) -> UUID | None:
    """The UUID that the text is in its one canonical form, or None: no braces, no missing hyphens."""
    return UUID(text) if _CANONICAL_UUID.fullmatch(text) else None


def correlation_id_of(request: Any) -> UUID:
    """The request's correlation id; made now when no middleware has."""
    django_request = getattr(request, "_request", request)  # Django REST framework wraps it
    found: UUID | None = getattr(django_request, _ATTRIBUTE, None)
    if found is None:
        found = new_id()
        setattr(django_request, _ATTRIBUTE, found)
    return found


@sync_and_async_middleware
def correlation_middleware(
    get_response: Callable[[HttpRequest], Any],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    """Django middleware, in both of its kinds."""
    if iscoroutinefunction(get_response):

        async def answer_later(request: HttpRequest) -> HttpResponseBase:
            with _bound(request) as correlation_id:
                response: HttpResponseBase = await get_response(request)
            response.headers[HEADER] = correlation_id
            return response

        return answer_later

    def answer(request: HttpRequest) -> HttpResponseBase:
        with _bound(request) as correlation_id:
            response: HttpResponseBase = get_response(request)
        response.headers[HEADER] = correlation_id
        return response

    return answer


@contextmanager
def _bound(request: HttpRequest) -> Iterator[str]:
    correlation_id = parse_uuid(request.headers.get(HEADER, "")) or new_id()
    setattr(request, _ATTRIBUTE, correlation_id)
    with structlog.contextvars.bound_contextvars(correlation_id=str(correlation_id)):
        yield str(correlation_id)
