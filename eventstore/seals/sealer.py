"""Seals what was sequenced, off the hot path, one range after the other. Whoever dispatches calls `seal_next`.

Invariants: one sealer at a time; a seal begins where the one before ends and holds its hash; only a range whose entries
are all there is sealed; a seal beyond the log's end is none of the sealer's, and stops nothing; one transaction a seal,
of bounded size, so that an old log is sealed in slices and whoever is killed in the middle leaves nothing behind.
"""

from __future__ import annotations

import time
from datetime import datetime
from enum import Enum
from typing import Any, Final, NamedTuple

import structlog
from django.db import IntegrityError, connections, transaction

from eventstore.failures import violated_constraint
from eventstore.seals.hashing import FORMAT, MOST_ENTRIES, ORIGIN, leaf_of, read_entries, seal_hash
from eventstore.tables import ADVISORY_CLASS

_log = structlog.get_logger(__name__)

_LOCK: Final = 3
AGE_SECONDS: Final = 2.0
"""What was sequenced this long ago is sealed: sooner, every handful of events would have a seal of its own."""
LOOK_SECONDS: Final = 1.0
"""How often who dispatches without end looks whether there is something to seal."""

# Whatever the server's default is: a later statement must see what the sealer before has committed.
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"

# The right to seal, until the transaction ends. A statement of its own, before what it protects is read.
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s, %s)"

# The last seal that ends where the log does or before, how many entries come after it, and since when the first of them
# waits. A negative time is a clock that was set back. A seal beyond the log's end was planted, or outlived entries that
# were taken away: whoever went on from it would not seal until the log has grown up to it.
_SELECT_BACKLOG = """
SELECT COALESCE(last.last_position, 0), last.hash, head.position - COALESCE(last.last_position, 0),
    extract(epoch FROM clock.now - l.sequenced_at)::float8, clock.now, timestamptz_send(clock.now)
FROM eventstore_sequencer head
CROSS JOIN (SELECT clock_timestamp() AS now OFFSET 0) AS clock
LEFT JOIN LATERAL (
    SELECT last_position, hash FROM eventstore_seal WHERE last_position <= head.position
    ORDER BY last_position DESC LIMIT 1
) AS last ON true
LEFT JOIN eventstore_log l ON l.position = COALESCE(last.last_position, 0) + 1
WHERE head.id = 1
"""

# A new seal.
_INSERT = """
INSERT INTO eventstore_seal (last_position, first_position, format, leaves, previous_hash, hash, sealed_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


class NotSealable(Exception):
    """This log cannot be sealed as it is."""


class LogIncomplete(NotSealable):
    """What is to be sealed is not all there: the log was rewritten, or its head."""


class SealInTheWay(NotSealable):
    """Another seal goes on from the same place already: it was planted, or what it sealed was taken away."""


class Outcome(Enum):
    """What a run of the sealer found."""

    SEALED = "sealed"  # there may be more
    NOTHING = "nothing"  # that is old enough
    BUSY = "busy"  # another sealer is at it


class Backlog(NamedTuple):
    """Up to where the log is sealed, and what waits."""

    sealed_to: int
    last_hash: bytes | None  # of the last seal; None before the first
    entries: int  # that are not sealed yet
    waiting_seconds: float | None  # since the first of them was sequenced; None when there is none
    now: datetime
    now_sent: bytes  # as it is hashed

    def is_due(self, *, age_seconds: float) -> bool:
        """Whether something is to be sealed now."""
        if self.entries <= 0:
            return False
        waiting = self.waiting_seconds
        return self.entries >= MOST_ENTRIES or waiting is None or not 0 <= waiting < age_seconds


class Pace:
    """When who dispatches looks next whether there is something to seal."""

    def __init__(self) -> None:
        self._next_at = time.monotonic() + LOOK_SECONDS

    def is_up(self) -> bool:
        """Whether it is time; if so, the time begins anew."""
        if time.monotonic() < self._next_at:
            return False
        self._next_at = time.monotonic() + LOOK_SECONDS
        return True


def backlog(*, using: str = "default") -> Backlog:
    """Up to where the log is sealed, and what waits."""
    with connections[using].cursor() as cursor:
        return _backlog(cursor)


def seal_next(*, using: str = "default", age_seconds: float = AGE_SECONDS, most: int = MOST_ENTRIES) -> Outcome:
    """Seals up to `most` entries of the log, in a transaction of its own, when the first is old enough.

    Raises `LogIncomplete` when entries or events are missing, and `SealInTheWay`.
    """
    if not backlog(using=using).is_due(age_seconds=age_seconds):
        return Outcome.NOTHING
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_READ_COMMITTED)
        cursor.execute(_TRY_LOCK, [ADVISORY_CLASS, _LOCK])
        if not cursor.fetchone()[0]:
            return Outcome.BUSY
        waiting = _backlog(cursor)
        if not waiting.is_due(age_seconds=age_seconds):
            return Outcome.NOTHING
        _seal(cursor, waiting, min(most, waiting.entries))
        return Outcome.SEALED


def seal_quietly(*, using: str = "default", age_seconds: float = AGE_SECONDS) -> bool:
    """As `seal_next`, for who has other work too: answers whether something was sealed; a broken log is logged."""
    try:
        return seal_next(using=using, age_seconds=age_seconds) is Outcome.SEALED
    except NotSealable as error:
        _log.error("eventstore.not_sealed", reason=str(error))
        return False


def seal_all(*, using: str = "default") -> None:
    """Seals everything that is there, however young; leaves it to another sealer where one is at it."""
    while seal_quietly(using=using, age_seconds=0):
        pass


def _backlog(cursor: Any) -> Backlog:
    cursor.execute(_SELECT_BACKLOG)
    found = cursor.fetchone()
    if found is None:
        raise LogIncomplete("the log has no head")
    return Backlog(*found)


def _seal(cursor: Any, waiting: Backlog, count: int) -> None:
    first, last = waiting.sealed_to + 1, waiting.sealed_to + count
    entries = read_entries(cursor, first=first, last=last)
    hashes = [entry.hash for entry in entries if entry.hash is not None]
    if [entry.position for entry in entries] != list(range(first, last + 1)) or len(hashes) != count:
        raise LogIncomplete(f"positions {first} to {last} are not all there, so they are not sealed")
    previous = waiting.last_hash or ORIGIN
    sealed = seal_hash(first=first, last=last, previous_hash=previous, sealed_at=waiting.now_sent, entries=hashes)
    leaves = b"".join(map(leaf_of, hashes))
    try:
        cursor.execute(_INSERT, [last, first, FORMAT, leaves, previous, sealed, waiting.now])
    except IntegrityError as error:
        if violated_constraint(error) is None:
            raise
        raise SealInTheWay(f"another seal goes on from position {first - 1} already, so none is made there") from error
