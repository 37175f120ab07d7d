"""The line of the log about each request: method, path and outcome, and whom it came from.

Invariant: nothing of what was asked for is in it: a query may hold the name of a customer, and a header may claim to
come from anywhere. Settings name the middleware.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from django_structlog.middlewares import RequestMiddleware

from config.addresses import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest


class RequestLogMiddleware(RequestMiddleware):
    """django-structlog's, without the query and with an address that nobody can choose."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Method and path."""
        return f"{request.method} {request.path}"

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Binds the address to every line of this request."""
        structlog.contextvars.bind_contextvars(ip=client_address(request))
