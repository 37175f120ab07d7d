"""What the store holds and how far everybody has come, for people to look at.

Invariant: it only reads, and answers with a bounded number of rows; personal fields stay sealed unless the caller asks
for them. Commands and pages import this; the core never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.db import connections

from eventstore.registry import EventType, UnknownEventType
from eventstore.rows import EventRow
from eventstore.sealing import ERASED, PersonKey, keys_of
from eventstore.store import EventStore
from eventstore.subscriptions.registry import Projection, Reactor

SEALED: Final = "[sealed]"
"""What is shown in the place of a personal field."""
MOST_LAG: Final = 10_000
"""More events than this behind is told as so many: counting on would cost more than it tells."""

# The events of a stream, whatever its type when none is given.
_SELECT_STREAM = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM eventstore_event e LEFT JOIN eventstore_log l ON l.event_id = e.id
WHERE e.stream_id = %s AND e.version > %s AND e.stream_type = COALESCE(%s, e.stream_type)
ORDER BY e.version LIMIT %s
"""

# The events of a story, in the order in which they were written.
_SELECT_STORY = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM eventstore_event e LEFT JOIN eventstore_log l ON l.event_id = e.id
WHERE (e.metadata ->> 'correlation_id')::uuid = %s
ORDER BY e.id LIMIT %s
"""

# The last events of the log, the newest first.
_SELECT_LAST = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
ORDER BY l.position DESC LIMIT %s
"""

# What came after a position.
_SELECT_AFTER = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position > %s ORDER BY l.position LIMIT %s
"""

# Where the log ends, when it last grew and when a sequencer last showed that it lives, and how many events wait for
# their position, counted up to a limit.
_SELECT_LOG = """
SELECT s.position, extract(epoch FROM clock_timestamp() - s.heartbeat_at)::float8,
    (SELECT count(*) FROM (SELECT FROM eventstore_outbox LIMIT %s) AS waiting)
FROM eventstore_sequencer s WHERE s.id = 1
"""

# Every checkpoint, and how many events in its range are behind it, counted up to a limit. One that was held and has not
# gone on since is held, between two tries too. A replay's shadows are left out: the replay tells of them.
_SELECT_CHECKPOINTS = """
SELECT c.subscription, c.follows, c.bucket_low, c.bucket_high, c.position, c.projection_version, c.status, c.paused_by,
    c.paused_reason, CASE WHEN c.held_until > clock_timestamp() OR behind.events > 0 THEN c.held_reason ELSE '' END,
    behind.events, COALESCE(extract(epoch FROM clock_timestamp() - behind.since), 0)::float8
FROM eventstore_checkpoint c
CROSS JOIN LATERAL (
    SELECT count(*) AS events, min(sequenced_at) AS since
    FROM (
        SELECT l.sequenced_at FROM eventstore_log l
        WHERE l.position > c.position
            AND CASE c.follows WHEN 'route' THEN l.route_bucket ELSE l.stream_bucket END
                BETWEEN c.bucket_low AND c.bucket_high
        ORDER BY l.position LIMIT %s
    ) AS next
) AS behind
WHERE c.status <> 'replaying'
ORDER BY c.subscription, c.bucket_low
"""

# How long the event has waited that has waited longest: for its position, or for one of these subscriptions.
_LONGEST_WAIT = """
SELECT GREATEST(
    (
        SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)
        FROM eventstore_outbox o JOIN eventstore_event e ON e.id = o.event_id ORDER BY o.event_id LIMIT 1
    ),
    (
        SELECT max(extract(epoch FROM clock_timestamp() - next.sequenced_at))
        FROM eventstore_checkpoint c
        CROSS JOIN LATERAL (
            SELECT l.sequenced_at FROM eventstore_log l
            WHERE l.position > c.position
                AND CASE c.follows WHEN 'route' THEN l.route_bucket ELSE l.stream_bucket END
                    BETWEEN c.bucket_low AND c.bucket_high
            ORDER BY l.position LIMIT 1
        ) AS next
        WHERE c.status <> 'replaying' AND c.subscription = ANY(%s)
    ),
    0
)::float8
"""

# What a reactor has still to do, since when: the oldest event without a position, the next behind each checkpoint, and
# the oldest key that is parked. Of the tables of the store alone: it shows what no read model has come to.
_SELECT_UNDONE = """
SELECT 'unsequenced', '', e.recorded_at, extract(epoch FROM clock_timestamp() - e.recorded_at)::float8
FROM (SELECT event_id FROM eventstore_outbox ORDER BY event_id LIMIT 1) AS first
JOIN eventstore_event e ON e.id = first.event_id
UNION ALL
SELECT 'unhandled', c.subscription, min(next.sequenced_at),
    extract(epoch FROM clock_timestamp() - min(next.sequenced_at))::float8
FROM eventstore_checkpoint c
CROSS JOIN LATERAL (
    SELECT l.sequenced_at FROM eventstore_log l
    WHERE l.position > c.position
        AND CASE c.follows WHEN 'route' THEN l.route_bucket ELSE l.stream_bucket END
            BETWEEN c.bucket_low AND c.bucket_high
    ORDER BY l.position LIMIT 1
) AS next
WHERE c.status <> 'replaying' AND c.subscription = ANY(%s) GROUP BY c.subscription
UNION ALL
SELECT 'parked', subscription, min(parked_at), extract(epoch FROM clock_timestamp() - min(parked_at))::float8
FROM eventstore_parked_key WHERE subscription = ANY(%s) GROUP BY subscription
"""

# How much each subscription has parked; a key that nothing has failed for only waits its turn.
_COUNT_PARKED = """
SELECT k.subscription, count(*), min(k.parked_at), sum(behind.events)::bigint,
    extract(epoch FROM clock_timestamp() - min(k.parked_at))::float8
FROM eventstore_parked_key k
CROSS JOIN LATERAL (SELECT count(*) AS events FROM eventstore_parked_event e WHERE e.parked_key_id = k.id) AS behind
WHERE k.attempts > 0 GROUP BY k.subscription ORDER BY k.subscription
"""

# The keys that wait for a stream that another transaction has locked.
_COUNT_WAITING = """
SELECT subscription, count(*) FROM eventstore_parked_key WHERE attempts = 0 GROUP BY subscription ORDER BY subscription
"""

# What is parked, the oldest first, of one subscription or of all, one key or all, with what only waits for a stream or
# without.
_SELECT_PARKED = """
SELECT k.id, k.subscription, k.key, k.attempts, k.next_attempt_at, k.parked_at, k.error, behind.events, behind.first
FROM eventstore_parked_key k
CROSS JOIN LATERAL (
    SELECT count(*) AS events, min(e.position) AS first FROM eventstore_parked_event e WHERE e.parked_key_id = k.id
) AS behind
WHERE k.subscription = COALESCE(%s, k.subscription) AND k.key = COALESCE(%s::uuid, k.key) AND (%s OR k.attempts > 0)
ORDER BY k.parked_at, k.id LIMIT %s
"""

# The last seals, the newest first. The time is null where it is one that no program can tell, such as infinity.
_SELECT_SEALS = """
SELECT first_position, last_position,
    CASE WHEN sealed_at BETWEEN '0001-01-02Z' AND '9999-12-30Z' THEN sealed_at END,
    encode(hash, 'hex'), encode(previous_hash, 'hex')
FROM eventstore_seal ORDER BY last_position DESC LIMIT %s
"""


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored, in the shape that it had then."""

    position: int | None  # None: it has no place in the log yet
    stream_type: str
    stream_id: UUID
    version: int
    name: str
    schema_version: int
    data: dict[str, Any]
    actor: str
    event_id: UUID
    correlation_id: str
    causation_id: str | None
    recorded_at: datetime


class LogState(NamedTuple):
    """How the log stands."""

    position: int  # of its last event, 0 when it is empty
    heartbeat_seconds: float  # since a sequencer last showed that it lives
    unsequenced: int  # committed events without a position, `MOST_LAG` at most


STAGES: Final = ("unsequenced", "unhandled", "parked")
"""Where something that is still to be done may be."""


class Undone(NamedTuple):
    """The oldest thing of its kind that a reactor has still to do."""

    stage: str  # of `STAGES`
    subscription: str  # "" for what has no position yet: that concerns them all
    since: datetime
    seconds: float


class Part(NamedTuple):
    """One range of a subscription's buckets."""

    subscription: str
    follows: str
    bucket_low: int
    bucket_high: int
    position: int
    projection_version: int | None
    status: str
    paused_by: str
    paused_reason: str
    held_reason: str  # "" unless it is held
    lag_events: int  # in this range, `MOST_LAG` at most
    lag_seconds: float  # since the next of them had its place in the log


class Parked(NamedTuple):
    """How much a subscription has parked."""

    subscription: str
    keys: int
    oldest: datetime
    events: int
    oldest_seconds: float  # since then


class ParkedKey(NamedTuple):
    """A key and what is behind it."""

    id: int
    subscription: str
    key: UUID
    attempts: int
    next_attempt_at: datetime
    parked_at: datetime
    error: str
    events: int
    first_position: int | None


class SealRange(NamedTuple):
    """A seal, without what it keeps of each entry."""

    first_position: int
    last_position: int
    sealed_at: datetime | None  # None: at no moment, so that it was altered
    hash: str  # in hexadecimal, as the next one
    previous_hash: str


def stream(
    stream_id: UUID, *, store: EventStore, stream_type: str | None = None, after: int = 0, limit: int, unseal: bool
) -> list[StoredEvent]:
    """A stream's events after a version, in order."""
    return _events(_SELECT_STREAM, [stream_id, after, stream_type, limit], store=store, unseal=unseal)


def story(correlation_id: UUID, *, store: EventStore, limit: int, unseal: bool) -> list[StoredEvent]:
    """The events of one story, across streams, in the order in which they were written."""
    return _events(_SELECT_STORY, [correlation_id, limit], store=store, unseal=unseal)


def last_events(*, store: EventStore, limit: int, unseal: bool) -> list[StoredEvent]:
    """The last events of the log, in its order."""
    return _events(_SELECT_LAST, [limit], store=store, unseal=unseal)[::-1]


def events_after(position: int, *, store: EventStore, limit: int, unseal: bool) -> list[StoredEvent]:
    """The next events of the log after a position."""
    return _events(_SELECT_AFTER, [position, limit], store=store, unseal=unseal)


def log_state(*, using: str) -> LogState:
    """How the log stands."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_LOG, [MOST_LAG])
        return LogState(*cursor.fetchone())


def longest_wait_seconds(*, store: EventStore) -> float:
    """How long the event has waited that has waited longest, for its position or for a subscription of this program."""
    with connections[store.using].cursor() as cursor:
        cursor.execute(_LONGEST_WAIT, [[found.id for found in store.subscriptions.all()]])
        return float(cursor.fetchone()[0])


def undone(*, store: EventStore) -> list[Undone]:
    """What the reactors of this program have still to do, the longest waiting first: one of each stage for each."""
    ids = [found.id for found in store.subscriptions.all() if isinstance(found, Reactor)]
    with connections[store.using].cursor() as cursor:
        cursor.execute(_SELECT_UNDONE, [ids, ids])
        found = [Undone(*row) for row in cursor]
    return sorted(found, key=lambda one: -one.seconds)


def parts(*, using: str) -> list[Part]:
    """Every subscription's ranges, those of other programs included."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_CHECKPOINTS, [MOST_LAG])
        return [Part(*row) for row in cursor]


def count_parked(*, using: str) -> dict[str, Parked]:
    """How much is parked, by subscription; who has nothing parked is left out."""
    with connections[using].cursor() as cursor:
        cursor.execute(_COUNT_PARKED)
        return {row[0]: Parked(*row) for row in cursor}


def count_waiting(*, using: str) -> dict[str, int]:
    """How many keys wait for a locked stream, by subscription; who has none is left out."""
    with connections[using].cursor() as cursor:
        cursor.execute(_COUNT_WAITING)
        return dict(cursor.fetchall())


def parked_keys(
    *, using: str, subscription: str | None = None, key: UUID | None = None, waiting: bool = True, limit: int
) -> list[ParkedKey]:
    """What is parked, the oldest first; `waiting`: with what only waits for a stream that another has locked."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_PARKED, [subscription, key, waiting, limit])
        return [ParkedKey(*row) for row in cursor]


def last_seals(*, limit: int, using: str) -> list[SealRange]:
    """The last seals, the newest first."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_SEALS, [limit])
        return [SealRange(*row) for row in cursor]


def is_outdated(part: Part, *, store: EventStore) -> bool:
    """Whether the part's tables are of another version than this program's, and so wait for a replay."""
    subscription = store.subscriptions.get(part.subscription)
    return isinstance(subscription, Projection) and subscription.version != part.projection_version


def _events(statement: str, parameters: Sequence[Any], *, store: EventStore, unseal: bool) -> list[StoredEvent]:
    with connections[store.using].cursor() as cursor:
        cursor.execute(statement, list(parameters))
        found = [EventRow(*row) for row in cursor]
    types = [_type_of(row, store) for row in found]
    people = {row.stream_id for row, known in zip(found, types, strict=True) if known and known.sealed}
    keys = keys_of(people if unseal else (), using=store.using)
    return [
        _stored(row, known, keys.get(row.stream_id), unseal=unseal) for row, known in zip(found, types, strict=True)
    ]


def _type_of(row: EventRow, store: EventStore) -> EventType | None:
    """What is known about the event; None when no code knows it, and it is shown as it is."""
    try:
        return store.registry.named(row.event_type, row.schema_version)
    except UnknownEventType:
        return None


def _stored(row: EventRow, known: EventType | None, key: PersonKey | None, *, unseal: bool) -> StoredEvent:
    data: dict[str, Any] = msgspec.json.decode(row.data)
    if known is not None:
        fields = [field for field in known.cls.__struct_fields__ if field in data]
        data = {field: data[field] for field in fields} | data  # in the order in which the class names them
        for field in known.sealed:
            if data.get(field) is not None:
                data[field] = _shown(data[field], key, unseal=unseal)
    metadata: dict[str, Any] = msgspec.json.decode(row.metadata)
    return StoredEvent(
        position=row.position,
        stream_type=row.stream_type,
        stream_id=row.stream_id,
        version=row.version,
        name=row.event_type,
        schema_version=row.schema_version,
        data=data,
        actor=metadata.get("actor", ""),
        event_id=row.event_id,
        correlation_id=metadata.get("correlation_id", ""),
        causation_id=metadata.get("causation_id"),
        recorded_at=row.recorded_at,
    )


def _shown(sealed: str, key: PersonKey | None, *, unseal: bool) -> str:
    if not unseal:
        return SEALED
    return ERASED if key is None else key.unseal(sealed)
