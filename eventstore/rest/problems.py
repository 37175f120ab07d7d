"""Every refusal as `application/problem+json` (RFC 9457): the one place where an error becomes an HTTP status.

The core knows no HTTP. An error that a client may see has a stable `code`, and the first line of its docstring is the
sentence for people. `KINDS` gives the codes of the edge and of the store their status; every other `Refusal` is a rule
of the business: 422. An error that is neither tells nothing but the correlation id that the logs have.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getdoc
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import msgspec
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from drf_standardized_errors.formatter import ExceptionFormatter, flatten_errors
from drf_standardized_errors.handler import ExceptionHandler
from drf_standardized_errors.types import Error, ErrorResponse
from msgspec import UNSET, UnsetType
from rest_framework.exceptions import APIException, ErrorDetail, ValidationError
from rest_framework.settings import api_settings

from eventstore.failures import is_passing
from eventstore.refusals import InvalidValue, Refusal
from eventstore.rest.correlation import correlation_id_of

PROBLEM_JSON: Final = "application/problem+json"
NO_FIELD: Final = api_settings.NON_FIELD_ERRORS_KEY

MOST_ERRORS: Final = 50
MAX_FIELD_LENGTH: Final = 100
MAX_DETAIL_LENGTH: Final = 500
"""What an answer says of a request's errors is no longer than this, however much is wrong with it."""


class Kind(msgspec.Struct, frozen=True):
    """What all problems of one code have in common."""

    status: int
    title: str
    retry_after_seconds: int | None = None  # when a repeat may do better


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "validation_error": Kind(400, "The request is not valid."),
        "idempotency_key_required": Kind(400, "This request needs an Idempotency-Key header."),
        "unauthenticated": Kind(401, "This needs a valid log-in."),
        "forbidden": Kind(403, "Your role does not permit this."),
        "not_found": Kind(404, "There is no such thing."),
        "method_not_allowed": Kind(405, "This address does not take this method."),
        "not_acceptable": Kind(406, "This cannot be had in that format."),
        "request_too_slow": Kind(408, "The request did not arrive in time."),
        "conflict": Kind(409, "Somebody else has changed this in the meantime."),
        "idempotency_in_progress": Kind(409, "The first request with this key is still in progress.", 1),
        "version_mismatch": Kind(412, "It has changed since you last looked."),
        "request_too_large": Kind(413, "The request is too large."),
        "unsupported_media_type": Kind(415, "The body must be application/json."),
        "idempotency_key_reused": Kind(422, "This Idempotency-Key was used for a different request."),
        "rate_limited": Kind(429, "There were too many requests."),
        "headers_too_large": Kind(431, "A header of the request is too long."),
        "internal_error": Kind(500, "Something went wrong on our side."),
        "bodies_busy": Kind(503, "Too many large requests are on their way.", 5),
        "busy": Kind(503, "Others are writing to this right now.", 1),
        "downloads_busy": Kind(503, "Too many files are being downloaded.", 10),
        "not_yet_visible": Kind(503, "What was just written cannot be seen yet.", 1),
        "unavailable": Kind(503, "A part of the service is away for the moment.", 1),
    }
)

REFUSED_STATUS: Final = 422
"""Of every `Refusal` whose code is not in `KINDS`: a rule of the business forbids it."""

# Django REST framework's own errors have no code of ours; their status says which it is.
_CODE_OF_STATUS: Final = {
    400: "validation_error",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "request_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
}
_INTERNAL_DETAIL: Final = "It was recorded under the correlation id; nothing of it may have happened, or all of it."


class FieldProblem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field."""

    field: str | None  # dotted for nested ones; null when it is about the request as a whole
    code: str
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal, as RFC 9457 has it. Programs branch on `code`, people read `detail`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    correlation_id: str
    errors: list[FieldProblem] | UnsetType = UNSET


class ProblemError(APIException):
    """An error of ours on its way through Django REST framework."""

    def __init__(self, *, code: str, status: int, title: str, detail: str) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.title = title
        self.wait = KINDS[code].retry_after_seconds if code in KINDS else None


class IdempotencyKeyRequired(Exception):
    """This request needs an Idempotency-Key header, made by you, the same when you repeat it."""

    code = "idempotency_key_required"


def sentence_of(error: BaseException) -> str:
    """The first line of the error's docstring: what a person reads."""
    return (getdoc(type(error)) or "").partition("\n")[0]


def as_api_exception(error: Exception) -> APIException | None:
    """The error as the edge speaks of it, or None when nobody outside may know it."""
    if isinstance(error, InvalidValue):
        return ValidationError({error.field or NO_FIELD: [ErrorDetail(str(error), code=error.code)]})
    if isinstance(
        error, SuspiciousOperation
    ):  # Django's word for what nobody sends by mistake: thousands of parameters
        return ValidationError({NO_FIELD: [ErrorDetail("The request is not one that can be read.", code="invalid")]})
    code = getattr(type(error), "code", None)
    if isinstance(error, Refusal):
        status = KINDS[error.code].status if error.code in KINDS else REFUSED_STATUS
        return ProblemError(code=error.code, status=status, title=error.sentence(), detail=str(error))
    if isinstance(code, str) and code in KINDS:
        kind = KINDS[code]
        return ProblemError(code=code, status=kind.status, title=kind.title, detail=sentence_of(error))
    if isinstance(error, DatabaseError | InterfaceError) and is_passing(error):
        kind = KINDS["unavailable"]
        return ProblemError(code="unavailable", status=kind.status, title=kind.title, detail=kind.title)
    return None


class ProblemHandler(ExceptionHandler):
    """Turns whatever a view raised into an answer."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        """What we know beside the framework's own exceptions."""
        known = super().convert_known_exceptions(exc)
        if isinstance(known, APIException):
            return known
        return as_api_exception(known) or known

    def get_response(  # type: ignore[override]  # DRF takes either
        self, exc: APIException, data: dict[str, Any]
    ) -> HttpResponse:
        """As problem+json, whatever the client would rather accept, and whatever the view makes of its own answers."""
        return _answer(data, status=exc.status_code, headers=self.get_headers(exc))

    def report_exception(self, exc: APIException, response: HttpResponse) -> None:
        """Reports what nobody expected; "come back later" is no fault of the program."""
        if isinstance(exc, ProblemError):
            # What Django would log besides says no more than the line of the request itself.
            vars(response)["_has_been_logged"] = True
        else:
            super().report_exception(exc, response)  # type: ignore[arg-type]  # it is marked, and no more


class ProblemFormatter(ExceptionFormatter):
    """Writes an exception as a `Problem`."""

    def get_errors(self) -> list[Error]:
        """The first of what is wrong."""
        found: list[Error] = flatten_errors(_beginning(self.exc.detail))
        return found[:MOST_ERRORS]

    def format_error_response(self, error_response: ErrorResponse) -> dict[str, Any]:
        """The body."""
        code = self._code()
        errors: list[FieldProblem] | UnsetType = UNSET
        if code == "validation_error":
            errors = [
                FieldProblem(field=_field(error.attr), code=error.code, detail=error.detail[:MAX_DETAIL_LENGTH])
                for error in error_response.errors
            ]
        problem = _problem(
            self.context["request"],
            code=code,
            status=self.exc.status_code,
            title=self.exc.title if isinstance(self.exc, ProblemError) else KINDS[code].title,
            detail=self._detail(code, errors),
            errors=errors,
        )
        body: dict[str, Any] = msgspec.to_builtins(problem)
        return body

    def _code(self) -> str:
        if isinstance(self.exc, ProblemError):
            return self.exc.code
        return _CODE_OF_STATUS.get(self.exc.status_code, "internal_error")

    def _detail(self, code: str, errors: list[FieldProblem] | UnsetType) -> str:
        if code == "internal_error":
            return _INTERNAL_DETAIL
        if isinstance(errors, list) and errors:
            first = errors[0]
            return f"{first.field}: {first.detail}" if first.field else first.detail
        return str(self.exc.detail)[:MAX_DETAIL_LENGTH]


def problem_response(
    request: HttpRequest, *, code: str, detail: str = "", errors: list[FieldProblem] | None = None
) -> HttpResponse:
    """A problem for an answer that no view gives, such as an unknown address."""
    kind = KINDS[code]
    problem = _problem(
        request,
        code=code,
        status=kind.status,
        title=kind.title,
        detail=detail or (_INTERNAL_DETAIL if code == "internal_error" else kind.title),
        errors=UNSET if errors is None else errors,
    )
    waits = kind.retry_after_seconds
    return _answer(problem, status=kind.status, headers={} if waits is None else {"Retry-After": str(waits)})


def _answer(problem: Any, *, status: int, headers: Mapping[str, str]) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(problem), status=status, headers=headers, content_type=PROBLEM_JSON)


def _problem(
    request: Any,
    *,
    code: str,
    status: int,
    title: str,
    detail: str,
    errors: list[FieldProblem] | UnsetType,
) -> Problem:
    return Problem(
        type=f"{getattr(settings, 'PROBLEM_TYPE_PREFIX', 'urn:problem:')}{code}",
        title=title,
        status=status,
        detail=detail,
        instance=request.path,
        code=code,
        correlation_id=str(correlation_id_of(request)),
        errors=errors,
    )


def _field(attribute: str | None) -> str | None:
    """The name of the field: nothing for what the framework calls "non-field"."""
    if attribute is None or attribute == NO_FIELD:
        return None
    return attribute.removesuffix(f".{NO_FIELD}")[:MAX_FIELD_LENGTH]


def _beginning(detail: Any) -> Any:
    """The errors without those that nobody is told, so that thousands are not even gone through."""
    if isinstance(detail, dict):
        return {name: _beginning(inner) for name, inner in islice(detail.items(), MOST_ERRORS)}
    if isinstance(detail, list):
        return [_beginning(inner) for inner in detail[:MOST_ERRORS]]
    return detail
