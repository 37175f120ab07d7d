"""What is refused before Django has seen it, told as Django would tell it: a problem to programs, a line to others.

Invariant: a refusal has the correlation id that the log has, and the log does not repeat what was sent. Imported by
`config.asgi`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from django.http import HttpResponse

from config.addresses import client_address
from config.paths import is_by_api
from eventstore.rest.correlation import HEADER
from eventstore.rest.problems import KINDS, FieldProblem, problem_response
from eventstore.rest.scopes import correlation_id_of_scope, request_of

_log = structlog.get_logger(__name__)

Headers = list[tuple[bytes, bytes]]


def refusal(
    scope: Mapping[str, Any], *, code: str, detail: str = "", field: str | None = None
) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a refusal; `code` is one of `KINDS`, `field` the header that is wrong."""
    request = request_of(scope)
    correlation_id = correlation_id_of_scope(scope)
    vars(request)["correlation_id"] = correlation_id
    errors = [FieldProblem(field=field, code="repeated", detail=detail)] if field else None
    if is_by_api(request.path):
        response = problem_response(request, code=code, detail=detail, errors=errors)
    else:
        kind = KINDS[code]
        response = HttpResponse(f"{detail or kind.title}\n", status=kind.status, content_type="text/plain")
    response.headers[HEADER] = str(correlation_id)
    response.headers["Content-Length"] = str(len(response.content))
    response.headers["Connection"] = "close"  # the rest of the request may still be on its way
    _log.warning(
        "request_refused",
        request=f"{request.method} {request.path}",
        code=code,
        ip=client_address(request),
        correlation_id=str(correlation_id),
    )
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
    return response.status_code, headers, response.content
