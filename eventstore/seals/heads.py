"""The head of the seals, to be kept where nobody who can rewrite the log can rewrite it too.

Against a superuser the seals alone prove nothing: whoever may rewrite events may rewrite seals. A head that was
exported before is what a later log is compared with. Imported by the command and by who keeps heads elsewhere.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from django.db import connections

from eventstore.seals.hashing import FORMAT, ORIGIN

# The last seal that ends where the log does or before, and whose log it is. The time is null where it is one that no
# program can tell, such as infinity.
_SELECT_HEAD: Final = """
SELECT head.log_id, COALESCE(last.last_position, 0), last.hash,
    CASE WHEN last.sealed_at BETWEEN '0001-01-02Z' AND '9999-12-30Z' THEN last.sealed_at END, last.sealed_at::text,
    clock_timestamp()
FROM eventstore_sequencer head
LEFT JOIN LATERAL (
    SELECT last_position, hash, sealed_at FROM eventstore_seal WHERE last_position <= head.position
    ORDER BY last_position DESC LIMIT 1
) AS last ON true
WHERE head.id = 1
"""

# Whose log this is, where it ends, and the seal that ends at a position.
_SELECT_AT: Final = """
SELECT head.log_id, (SELECT COALESCE(max(position), 0) FROM eventstore_log), seal.hash,
    seal.sealed_at IS NOT DISTINCT FROM %s::timestamptz
FROM eventstore_sequencer head LEFT JOIN eventstore_seal seal ON seal.last_position = %s
WHERE head.id = 1
"""


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class NotAHead(Exception):
    """This file holds no exported head."""


class AtAnotherTime(NotAHead):
    """Head and log tell of the same seal, but not of the same time: one of the two was altered."""


class NoLog(Exception):
    """The log has no head."""


class SealAltered(Exception):
    """The last seal is none that the program made, so there is nothing to export."""


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The last seal at a time. Whoever keeps it can tell later whether the log up to it was rewritten."""

    format: int
    log_id: UUID
    position: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]  # everything up to here is sealed
    hash: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")]  # of the last seal, in hexadecimal
    sealed_at: Moment | None  # None: nothing was sealed yet
    exported_at: Moment


class Verdict(Enum):
    """What a later log is, beside an exported head."""

    EXTENDS = "extends"
    ALTERED = "altered"
    TRUNCATED = "truncated"
    FOREIGN = "foreign"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What came of comparing."""

    verdict: Verdict
    text: str


def export(*, using: str = "default") -> Head:
    """The head as it is now. Raises `NoLog` and `SealAltered`."""
    log_id, position, hashed, sealed_at, sealed_at_text, now = _fetch(_SELECT_HEAD, [], using=using)
    if sealed_at is None and sealed_at_text is not None:
        raise SealAltered(
            f"the seal that ends at position {position} was altered: it says {sealed_at_text!r} for its time"
        )
    return Head(
        format=FORMAT,
        log_id=log_id,
        position=position,
        hash=(hashed or ORIGIN).hex(),
        sealed_at=sealed_at,
        exported_at=now,
    )


def as_json(head: Head) -> str:
    """The head as it is kept: a small JSON document."""
    return msgspec.json.format(msgspec.json.encode(head).decode(), indent=2)


def read_head(path: Path) -> Head:
    """The head that a file holds. Raises `NotAHead`, and OSError when the file cannot be read."""
    try:
        head = msgspec.json.decode(path.read_bytes(), type=Head)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NotAHead(f"{path} holds no exported head: {error}") from error
    if head.format != FORMAT:
        raise NotAHead(f"{path} is of format {head.format}; this program knows format {FORMAT}")
    hashed = head.hash.lower()
    if (head.position == 0) != (head.sealed_at is None) or (head.position == 0) != (hashed == ORIGIN.hex()):
        raise NotAHead(f"{path} holds no exported head: its position, hash and time are not of one seal")
    return msgspec.structs.replace(head, hash=hashed)


def compare(head: Head, *, using: str = "default") -> Comparison:
    """Whether the log of now goes on from the head, by the seals alone. Raises `NoLog`, and `AtAnotherTime` when the
    head's seal is there and says another time: if its hash is that of the log, it is the head that was altered.

    Only together with the check of the seals against the log does `EXTENDS` say that nothing was rewritten.
    """
    log_id, last, hashed, is_of_then = _fetch(_SELECT_AT, [head.sealed_at, head.position], using=using)
    if log_id != head.log_id:
        return Comparison(
            verdict=Verdict.FOREIGN, text=f"This is another log: {log_id}, and the head is one of {head.log_id}."
        )
    if last < head.position:
        return Comparison(
            verdict=Verdict.TRUNCATED,
            text=f"The log was truncated: it ends at position {last}, and was sealed up to {head.position} already.",
        )
    expected = ORIGIN.hex() if head.position == 0 else head.hash
    found = ORIGIN if head.position == 0 else hashed
    if found is None:
        return Comparison(
            verdict=Verdict.ALTERED,
            text=f"The log was altered: the seal that ended at position {head.position} is gone.",
        )
    if found.hex() != expected:
        return Comparison(
            verdict=Verdict.ALTERED,
            text=(
                f"The log was altered at position {head.position} or before: the seal there was {expected}, and is"
                f" {found.hex()} now."
            ),
        )
    if not is_of_then:  # the hash is over the time
        raise AtAnotherTime(f"the head says that position {head.position} was sealed at another time than it was")
    return Comparison(
        verdict=Verdict.EXTENDS,
        text=f"The log extends what was exported at {head.exported_at.isoformat()}, up to position {head.position}.",
    )


def _fetch(statement: str, arguments: list[Any], *, using: str) -> tuple[Any, ...]:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, arguments)
        found: tuple[Any, ...] | None = cursor.fetchone()
    if found is None:
        raise NoLog("the log has no head")
    return found
