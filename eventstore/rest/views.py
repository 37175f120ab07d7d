"""The base of every endpoint, and the answer at an address where there is none."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.views import APIView

from eventstore.rest.problems import problem_response


class ApiView(APIView):
    """An endpoint: each handler is marked with `requires`, makes one call into a service or a query, and answers."""

    # OPTIONS would describe a view to whoever asks; the schema does that.
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    # Whether a POST says under which key it may be repeated; only a log-in does not.
    takes_idempotency_key: ClassVar[bool] = True


@csrf_exempt  # it does nothing, so that whoever asks may be told so
def unknown_address(request: HttpRequest, *_: str) -> HttpResponse:
    """Nothing is here."""
    return problem_response(request, code="not_found", detail="There is nothing at this address.")
