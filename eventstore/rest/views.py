"""The base of every endpoint, and the answer at an address where there is none."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, AuthenticationFailed, ErrorDetail, Throttled, ValidationError
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.views import APIView

from eventstore.rest.freshness import asking_as
from eventstore.rest.problems import NO_FIELD, problem_response
from eventstore.rest.requests import QuerySerializer, read_query


class ApiView(APIView):
    """An endpoint: each handler is marked with `requires`, makes one call into a service or a query, and answers."""

    # OPTIONS would describe a view to whoever asks; the schema does that.
    http_method_names = ["get", "post", "put", "patch", "delete", "head"]
    # Whether a POST says under which key it may be repeated; only a log-in does not.
    takes_idempotency_key: ClassVar[bool] = True
    # Whether a request that changes something says more than its address does.
    takes_body: ClassVar[bool] = True

    _is_counted = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Answers, and counts the places to wait by who asks."""
        with asking_as() as self._tell_principal:
            return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuses what the caller may not, and what nobody would read: a body to a GET, a query to a POST."""
        self._count(request)
        if request.user and request.user.is_authenticated:
            self._tell_principal(str(request.user.pk))
        super().initial(request, *args, **kwargs)
        if request.method in SAFE_METHODS:
            expects_body = False
        else:
            expects_body = self.takes_body
            read_query(request, QuerySerializer)
        if not expects_body and request.stream is not None:
            raise ValidationError({NO_FIELD: [ErrorDetail("This takes no body.", code="unexpected_body")]})

    def _count(self, request: Request) -> None:
        """Counts the request before anything is refused: a refusal costs as much as an answer. Raises Throttled."""
        try:
            self.perform_authentication(request)
        except (AuthenticationFailed, Throttled):  # a token that is none: counted where it was looked at
            raise
        except APIException:  # a session without a token against forgery, or that was looked for in a body that is none
            self.check_throttles(request)  # by address, for nobody is signed in
            raise
        self.check_throttles(request)

    def check_throttles(self, request: Request) -> None:
        """Once for each request: the framework asks again after the permissions."""
        if not self._is_counted:
            self._is_counted = True
            super().check_throttles(request)


@csrf_exempt  # it does nothing, so that whoever asks may be told so
def unknown_address(request: HttpRequest, *_: str) -> HttpResponse:
    """Nothing is here."""
    return problem_response(request, code="not_found", detail="There is nothing at this address.")
