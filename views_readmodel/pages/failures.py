"""The pages for when there is no page: not understood, not permitted, not found or allowed, too often, broken, away.

Invariant: they ask no database and need no script, for that may be what is broken; each says what to do next.
Programs that came by the API get their problem+json from there. `config.failures` knows who is told which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.csrf import requires_csrf_token

from eventstore.rest.correlation import correlation_id_of
from views_readmodel.pages.theme import theme_of

RETRY_SECONDS: Final = 5


def not_understood(request: HttpRequest, exception: Exception | None = None, *, status: int = 400) -> HttpResponse:  # noqa: ARG001 - Django gives it by name
    """400, 406, 413 or 415: the request itself is wrong, whatever it asks for."""
    return _failure(request, status, template="errors/400.html")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001 - Django gives it by name
    """403: the role does not permit it."""
    return _failure(request, 403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001 - Django gives it by name
    """404: there is nothing at this address, or no longer."""
    return _failure(request, 404)


def not_allowed(request: HttpRequest, *, methods: Sequence[str]) -> HttpResponse:
    """405: nothing is shown at this address, or nothing is sent to it."""
    response = _failure(request, 405)
    response.headers["Allow"] = ", ".join(methods)
    return response


@requires_csrf_token
def broken(request: HttpRequest) -> HttpResponse:
    """500: our fault; the number on the page leads to the log."""
    return _failure(request, 500)


@requires_csrf_token
def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django gives it by name
    """403 for a form without a valid token: opened before the log-in, or somewhere else."""
    return _failure(request, 403, template="errors/form_expired.html")


def too_many(request: HttpRequest, *, retry_seconds: int) -> HttpResponse:
    """429: too often in too short a time."""
    response = _failure(request, 429, retry_seconds=retry_seconds)
    response.headers["Retry-After"] = str(retry_seconds)
    return response


def unavailable(request: HttpRequest) -> HttpResponse:
    """503: the database is away for the moment."""
    response = _failure(request, 503)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _failure(request: HttpRequest, status: int, *, template: str = "", **context: Any) -> HttpResponse:
    # Without a request: no context processor may run, for each could need what is broken.
    context |= {"correlation_id": correlation_id_of(request), "theme": theme_of(request)}
    return HttpResponse(render_to_string(template or f"errors/{status}.html", context), status=status)
