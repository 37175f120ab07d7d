"""Gives committed events their place in the log, one sequencer at a time.

Positions are given after commit (docs/adr/0002-post-commit-sequencer.md): writers never wait for each other, and the
log has no gap that a reader could fall into. Invariant: what is read from the outbox, written to the log and deleted
is the same set, or the transaction fails.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import NamedTuple

import structlog
from django.db import connections, transaction

_log = structlog.get_logger(__name__)

BATCH = 5_000
"""Events per transaction, at most."""

# Whatever the server's default is: a later statement must see what was committed since the transaction began.
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"

# The right to sequence. A statement of its own: joined to the next one, four sequencers wrote rows twice.
_LOCK_HEAD = "SELECT position, sequenced_at FROM eventstore_sequencer WHERE id = 1 FOR UPDATE SKIP LOCKED"

# Always from the lowest id: an event with a low id may commit late, any floor would skip it.
_READ_OUTBOX = "SELECT event_id, stream_bucket, route_bucket FROM eventstore_outbox ORDER BY event_id LIMIT %s"

# Moves the events from the outbox to the log, and the head with them.
_SEQUENCE = """
WITH clock AS MATERIALIZED (SELECT GREATEST(clock_timestamp(), %s::timestamptz) AS now),
taken AS (
    SELECT * FROM unnest(%s::bigint[], %s::smallint[], %s::smallint[])
        WITH ORDINALITY AS row (event_id, stream_bucket, route_bucket, ordinal)
),
logged AS (
    INSERT INTO eventstore_log (position, event_id, stream_bucket, route_bucket, sequenced_at)
    SELECT %s + taken.ordinal, taken.event_id, taken.stream_bucket, taken.route_bucket, clock.now
    FROM taken CROSS JOIN clock ORDER BY taken.ordinal
    RETURNING 1
),
removed AS (
    DELETE FROM eventstore_outbox WHERE event_id = ANY(%s) RETURNING 1
)
UPDATE eventstore_sequencer
SET position = %s + (SELECT count(*) FROM logged), sequenced_at = clock.now, heartbeat_at = clock_timestamp()
FROM clock
WHERE id = 1
RETURNING (SELECT count(*) FROM logged), (SELECT count(*) FROM removed)
"""

# Shows that a sequencer lives though there is nothing to do; who sweeps in need goes by it. One in the future is from
# before the clock was set back, and shows nothing.
_HEARTBEAT = """
UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp()
WHERE id = 1 AND heartbeat_at NOT BETWEEN clock_timestamp() - interval '1 second' AND clock_timestamp()
"""


class SequencerInconsistent(Exception):
    """Outbox and log differ; nothing was written."""


class Outcome(Enum):
    """What a run of the sequencer found."""

    MOVED = "moved"  # events; there may be more
    EMPTY = "empty"
    BUSY = "busy"  # another sequencer is at it, which says nothing about the outbox


class _Waiting(NamedTuple):
    event_id: int
    stream_bucket: int
    route_bucket: int | None


def sequence(*, using: str = "default", limit: int = BATCH) -> Outcome:
    """Moves up to `limit` events from the outbox to the log, in a transaction of its own.

    Raises `SequencerInconsistent` when the tables contradict each other, which no run of this program leaves behind.
    """
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_READ_COMMITTED)
        cursor.execute(_LOCK_HEAD)
        head = cursor.fetchone()
        if head is None:
            return Outcome.BUSY
        cursor.execute(_READ_OUTBOX, [limit])
        waiting = [_Waiting(*row) for row in cursor]
        if not waiting:
            cursor.execute(_HEARTBEAT)
            return Outcome.EMPTY
        _move(cursor, waiting, position=head[0], sequenced_at=head[1])
        return Outcome.MOVED


def _move(cursor, waiting: list[_Waiting], *, position: int, sequenced_at: datetime) -> None:  # type: ignore[no-untyped-def]
    ids = [event.event_id for event in waiting]
    cursor.execute(
        _SEQUENCE,
        [
            sequenced_at,
            ids,
            [event.stream_bucket for event in waiting],
            [event.route_bucket for event in waiting],
            position,
            ids,
            position,
        ],
    )
    logged, removed = cursor.fetchone()
    if not len(waiting) == logged == removed:
        _log.error("eventstore.sequencer_inconsistent", read=len(waiting), logged=logged, removed=removed)
        raise SequencerInconsistent(f"read {len(waiting)}, logged {logged}, removed {removed}")
