"""What a request says, checked strictly: unknown fields, wrong types and odd spellings are refused, never guessed.

Serializers here say what a request may look like; whether it makes sense is the domain's to decide. All that is wrong
is told at once, field by field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from django.core.validators import RegexValidator
from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from eventstore.rest.correlation import parse_uuid

MAX_VERSION: Final = 2**31 - 1
_ECHOED: Final = 20  # unknown fields that an answer names, at most
_ECHOED_LENGTH: Final = 50


class RequestSerializer(serializers.Serializer[Any]):
    """What a body may look like. A field that is not declared is an error."""

    unknown: ClassVar[str] = "There is no such field."

    def to_internal_value(self, data: Any) -> Any:
        """The validated fields. Raises ValidationError with everything that is wrong."""
        errors: dict[str, Any] = {}
        if isinstance(data, Mapping):
            unknown = [str(name) for name in data if name not in self.fields]
            errors = {
                name[:_ECHOED_LENGTH]: [ErrorDetail(self.unknown, code="unknown_field")] for name in unknown[:_ECHOED]
            }
        try:
            value = super().to_internal_value(data)
        except ValidationError as error:
            if isinstance(error.detail, dict):
                raise ValidationError(errors | error.detail) from error
            raise
        if errors:
            raise ValidationError(errors)
        return value


class TextField(serializers.CharField):
    """A JSON string; never a number that happens to read like one. The domain trims it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False, "allow_blank": True} | kwargs)

    def to_internal_value(self, data: Any) -> str:
        """The text as it was sent."""
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class CodeField(TextField):
    """A short text of a fixed form, such as a code of some standard."""

    def __init__(self, *, pattern: str, **kwargs: Any) -> None:
        # Anchored at both ends, for the schema too: there a pattern may match anywhere.
        validator = RegexValidator(rf"^{pattern}\Z", message=f"This must be written so: {pattern}.", code="invalid")
        super().__init__(allow_blank=False, validators=[validator], **kwargs)


@extend_schema_field(
    {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]+)?$", "examples": ["150.00"]},
    component_name="DecimalText",
)
class DecimalTextField(TextField):
    """A decimal number as text. A JSON number is refused: it may have been through a float."""

    default_error_messages = {"number": 'This must be a text such as "150.00", not a JSON number.'}

    def to_internal_value(self, data: Any) -> str:
        """The text as it was sent; whoever knows how many decimals there are parses it."""
        if isinstance(data, int | float):
            self.fail("number")
        return super().to_internal_value(data)


class IdField(serializers.UUIDField):
    """A UUID in its canonical spelling."""

    def to_internal_value(self, data: Any) -> UUID:
        """The UUID."""
        found = parse_uuid(data) if isinstance(data, str) else None
        if found is None:
            self.fail("invalid", value=data)
        return found


class MomentField(serializers.DateTimeField):
    """A moment as RFC 3339 has it, with its offset from UTC."""

    default_error_messages = {
        "moment": "This must be a time with its offset, such as 2026-11-30T12:00:00Z (a plus sign is %2B in a URL)."
    }
    _RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)

    def to_internal_value(self, value: Any) -> datetime:
        """The moment, in UTC."""
        if not isinstance(value, str) or not self._RFC_3339.fullmatch(value):
            self.fail("moment")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail("moment")


class WholeNumberField(serializers.IntegerField):
    """A whole number in a query, in the one way to write it: ASCII digits, no sign, no leading zero."""

    _WRITTEN: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)

    def to_internal_value(self, data: Any) -> int:
        """The number."""
        if not isinstance(data, str) or not self._WRITTEN.fullmatch(data):
            self.fail("invalid")
        return int(data)


class VersionField(WholeNumberField):
    """A version of a stream."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"min_value": 1, "max_value": MAX_VERSION} | kwargs)


class QuerySerializer(RequestSerializer):
    """What may stand behind the question mark."""

    unknown = "There is no such parameter."


def read_body(request: Request, serializer: type[RequestSerializer]) -> dict[str, Any]:
    """The body's fields; those that were left out are left out. Raises ValidationError."""
    return _validated(serializer, request.data)


def read_query(request: Request, serializer: type[QuerySerializer]) -> dict[str, Any]:
    """The query's parameters. Raises ValidationError, also when one is given twice: which would count?"""
    query: QueryDict = request.query_params
    twice = [name for name, values in query.lists() if len(values) > 1]
    if twice:
        raise ValidationError(
            {name[:_ECHOED_LENGTH]: [ErrorDetail("Give this once.", code="repeated")] for name in twice[:_ECHOED]}
        )
    return _validated(serializer, query.dict())


def _validated(serializer: type[RequestSerializer], data: Any) -> dict[str, Any]:
    checked = serializer(data=data)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)
