"""Parking: what a subscription could not handle waits by key, its followers behind it, and everybody else goes on.

The key is a transfer for a saga and a stream for a projection, never the route, so one poisoned transfer does not stop
a busy account. Retries come by themselves, with growing delays; nothing is ever dropped without an operator's word,
and that word is recorded (docs/adr/0011-parking-by-key.md).

A key with no attempt waits: nothing has failed, but another transaction has a stream that it needs. It is tried again
twice a second and is nobody's business (docs/adr/0017-a-locked-stream-delays-its-own.md).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple
from uuid import UUID

import structlog
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from eventstore import metrics
from eventstore.appending import StreamBusy
from eventstore.events import RecordedEvent
from eventstore.failures import is_passing, lacks_ground, took_too_long
from eventstore.loading import cache
from eventstore.rows import EventRow, decode_rows
from eventstore.store import EventStore, LostRace, Unit
from eventstore.subscriptions.deadline import HandlerTooSlow
from eventstore.subscriptions.handling import executions_of, handle, handle_free, key_of
from eventstore.subscriptions.reading import read_at, read_one
from eventstore.subscriptions.registry import Projection, Reactor, Subscription

_log = structlog.get_logger(__name__)

LONGEST_DELAY_SECONDS: Final = 3_600
WAIT_SECONDS: Final = 0.5
"""When something that waits for a stream, or for the database to be well, is tried again."""
WAITING: Final = "waits for a stream that another transaction has locked"
RETRIED_AT_ONCE: Final = 100
"""How many events behind one key are handled in one transaction, at most, once the first of them could be."""
WAITING_AT_ONCE: Final = 200
"""How many waiting keys are tried in one transaction, at most."""
RETRY_SECONDS: Final = 2.0
"""How long a dispatcher retries before it looks again at what else there is to do."""
HEED_SECONDS: Final = 5.0
"""How often a process looks at all keys for those whose time was named before the clock was set back."""
_heeded_at: Final[dict[str, float]] = {}  # by database; in monotonic seconds
_ERROR_LENGTH = 2_000

# Locks the parked ones among these keys. Sorted, as every lock.
_LOCK_KEYS = """
SELECT id, key FROM eventstore_parked_key WHERE subscription = %s AND key = ANY(%s) ORDER BY key FOR UPDATE
"""

# Parks a key, or adds to the reason why it is parked.
_PARK_KEY = """
INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
VALUES (%s, %s, clock_timestamp() + make_interval(secs => %s), clock_timestamp(), %s)
ON CONFLICT (subscription, key) DO UPDATE
SET error = excluded.error, attempts = GREATEST(eventstore_parked_key.attempts, 1)
RETURNING id
"""

# Has keys wait that nothing has failed for; one that is parked already stays as it is. Sorted, as every lock.
_LET_WAIT = """
INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
SELECT %s, wanted.key, 0, clock_timestamp() + make_interval(secs => %s), clock_timestamp(), %s
FROM unnest(%s::uuid[]) AS wanted (key)
ON CONFLICT (subscription, key) DO UPDATE SET error = eventstore_parked_key.error
RETURNING key, id
"""

# Parks events behind their keys; once is enough.
_PARK_EVENTS = """
INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
SELECT row.parked_key_id, %s, row.position, clock_timestamp()
FROM unnest(%s::bigint[], %s::bigint[]) AS row (parked_key_id, position)
ON CONFLICT (subscription, position) DO NOTHING
"""

# Keys whose time has come, of subscriptions that no operator has paused, and whose tables are of this version. The
# statement's own time: an index cannot be searched by a clock that runs on.
_SELECT_DUE = """
SELECT k.id, k.subscription, k.attempts = 0
FROM eventstore_parked_key k
JOIN unnest(%s::text[], %s::integer[]) AS wanted (subscription, projection_version) USING (subscription)
WHERE k.next_attempt_at <= statement_timestamp()
    AND NOT EXISTS (
        SELECT FROM eventstore_checkpoint c
        WHERE c.subscription = k.subscription
            AND (c.status = 'paused' OR c.projection_version <> wanted.projection_version)
    )
ORDER BY k.next_attempt_at LIMIT %s
"""

# Counts an attempt before it is made: it may kill the process. The delay doubles, up to an hour.
_STAMP = """
UPDATE eventstore_parked_key
SET attempts = attempts + 1,
    next_attempt_at = clock_timestamp() + make_interval(secs => LEAST(power(2, LEAST(attempts + 1, 20)), %s))
WHERE id = (SELECT id FROM eventstore_parked_key WHERE id = %s FOR UPDATE SKIP LOCKED)
RETURNING attempts
"""

# Has those keys tried now whose time is further away than any delay of theirs: it was named before the clock was set
# back. Every key is looked at; unless that is asked for, only when the log says that the clock has been further.
_HEED_CLOCK = """
UPDATE eventstore_parked_key SET next_attempt_at = clock_timestamp()
WHERE (%s OR (SELECT sequenced_at > clock_timestamp() FROM eventstore_sequencer WHERE id = 1))
    AND id = ANY(ARRAY(
        SELECT k.id FROM eventstore_parked_key k
        WHERE k.next_attempt_at > clock_timestamp()
            + make_interval(secs => LEAST(power(2, LEAST(GREATEST(k.attempts, 1), 20)), %s))
        FOR UPDATE SKIP LOCKED
    ))
"""

# Takes waiting keys whose time has come, of subscriptions that no operator has paused, and counts the attempt: should
# it kill the process, each is tried alone from then on.
_STAMP_WAITING = """
UPDATE eventstore_parked_key SET attempts = 1, next_attempt_at = clock_timestamp() + make_interval(secs => 2)
WHERE id = ANY(ARRAY(
    SELECT k.id FROM eventstore_parked_key k
    WHERE k.subscription = %s AND k.attempts = 0 AND k.next_attempt_at <= statement_timestamp()
        AND NOT EXISTS (
            SELECT FROM eventstore_checkpoint c WHERE c.subscription = k.subscription AND c.status = 'paused'
        )
    ORDER BY k.next_attempt_at LIMIT %s FOR UPDATE SKIP LOCKED
))
RETURNING id
"""

# The right to handle what is behind keys, those that nobody else is at. Sorted, as every lock.
_LOCK_WAITING = """
SELECT id FROM eventstore_parked_key WHERE id = ANY(%s) ORDER BY key FOR UPDATE SKIP LOCKED
"""

# What comes next behind each of some keys, in the log's order.
_SELECT_FIRSTS = """
SELECT min(position) AS first, parked_key_id FROM eventstore_parked_event
WHERE parked_key_id = ANY(%s) GROUP BY parked_key_id ORDER BY first
"""

_DELETE_EVENTS = "DELETE FROM eventstore_parked_event WHERE subscription = %s AND position = ANY(%s)"

# Those of some keys that nothing is behind any more.
_DELETE_FREE_KEYS = """
DELETE FROM eventstore_parked_key k
WHERE k.id = ANY(%s) AND NOT EXISTS (SELECT FROM eventstore_parked_event e WHERE e.parked_key_id = k.id)
"""

# Nothing came of the attempt, and it was not the event's fault: it does not count.
_PUT_OFF = """
UPDATE eventstore_parked_key
SET attempts = GREATEST(attempts - 1, 0), next_attempt_at = clock_timestamp() + make_interval(secs => %s)
WHERE id = ANY(%s)
"""

# The right to handle what is behind the key.
_LOCK_KEY = "SELECT key FROM eventstore_parked_key WHERE id = %s FOR UPDATE SKIP LOCKED"

# What comes next behind the key.
_SELECT_NEXT = "SELECT position FROM eventstore_parked_event WHERE parked_key_id = %s ORDER BY position LIMIT %s"

# A key with nothing behind it is free again.
_DELETE_KEY_IF_FREE = """
DELETE FROM eventstore_parked_key k
WHERE k.id = %s AND NOT EXISTS (SELECT FROM eventstore_parked_event e WHERE e.parked_key_id = k.id)
"""

# Some of what is behind the key is handled; the rest is tried at once.
_GO_ON = "UPDATE eventstore_parked_key SET attempts = 1, next_attempt_at = clock_timestamp() WHERE id = %s"

_SET_ERROR = "UPDATE eventstore_parked_key SET error = %s WHERE id = %s"

# Whether nothing has failed for the key: it waits, or is being tried for the first time since.
_WAITS = "SELECT attempts = 0 OR (attempts = 1 AND error = %s) FROM eventstore_parked_key WHERE id = %s"

# What an operator did.
_RECORD_OPERATION = """
INSERT INTO eventstore_operation (actor, action, subscription, detail)
VALUES (
    %s, %s, %s,
    jsonb_build_object('key', %s::text, 'position', %s::bigint, 'reason', %s::text)
        || jsonb_strip_nulls(jsonb_build_object('os_user', NULLIF(%s::text, '')))
)
"""


class NotParked(LookupError):
    """This is not parked any more, or is being retried right now."""

    code = "not_found"


class NotDiscardable(Exception):
    """This event can only be retried: leaving it out would leave its story without an end, or nothing has failed."""

    code = "invalid_state"


class Retry(Enum):
    """What came of retrying a key."""

    FREED = "freed"
    GOES_ON = "goes on"  # some of it was handled; there was no time for the rest, which follows by itself
    STILL_PARKED = "still parked"
    BUSY = "busy"


class DueKey(NamedTuple):
    """A parked key whose time has come."""

    id: int
    subscription: str
    waits: bool  # nothing has failed: see `retry_waiting`


def describe(error: BaseException) -> str:
    """An error in a line, for an operator. Its first line has nothing of what the database quotes of rows."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:_ERROR_LENGTH]


def set_aside(
    cursor: Any, subscription: Subscription, events: Sequence[RecordedEvent[Any]]
) -> list[RecordedEvent[Any]]:
    """Parks the events whose key is parked behind it; answers with the others."""
    keys = [key_of(subscription, recorded) for recorded in events]
    cursor.execute(_LOCK_KEYS, [subscription.id, sorted(set(keys))])
    parked = {key: id for id, key in cursor.fetchall()}
    if not parked:
        return list(events)
    behind = [(parked[key], recorded.position) for key, recorded in zip(keys, events, strict=True) if key in parked]
    cursor.execute(_PARK_EVENTS, [subscription.id, [id for id, _ in behind], [position for _, position in behind]])
    return [recorded for key, recorded in zip(keys, events, strict=True) if key not in parked]


def park(cursor: Any, subscription: Subscription, row: EventRow, *, error: str, store: EventStore) -> None:
    """Parks one event, in the transaction that moves the checkpoint past it."""
    key = _key_of_row(subscription, row, store)
    cursor.execute(_PARK_KEY, [subscription.id, key, 2, error])
    (parked_key_id,) = cursor.fetchone()
    cursor.execute(_PARK_EVENTS, [subscription.id, [parked_key_id], [row.position]])
    metrics.PARKED.labels(subscription.id).inc()
    _log.error(
        "eventstore.parked",
        subscription=subscription.id,
        key=str(key),
        position=row.position,
        event_type=row.event_type,
        error=error,
    )


def let_wait(cursor: Any, subscription: Subscription, events: Sequence[RecordedEvent[Any]]) -> None:
    """Has events wait behind their keys, in the transaction that moves the checkpoint past them; nothing has failed."""
    if not events:
        return
    keys = [key_of(subscription, recorded) for recorded in events]
    cursor.execute(_LET_WAIT, [subscription.id, WAIT_SECONDS, WAITING, sorted(set(keys))])
    ids = dict(cursor.fetchall())
    cursor.execute(_PARK_EVENTS, [subscription.id, [ids[key] for key in keys], [one.position for one in events]])
    metrics.WAITED.labels(subscription.id).inc(len(events))
    _log.info("eventstore.waiting", subscription=subscription.id, events=len(events))


def retry_waiting(subscription: Subscription, *, store: EventStore) -> bool:
    """Handles the first event behind each key that waits and whose time has come; answers whether any was handled.

    All in one transaction; when that fails, each alone.
    """
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        cursor.execute(_STAMP_WAITING, [subscription.id, WAITING_AT_ONCE])
        taken = [id for (id,) in cursor]
    if not taken:
        return False
    try:
        return _handle_waiting(taken, subscription, store)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises: whose it is shows when each is tried alone
        _clean_up(error, store)
        if _is_passing(error):
            _put_off(taken, using=store.using)
            return False
    until = time.monotonic() + RETRY_SECONDS
    outcomes: list[Retry] = []
    for tried, id in enumerate(taken):
        if tried and time.monotonic() > until:
            _put_off(taken[tried:], using=store.using)
            break
        outcomes.append(_retry(id, subscription, store, attempts=1, until=until))
    return not {Retry.FREED, Retry.GOES_ON}.isdisjoint(outcomes)


def due_keys(subscriptions: Collection[Subscription], *, limit: int, using: str) -> list[DueKey]:
    """Parked keys whose time has come, the longest overdue first."""
    versions = [found.version if isinstance(found, Projection) else None for found in subscriptions]
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_DUE, [[found.id for found in subscriptions], versions, limit])
        return [DueKey(*row) for row in cursor]


def heed_clock(*, using: str) -> None:
    """Has nothing wait longer for its next attempt because the database's clock was set back.

    The log need not say so: it may be that nothing but a retry came while the clock was ahead.
    """
    began = time.monotonic()
    looks_at_all = began - _heeded_at.get(using, -HEED_SECONDS) >= HEED_SECONDS
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_HEED_CLOCK, [looks_at_all, LONGEST_DELAY_SECONDS])
    if looks_at_all:
        _heeded_at[using] = began


def retry(
    parked_key_id: int, subscription: Subscription, *, store: EventStore, budget_seconds: float | None = None
) -> Retry:
    """Handles what is behind the key, in the log's order, until something fails or the time is up.

    The first event alone; then, for it was the culprit, the others together, as many as go into one transaction.
    """
    attempts = _stamp(parked_key_id, using=store.using)
    if attempts is None:
        return Retry.BUSY
    until = None if budget_seconds is None else time.monotonic() + budget_seconds
    outcome = _retry(parked_key_id, subscription, store, attempts=attempts, until=until)
    metrics.RETRIES.labels(subscription.id, outcome.value).inc()
    return outcome


def _retry(
    parked_key_id: int, subscription: Subscription, store: EventStore, *, attempts: int, until: float | None = None
) -> Retry:
    limit = 1
    while True:
        try:
            state = _retry_next(parked_key_id, subscription, store, limit)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is what keeps the key parked
            _clean_up(error, store)
            if _is_passing(error):
                if lacks_ground(error):  # what to mend; what was there before comes again, if it is still so
                    _note_failure(parked_key_id, error, using=store.using)
                _put_off([parked_key_id], using=store.using)
                return Retry.STILL_PARKED
            if limit > 1:
                limit = 1  # one of them is a culprit, too
                continue
            log = _log.error if attempts == 1 else _log.warning  # until now it only waited
            log("eventstore.retry_failed", subscription=subscription.id, attempts=attempts, error=describe(error))
            _note_failure(parked_key_id, error, using=store.using)
            return Retry.STILL_PARKED
        if state is not None:
            return state
        limit = RETRIED_AT_ONCE
        if until is not None and time.monotonic() > until:
            _go_on(parked_key_id, using=store.using)
            return Retry.GOES_ON


def discard(
    parked_key_id: int, subscription: Subscription, *, actor: str, reason: str, os_user: str = "", store: EventStore
) -> int:
    """Gives up the first event behind the key and ends its story; answers with its position. Recorded for audit.

    Raises `NotDiscardable` when the subscription names no way to end the story soundly, or nothing has failed and the
    key only waits; `NotParked` when it is not parked any more or is being retried right now.
    """
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        found = _lock_next(cursor, parked_key_id, 1)
        if found is None:
            raise NotParked("the key is not parked, or is being retried right now")
        cursor.execute(_WAITS, [WAITING, parked_key_id])
        if cursor.fetchone()[0]:
            raise NotDiscardable(f"nothing has failed: it {WAITING}, and goes on by itself")
        key, (position,) = found
        (recorded,) = decode_rows([read_one(cursor, position)], registry=store.registry, using=store.using)
        ending = subscription.discards.get(type(recorded.data)) if isinstance(subscription, Reactor) else None
        if ending is None or not isinstance(subscription, Reactor):
            raise NotDiscardable(f"no sound end is known for {recorded.name} in {subscription.id}")
        Unit(store).execute_many(executions_of(subscription, recorded, ending(recorded), actor=actor))
        _remove(cursor, subscription, parked_key_id, [position])
        cursor.execute(_RECORD_OPERATION, [actor, "discard", subscription.id, str(key), position, reason, os_user])
        return position


def _is_passing(error: Exception) -> bool:
    """Whether it says nothing about the event, so that the attempt does not count."""
    return isinstance(error, StreamBusy) or lacks_ground(error) or (is_passing(error) and not took_too_long(error))


def _stamp(parked_key_id: int, *, using: str) -> int | None:
    """Counts an attempt and answers with the number, None when somebody is at it."""
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_STAMP, [LONGEST_DELAY_SECONDS, parked_key_id])
        found = cursor.fetchone()
        return None if found is None else int(found[0])


def _handle_waiting(key_ids: list[int], subscription: Subscription, store: EventStore) -> bool:
    """Handles those of the first events whose streams are free, and lets the others wait on."""
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        cursor.execute(_LOCK_WAITING, [key_ids])
        cursor.execute(_SELECT_FIRSTS, [[id for (id,) in cursor.fetchall()]])
        key_at = dict(cursor.fetchall())  # by position
        events = decode_rows(read_at(cursor, list(key_at)), registry=store.registry, using=store.using)
        left = {recorded.position for recorded in handle_free(subscription, events, store=store, cursor=cursor)}
        done = key_at.keys() - left
        cursor.execute(_DELETE_EVENTS, [subscription.id, sorted(done)])
        cursor.execute(_DELETE_FREE_KEYS, [list(key_at.values())])
        cursor.execute(_PUT_OFF, [WAIT_SECONDS, [key_at[position] for position in left]])
        cursor.execute(_PUT_OFF, [0, [key_at[position] for position in done]])  # the next behind them may be free
        return bool(done)


def _put_off(key_ids: list[int], *, using: str) -> None:
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_PUT_OFF, [WAIT_SECONDS, key_ids])


def _retry_next(parked_key_id: int, subscription: Subscription, store: EventStore, limit: int) -> Retry | None:
    """Handles the first events behind the key; None when there may be more."""
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        found = _lock_next(cursor, parked_key_id, limit)
        if found is None:
            return Retry.BUSY
        _, positions = found
        events = decode_rows(read_at(cursor, positions), registry=store.registry, using=store.using)
        handle(subscription, events, store=store, cursor=cursor, skip_known=True)
        return Retry.FREED if _remove(cursor, subscription, parked_key_id, positions) else None


def _lock_next(cursor: CursorWrapper, parked_key_id: int, limit: int) -> tuple[UUID, list[int]] | None:
    """The key and the positions of the first events behind it, locked; None when it is gone or another's."""
    cursor.execute(_LOCK_KEY, [parked_key_id])
    found = cursor.fetchone()
    if found is None:
        return None
    cursor.execute(_SELECT_NEXT, [parked_key_id, limit])
    return found[0], [position for (position,) in cursor.fetchall()]


def _remove(cursor: CursorWrapper, subscription: Subscription, parked_key_id: int, positions: Sequence[int]) -> bool:
    """Takes events from behind the key; answers whether the key is free now."""
    cursor.execute(_DELETE_EVENTS, [subscription.id, list(positions)])
    cursor.execute(_DELETE_KEY_IF_FREE, [parked_key_id])
    return bool(cursor.rowcount)


def _clean_up(error: Exception, store: EventStore) -> None:
    """Forgets what the failure has made doubtful."""
    if isinstance(error, LostRace):
        cache.evict(error.keys)
    if isinstance(error, HandlerTooSlow):  # who knows in the middle of what it was
        connections[store.using].close()


def _go_on(parked_key_id: int, *, using: str) -> None:
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_GO_ON, [parked_key_id])


def _note_failure(parked_key_id: int, error: BaseException, *, using: str) -> None:
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_SET_ERROR, [describe(error), parked_key_id])


def _key_of_row(subscription: Subscription, row: EventRow, store: EventStore) -> UUID:
    """The event's key; its stream when the event itself is what cannot be read."""
    try:
        (recorded,) = decode_rows([row], registry=store.registry, using=store.using)
        return key_of(subscription, recorded)
    except Exception:  # noqa: BLE001 - the event is the culprit, and it must be parked somewhere
        return row.stream_id
