"""Text that people type into the bank: trimmed, bounded, and printable on one line. Pure.

Invariant: what passes here can be stored (no NUL, no lone surrogate, which Postgres refuses), printed on a statement
line (no control character or line break), seen (something in it prints) and read as it stands (no character that turns
the direction of what follows, or that prints nothing). What was stored is not asked again: only commands come by here.
Every context may import this module.
"""

from __future__ import annotations

from typing import Final

from eventstore.refusals import InvalidValue
from eventstore.visible import has_unprintable, has_visible

MAX_NAME_LENGTH: Final = 200
MAX_EMAIL_LENGTH: Final = 254  # RFC 5321 allows no longer path
MAX_PHONE_LENGTH: Final = 40
MAX_TITLE_LENGTH: Final = 100
MAX_DESCRIPTION_LENGTH: Final = 200
MAX_REFERENCE_LENGTH: Final = 100
MAX_REASON_LENGTH: Final = 500


class InvalidText(InvalidValue):
    """The text holds characters that cannot be printed on one line."""

    code = "invalid_text"


class TextMissing(InvalidText):
    """This must not be empty."""

    code = "required"


class TextTooLong(InvalidText):
    """The text is too long."""

    code = "text_too_long"


def clean_text(text: str, *, field: str, max_length: int, required: bool = True) -> str:
    """The text without white space at its ends.

    `field` names it in the errors: `TextMissing` when nothing is left of a required one, `TextTooLong`, `InvalidText`.
    """
    trimmed = text.strip()
    if required and not has_visible(trimmed):
        raise TextMissing(field=field)
    check_text(trimmed, field=field, max_length=max_length)
    return trimmed


def clean_optional(text: str | None, *, field: str, max_length: int) -> str | None:
    """As `clean_text`; None when there is no text, or nothing but white space."""
    return clean_text(text or "", field=field, max_length=max_length, required=False) or None


def check_text(text: str, *, field: str, max_length: int) -> None:
    """Refuses a text that is longer than `max_length` characters or cannot be printed on one line.

    White space alone is no text, and passes. Raises `TextTooLong`, `InvalidText`.
    """
    if len(text) > max_length:
        raise TextTooLong(f"This must have at most {max_length} characters.", field=field)
    if has_unprintable(text) or (text.strip() and not has_visible(text)):
        raise InvalidText(field=field)
