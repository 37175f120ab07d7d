"""Lists by keyset: a cursor names the last row of a page, so that a page costs the same at any depth.

Opaque to clients and checked when it comes back: a cursor that we did not make is a validation error, never a query.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from eventstore.rest.requests import QuerySerializer, TextField

R = TypeVar("R")

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_CURSOR_LENGTH: Final = 400


class ListQuery(QuerySerializer):
    """What every list takes."""

    cursor = TextField(required=False, max_length=MAX_CURSOR_LENGTH, help_text="`next_cursor` of the page before.")
    limit = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT, help_text="Rows a page."
    )


def encode_cursor(key: Any, *, list_name: str = "") -> str:
    """The keyset of a page's last row, with the name of its list, as an opaque text."""
    return urlsafe_b64encode(msgspec.json.encode((list_name, key))).decode().rstrip("=")


def decode_cursor(cursor: str | None, key_type: Any, *, list_name: str = "") -> Any:
    """The keyset that `encode_cursor` was given, or None without a cursor.

    Raises ValidationError, also for a cursor of another list. `key_type` is what msgspec is to find in it, bounds
    included: the values go into a query.
    """
    if not cursor:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        raw = b64decode(padded, altchars="-_", validate=True)
        made_for, key = msgspec.json.decode(raw, type=tuple[str, key_type])
    except (ValueError, RecursionError) as error:  # those of msgspec and base64 are ValueErrors
        raise _foreign() from error
    if made_for != list_name:
        raise _foreign()
    return key


def _foreign() -> ValidationError:
    return ValidationError({"cursor": [ErrorDetail("This is no cursor of this list.", code="invalid")]})


def page_of(
    rows: Sequence[R], *, limit: int, key: Callable[[R], Any], list_name: str = ""
) -> tuple[Sequence[R], str | None]:
    """A page and its next cursor, from up to `limit` + 1 rows: the one too many tells that there is more."""
    page = rows[:limit]
    return page, encode_cursor(key(page[-1]), list_name=list_name) if len(rows) > limit else None
