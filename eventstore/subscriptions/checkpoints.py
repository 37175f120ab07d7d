"""Checkpoints: how far each subscription has come in each range of buckets. A row's lock is the right to advance it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db import connections, transaction

from eventstore.buckets import split_evenly
from eventstore.subscriptions.reading import Range
from eventstore.subscriptions.registry import Follows, Projection, Subscription, SubscriptionRegistry

IDLE_LIMIT = 1_000
"""A checkpoint further behind than this is advanced though nothing concerns it, so that looking ahead stays cheap."""

LONGEST_HOLD_SECONDS = 10
"""No checkpoint is held for longer at a time."""

# The checkpoints of these subscriptions that exist.
_SELECT_EXISTING = "SELECT DISTINCT subscription FROM eventstore_checkpoint WHERE subscription = ANY(%s)"

# A new subscription's checkpoint, at the beginning of the log; two processes may do this at once.
_INSERT = """
INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position, projection_version)
VALUES (%s, %s, %s, %s, 0, %s)
ON CONFLICT (subscription, bucket_low) DO NOTHING
"""

# Who has something to do. Looks at no more than IDLE_LIMIT log entries for each checkpoint. A hold is for seconds: one
# that ends later than that was made before the clock was set back.
_SELECT_DUE = """
SELECT c.id, c.subscription, c.projection_version
FROM eventstore_checkpoint c
CROSS JOIN (SELECT position FROM eventstore_sequencer WHERE id = 1) AS head
WHERE c.status = 'running' AND c.position < head.position AND c.subscription = ANY(%s)
    AND (
        c.held_until IS NULL
        OR c.held_until NOT BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => %s)
    )
    AND (
        head.position - c.position > %s
        OR EXISTS (
            SELECT FROM eventstore_log l
            WHERE l.position > c.position AND l.position <= head.position
                AND CASE c.follows WHEN 'route' THEN l.route_bucket ELSE l.stream_bucket END
                    BETWEEN c.bucket_low AND c.bucket_high
        )
    )
ORDER BY c.position, c.id
"""

# Says, before handling begins, that it was tried: what follows may kill the process. A stamp that is younger than a
# second is another process's, on its way to the row lock; taking it for a death would make busy workers careful.
_STAMP = """
UPDATE eventstore_checkpoint
SET attempts = LEAST(attempts + 1, 100), attempted_at = clock_timestamp()
WHERE id = (
    SELECT id FROM eventstore_checkpoint
    WHERE id = %s AND status = 'running'
        AND (
            attempts = 0
            OR attempted_at NOT BETWEEN clock_timestamp() - interval '1 second' AND clock_timestamp()
        )
    FOR UPDATE SKIP LOCKED
)
RETURNING attempts, CASE WHEN careful_until > position THEN careful_entries ELSE 0 END, position
"""

# A stamp may be lost in a crash of the database server: then it was not the handler that died.
_COMMIT_LAZILY = "SET LOCAL synchronous_commit = off"

# The right to advance; never waits.
_LOCK = """
SELECT id, subscription, follows, bucket_low, bucket_high, position, projection_version FROM eventstore_checkpoint
WHERE id = %s AND status = 'running' FOR UPDATE SKIP LOCKED
"""

# All up to a position is handled or parked.
_MOVE = """
UPDATE eventstore_checkpoint
SET position = %s, attempts = 0, heartbeat_at = clock_timestamp(), held_until = NULL, held_reason = '',
    careful_until = CASE WHEN careful_until > %s THEN careful_until END
WHERE id = %s
"""

# From here to there so many log entries at a time.
_BE_CAREFUL = """
UPDATE eventstore_checkpoint SET attempts = 0, careful_until = %s, careful_entries = %s WHERE id = %s
"""

# Stops a checkpoint for a while, for a reason that is not in the events.
_HOLD = """
UPDATE eventstore_checkpoint
SET held_until = clock_timestamp() + make_interval(secs => %s), held_reason = %s,
    attempts = CASE WHEN %s THEN 0 ELSE attempts END
WHERE id = %s
"""


class Due(NamedTuple):
    """A checkpoint that has something to do."""

    id: int
    subscription: str
    projection_version: int | None


class Stamp(NamedTuple):
    """How often this was tried without a result, this time included, and with how many log entries at a time."""

    attempts: int
    entries: int  # 0: as many as make a batch
    position: int  # of the checkpoint then


class Checkpoint(NamedTuple):
    """A locked checkpoint."""

    id: int
    subscription: str
    range: Range
    position: int
    projection_version: int | None


def ensure(registry: SubscriptionRegistry, *, using: str) -> None:
    """Makes the checkpoints of subscriptions that have none."""
    wanted = {subscription.id: subscription for subscription in registry.all()}
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_EXISTING, [list(wanted)])
        missing = wanted.keys() - {id for (id,) in cursor.fetchall()}
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        for subscription in (wanted[id] for id in sorted(missing)):
            version = subscription.version if isinstance(subscription, Projection) else None
            for low, high in split_evenly(subscription.partitions):
                cursor.execute(_INSERT, [subscription.id, follows_of(subscription), low, high, version])


def follows_of(subscription: Subscription) -> str:
    """Which bucket the subscription's checkpoints follow."""
    return Follows.STREAM.value if isinstance(subscription, Projection) else subscription.follows.value


def due(subscription_ids: Collection[str], *, using: str) -> list[Due]:
    """Which checkpoints of these subscriptions have something to do: one query, those furthest behind first."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_DUE, [list(subscription_ids), LONGEST_HOLD_SECONDS, IDLE_LIMIT])
        return [Due(*row) for row in cursor]


def stamp(checkpoint_id: int, *, using: str) -> Stamp | None:
    """Counts an attempt, in a transaction of its own; None when another process is at it."""
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_COMMIT_LAZILY)
        cursor.execute(_STAMP, [checkpoint_id])
        found = cursor.fetchone()
        return None if found is None else Stamp(*found)


def lock(cursor: Any, checkpoint_id: int) -> Checkpoint | None:
    """Takes the right to advance until the transaction ends; None when another process has it."""
    cursor.execute(_LOCK, [checkpoint_id])
    found = cursor.fetchone()
    if found is None:
        return None
    id, subscription, follows, low, high, position, projection_version = found
    return Checkpoint(id, subscription, Range(follows, low, high), position, projection_version)


def move(cursor: Any, checkpoint: Checkpoint, position: int) -> None:
    """Everything up to `position` is done."""
    cursor.execute(_MOVE, [position, position, checkpoint.id])


def be_careful(cursor: Any, checkpoint: Checkpoint, until: int | None, *, entries: int = 1) -> None:
    """Up to position `until`, so many log entries at a time; None: no longer."""
    cursor.execute(_BE_CAREFUL, [until, entries, checkpoint.id])


def hold(checkpoint_id: int, *, seconds: float, reason: str, forget_attempts: bool = True, using: str) -> None:
    """Stops the checkpoint for some seconds, in a transaction of its own; what was tried counts no more."""
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_HOLD, [seconds, reason, forget_attempts, checkpoint_id])
