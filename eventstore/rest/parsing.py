"""JSON bodies, read strictly: what could mean two things to two readers is refused before anything sees it.

Refused: duplicate keys, NaN and Infinity, numbers that are too large for a double, unpaired surrogates and NUL (no
database column holds them), nesting deeper than `MAX_DEPTH`, more than `MAX_BODY_BYTES`, anything but UTF-8, and
what is compressed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import IO, Any, Final, NoReturn

from rest_framework.exceptions import APIException, ParseError, UnsupportedMediaType
from rest_framework.parsers import BaseParser

MAX_BODY_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 32


class RequestTooLarge(APIException):
    """The request is too large."""

    status_code = 413
    default_detail = f"The body must have at most {MAX_BODY_BYTES} bytes."
    default_code = "request_too_large"


class StrictJSONParser(BaseParser):
    """The only parser of the API."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The body's value. Raises ParseError, RequestTooLarge, UnsupportedMediaType."""
        if (media_type or "").partition(";")[0].strip().lower() != self.media_type:  # the framework lets "*/*" through
            raise UnsupportedMediaType(media_type or "")
        _check_coding(parser_context or {})
        raw = stream.read(MAX_BODY_BYTES + 1)
        if len(raw) > MAX_BODY_BYTES:
            raise RequestTooLarge
        if not raw.strip():
            _refuse("The body is empty; it must be a JSON object.")
        try:
            value = json.loads(
                raw.decode("utf-8"),
                object_pairs_hook=_object,
                parse_constant=_refuse_constant,
                parse_float=_finite,
            )
        except RecursionError:
            _refuse("The body is nested too deeply.")
        except UnicodeDecodeError:
            _refuse("The body is not UTF-8.")
        except json.JSONDecodeError as error:
            _refuse(f"The body is not JSON: {error}.")
        except ValueError:  # an integer with thousands of digits
            _refuse("A number is too large.")
        _check(value, depth=0)
        return value


def _check_coding(context: Mapping[str, Any]) -> None:
    coding = context["request"].headers.get("Content-Encoding", "") if "request" in context else ""
    if coding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("", "The body must not be compressed: leave Content-Encoding out.")


def _refuse(detail: str) -> NoReturn:
    raise ParseError(detail, "invalid_json")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("The body names a field twice.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    _refuse(f"{name} is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        _refuse("A number is too large.")
    return number


def _check(value: Any, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        _refuse("The body is nested too deeply.")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth=depth + 1)


def _check_text(text: str) -> None:
    if "\0" in text:
        _refuse("A text holds a NUL character.")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        _refuse("A text holds half of a character (an unpaired surrogate).")
