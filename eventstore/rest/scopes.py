"""As much of a request as tells whose it is, from what an ASGI server says: for what is answered without Django.

Names of headers with an underscore are left out, as everywhere: they would pass for those with a hyphen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest

from eventstore.ids import new_id
from eventstore.rest.correlation import HEADER, parse_uuid


def request_of(scope: Mapping[str, Any]) -> HttpRequest:
    """Method, path, addresses and headers, but no body and no query."""
    request = HttpRequest()
    request.method = scope["method"]
    request.path = request.path_info = scope["path"]
    client = scope.get("client")
    request.META["REMOTE_ADDR"] = client[0] if client else ""
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue
        name, value = "HTTP_" + raw_name.decode("latin-1").upper().replace("-", "_"), raw_value.decode("latin-1")
        between = "; " if name == "HTTP_COOKIE" else ","
        request.META[name] = f"{request.META[name]}{between}{value}" if name in request.META else value
    return request


def correlation_id_of_scope(scope: Mapping[str, Any]) -> UUID:
    """The correlation id that was sent, or a new one."""
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER.lower().encode()]
    return (parse_uuid(sent[0]) if len(sent) == 1 else None) or new_id()
