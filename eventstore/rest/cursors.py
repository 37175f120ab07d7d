"""Lists by keyset: a cursor names the last row of a page, so that a page costs the same at any depth.

Opaque to clients, signed, and checked when it comes back: a cursor that we did not make, or made for another list or
for other filters, is a validation error, never a query.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from django.core.signing import BadSignature, Signer
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from eventstore.rest.requests import QuerySerializer, TextField, WholeNumberField

R = TypeVar("R")

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
MAX_CURSOR_LENGTH: Final = 400


class ListQuery(QuerySerializer):
    """What every list takes."""

    cursor = TextField(
        required=False,
        allow_blank=False,
        max_length=MAX_CURSOR_LENGTH,
        help_text="`next_cursor` of the page before, with the same filters.",
    )
    limit = WholeNumberField(
        required=False, min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT, help_text="Rows a page."
    )


def name_of_list(name: str, filters: Mapping[str, Any]) -> str:
    """The list as those filters make it; a cursor of one leads nowhere in another."""
    return f"{name} {sorted((field, str(value)) for field, value in filters.items())}"


def encode_cursor(key: Any, *, list_name: str) -> str:
    """The keyset of a page's last row as an opaque text, good for that list alone."""
    return _signer(list_name).sign(urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("="))


def decode_cursor(cursor: str | None, key_type: Any, *, list_name: str) -> Any:
    """The keyset that `encode_cursor` was given for this list, or None without a cursor.

    Raises ValidationError. `key_type` is what msgspec is to find in it, bounds included: the values go into a query,
    and an older release may have made the cursor.
    """
    if cursor is None:
        return None
    try:
        encoded = _signer(list_name).unsign(cursor)
        raw = b64decode(encoded + "=" * (-len(encoded) % 4), altchars="-_", validate=True)
        return msgspec.json.decode(raw, type=key_type)
    except (BadSignature, ValueError) as error:  # those of msgspec and base64 are ValueErrors
        raise ValidationError({"cursor": [ErrorDetail("This is no cursor of this list.", code="invalid")]}) from error


def refuse_paging(request: Request, *, whole: str) -> None:
    """Refuses what asks for one page of a list that comes `whole`, such as a file. Raises ValidationError."""
    for name in ("cursor", "limit"):
        if name in request.query_params:
            detail = ErrorDetail(f"{whole} has the whole list, and takes no {name}.", code="exclusive")
            raise ValidationError({name: [detail]})


def page_of(
    rows: Sequence[R], *, limit: int, key: Callable[[R], Any], list_name: str
) -> tuple[Sequence[R], str | None]:
    """A page and its next cursor, from up to `limit` + 1 rows: the one too many tells that there is more."""
    page = rows[:limit]
    return page, encode_cursor(key(page[-1]), list_name=list_name) if len(rows) > limit else None


def _signer(list_name: str) -> Signer:
    return Signer(sep=".", salt=f"{__name__}: {list_name}")
