"""Appends events and their outbox rows with one statement, within the caller's transaction.

Invariants: versions of a stream have no gap and no duplicate, times within a stream never run backwards, and every row
asked for was written, or nothing is. Only `store` calls this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import IntegrityError, OperationalError, connections, transaction

from eventstore.buckets import bucket_of
from eventstore.conf import store_settings
from eventstore.events import Event, RecordedEvent
from eventstore.failures import is_lock_timeout, violated_constraint
from eventstore.metadata import Metadata
from eventstore.registry import EventRegistry
from eventstore.sealing import ensure_keys
from eventstore.subscriptions.registry import SubscriptionRegistry

# Locks streams until the end of the transaction, in the array's order; the wait is bounded.
_LOCK_STREAMS = """
WITH bound AS MATERIALIZED (SELECT set_config('lock_timeout', %s, true))
SELECT pg_advisory_xact_lock(wanted.key) FROM bound, unnest(%s::bigint[]) AS wanted (key)
"""

# Locks the streams that can be had at once; answers with the others.
_TRY_LOCK_STREAMS = """
SELECT wanted.key FROM unnest(%s::bigint[]) AS wanted (key) WHERE NOT pg_try_advisory_xact_lock(wanted.key)
"""

# Writes events and outbox rows. A stream's run is written only where it begins at version 1 or its predecessor is
# there; the clock is read once, and never set back within a stream.
_APPEND = """
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
new AS (
    SELECT * FROM ROWS FROM (
        unnest(%s::uuid[]), unnest(%s::text[]), unnest(%s::uuid[]), unnest(%s::integer[]), unnest(%s::integer[]),
        unnest(%s::text[]), unnest(%s::smallint[]), jsonb_array_elements(%s::jsonb), jsonb_array_elements(%s::jsonb),
        unnest(%s::smallint[]), unnest(%s::smallint[])
    ) WITH ORDINALITY AS row (
        event_id, stream_type, stream_id, version, base_version, event_type, schema_version, data,
        metadata, stream_bucket, route_bucket, ordinal
    )
),
written AS (
    INSERT INTO eventstore_event (
        event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
    )
    SELECT new.event_id, new.stream_type, new.stream_id, new.version, new.event_type, new.schema_version,
        new.data, new.metadata, GREATEST(clock.now, previous.recorded_at)
    FROM new CROSS JOIN clock
    LEFT JOIN LATERAL (
        SELECT e.recorded_at FROM eventstore_event e
        WHERE e.stream_id = new.stream_id AND e.version = new.base_version AND e.stream_type = new.stream_type
        OFFSET 0
    ) AS previous ON new.base_version > 0
    WHERE new.base_version = 0 OR previous.recorded_at IS NOT NULL
    ORDER BY new.ordinal
    RETURNING id, event_id, recorded_at
),
published AS (
    INSERT INTO eventstore_outbox (event_id, stream_bucket, route_bucket)
    SELECT written.id, new.stream_bucket, new.route_bucket
    FROM written JOIN new ON new.event_id = written.event_id
    RETURNING event_id
)
SELECT written.event_id, written.recorded_at FROM written JOIN published ON published.event_id = written.id
"""


class StreamConflict(Exception):
    """Somebody else has changed this in the meantime."""

    code = "conflict"


class EventAlreadyRecorded(Exception):
    """This has been done already."""

    code = "conflict"


class StreamBusy(Exception):
    """Others are writing to this right now; it was not had in time."""

    code = "busy"


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event to append."""

    event_id: UUID
    stream_type: str
    stream_id: UUID
    version: int
    data: Event
    metadata: Metadata


def lock_key(stream_id: UUID) -> int:
    """The stream's advisory lock: both halves of its id, as a signed 64-bit integer."""
    folded = (stream_id.int >> 64) ^ (stream_id.int & 0xFFFF_FFFF_FFFF_FFFF)
    return folded - (1 << 64) if folded >= 1 << 63 else folded


def lock_streams(stream_ids: Collection[UUID], *, using: str, timeout_ms: int | None = None) -> None:
    """Makes this transaction the only one that appends to these streams. Raises `StreamBusy` after `LOCK_TIMEOUT_MS`.

    A statement of its own, before loading, so that the loading one sees what the lock waited for.
    """
    require_transaction(using)
    # Sorted: two transactions that lock the same streams in different orders would wait for each other for ever.
    keys = sorted({lock_key(stream_id) for stream_id in stream_ids})
    try:
        with connections[using].cursor() as cursor:
            cursor.execute(_LOCK_STREAMS, [f"{timeout_ms or store_settings().LOCK_TIMEOUT_MS}ms", keys])
    except OperationalError as error:
        if is_lock_timeout(error):
            raise StreamBusy("the streams are locked by another transaction") from error
        raise


def try_lock_streams(stream_ids: Collection[UUID], *, using: str) -> set[UUID]:
    """The same without any waiting; answers with the streams that others have locked."""
    require_transaction(using)
    by_key = {lock_key(stream_id): stream_id for stream_id in stream_ids}
    with connections[using].cursor() as cursor:
        cursor.execute(_TRY_LOCK_STREAMS, [sorted(by_key)])
        return {by_key[key] for (key,) in cursor}


def append(
    new: Sequence[NewEvent],
    *,
    registry: EventRegistry,
    subscriptions: SubscriptionRegistry,
    using: str,
) -> list[RecordedEvent[Any]]:
    """Writes the events in this order. Raises `StreamConflict` or `EventAlreadyRecorded`; then nothing is written."""
    require_transaction(using)
    if not new:
        return []
    bases: dict[UUID, int] = {}  # what each stream's run follows
    for event in new:
        bases.setdefault(event.stream_id, event.version - 1)
    written = _execute(_columns(new, bases, registry, subscriptions, using), using=using)
    if len(written) != len(new):
        raise StreamConflict(f"{len(new) - len(written)} of {len(new)} events do not follow their stream's last")
    return [_recorded(event, written[event.event_id], registry) for event in new]


def require_transaction(using: str) -> None:
    """Raises TransactionManagementError outside a transaction: a helper never opens one of its own."""
    if not connections[using].in_atomic_block:
        raise transaction.TransactionManagementError("the event store writes only inside a transaction")


def _columns(
    new: Sequence[NewEvent],
    bases: Mapping[UUID, int],
    registry: EventRegistry,
    subscriptions: SubscriptionRegistry,
    using: str,
) -> list[Any]:
    """The events as arrays, one a column."""
    types = [registry.type_of(type(event.data)) for event in new]
    subjects = {event.stream_id for event, known in zip(new, types, strict=True) if known.sealed}
    keys = ensure_keys(subjects, using=using)
    routes = [subscriptions.route_of(event.data) for event in new]
    return [
        [event.event_id for event in new],
        [event.stream_type for event in new],
        [event.stream_id for event in new],
        [event.version for event in new],
        [bases[event.stream_id] for event in new],
        [known.name for known in types],
        [known.schema_version for known in types],
        _json_array(
            registry.encode(event.data, keys[event.stream_id].seal if known.sealed else None)
            for event, known in zip(new, types, strict=True)
        ),
        _json_array(msgspec.json.encode(event.metadata).decode() for event in new),
        [bucket_of(event.stream_id) for event in new],
        [None if route is None else bucket_of(route) for route in routes],
    ]


def _json_array(documents: Iterable[str]) -> str:
    """One JSON array of them. As an array of texts, quoting the quotes in them cost a third of a saga batch's time."""
    return f"[{','.join(documents)}]"


def _execute(columns: list[Any], *, using: str) -> dict[UUID, datetime]:
    """Runs the statement; answers with the time of each event that was written."""
    try:
        with connections[using].cursor() as cursor:
            cursor.execute(_APPEND, columns)
            return dict(cursor.fetchall())
    except IntegrityError as error:
        match violated_constraint(error):
            case "eventstore_event_stream_version_unique":
                raise StreamConflict("another writer has appended this version") from error
            case "eventstore_event_event_id_unique":
                raise EventAlreadyRecorded("an event of this id is in the store") from error
        raise


def _recorded(event: NewEvent, recorded_at: datetime, registry: EventRegistry) -> RecordedEvent[Any]:
    return RecordedEvent(
        event_id=event.event_id,
        stream_type=event.stream_type,
        stream_id=event.stream_id,
        version=event.version,
        name=registry.type_of(type(event.data)).name,
        data=event.data,
        metadata=event.metadata,
        recorded_at=recorded_at,
    )
