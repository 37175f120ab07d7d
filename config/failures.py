"""Which page says that there is none: below the admin its own for those who may see it, else that of the staff pages.

Invariants: where the frame of the admin cannot be had, the plain page is shown, which needs nothing; below the API
what breaks outside of a view is a problem, as what breaks in one is. Django calls these by the names in `config.urls`
and `config.settings`.
"""

from __future__ import annotations

import sys
from typing import Final

from django.contrib import admin
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from config.paths import is_by_api
from eventstore.failures import is_passing
from eventstore.rest.correlation import correlation_id_of
from eventstore.rest.problems import problem_response
from views_readmodel.pages import failures

_BELOW: Final = "/admin/"


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: the role does not permit it."""
    return _in_admin(request, 403) or failures.forbidden(request, exception)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: there is nothing at this address, or no longer."""
    return _in_admin(request, 404) or failures.not_found(request, exception)


def not_understood(request: HttpRequest, *, status: int) -> HttpResponse:
    """400, 406, 413 or 415: the request itself is wrong, whatever it asks for."""
    return _in_admin(request, status, template="errors/400.html") or failures.not_understood(request, status=status)


def told_to_wait(request: HttpRequest, *, seconds: int) -> HttpResponse:
    """429: too often in too short a time, whatever was asked; to programs a problem."""
    if not is_by_api(request.path):
        return failures.too_many(request, retry_seconds=seconds)
    response = problem_response(request, code="rate_limited")
    response.headers["Retry-After"] = str(seconds)
    return response


def broken(request: HttpRequest) -> HttpResponse:
    """500: our fault; 503 where the error, which Django is handling when it calls this, is one that passes."""
    error = sys.exc_info()[1]
    passes = error is not None and is_passing(error)
    if is_by_api(request.path):
        response = problem_response(request, code="unavailable" if passes else "internal_error")
    else:
        response = failures.unavailable(request) if passes else failures.broken(request)
    if passes:
        # Django would log it with its traceback: one for each request, for as long as the database is away.
        vars(response)["_has_been_logged"] = True
    return response


def form_expired(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a form without a valid token; 405 where no form is taken, which Django has not asked yet."""
    methods = getattr(request.resolver_match and request.resolver_match.func, "methods", None)
    if methods and request.method not in methods:
        return failures.not_allowed(request, methods=methods)
    return _in_admin(request, 403, template="errors/form_expired.html") or failures.form_expired(request, reason)


def _in_admin(request: HttpRequest, status: int, *, template: str = "") -> HttpResponse | None:
    """The page in the frame of the admin; None where it has no place."""
    if not request.path.startswith(_BELOW) or not hasattr(request, "user"):
        return None
    try:
        if not admin.site.has_permission(request):
            return None
        frame = {"frame": "admin/failed.html", "correlation_id": correlation_id_of(request)}
        context = {**admin.site.each_context(request), **frame}
        return render(request, template or f"errors/{status}.html", context, status=status)
    except DatabaseError:
        return None
