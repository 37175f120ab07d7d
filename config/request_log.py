"""The line of the log about each request: method, path and outcome, and whom it came from.

Invariants: nothing of what was asked for is in it: a query may hold the name of a customer, and a header may claim to
come from anywhere. That the database is away is told by the outcome (503), without a traceback, and no request fails
for its line. Settings name the middleware.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import DatabaseError, InterfaceError
from django_structlog.middlewares import RequestMiddleware

from config.addresses import client_address
from eventstore.failures import is_passing

if TYPE_CHECKING:
    from django.http import HttpRequest

_IS_AWAY: Final = "database_is_away"
"""On a request: the database did not answer it, and is not asked once more who sent it."""


class RequestLogMiddleware(RequestMiddleware):
    """django-structlog's, without the query and with an address that nobody can choose."""

    def process_got_request_exception(self, sender: type[Any], request: HttpRequest, **more: Any) -> None:
        """Logs what nobody expected; an error that passes is no fault of the program."""
        error = sys.exc_info()[1]
        if error is not None and is_passing(error):
            setattr(request, _IS_AWAY, True)
        else:
            super().process_got_request_exception(sender, request, **more)

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        """Binds who sent it to every line of this request, where the database can tell."""
        if not getattr(request, _IS_AWAY, False):
            with suppress(DatabaseError, InterfaceError):
                RequestMiddleware.bind_user_id(request)

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Method and path."""
        return f"{request.method} {request.path}"

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Binds the address to every line of this request."""
        structlog.contextvars.bind_contextvars(ip=client_address(request))
