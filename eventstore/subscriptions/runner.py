"""Advances one checkpoint by one batch: lock, read, handle, move, commit, all in one transaction.

So an event's effects in this database happen exactly once. A failure splits the batch until the culprit stands alone,
and parks it. What is not the event's fault (a lost connection, a deadlock, a full disk, a server that takes no changes,
a right, a table or a setting that is missing, a type of event that this version does not know) holds the checkpoint
instead. What needs a stream that another transaction has locked waits behind its key, as what is parked does, and the
rest goes on. A batch that has killed its process twice, or whose handlers came to no end in time, is gone through in
small parts, and the part that does so too one event at a time; what comes to no end alone, twice, is parked, and what
has died alone three times.
"""

from __future__ import annotations

import time
from enum import Enum
from typing import Final

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from eventstore import metrics
from eventstore.appending import StreamBusy, StreamConflict
from eventstore.failures import is_lost_race, is_passing, lacks_ground, took_too_long
from eventstore.loading import cache
from eventstore.registry import UnknownEventType
from eventstore.rows import decode_rows
from eventstore.store import EventStore, LostRace
from eventstore.subscriptions import checkpoints, parking
from eventstore.subscriptions.deadline import HandlerTooSlow
from eventstore.subscriptions.handling import handle, handle_free, unwanted_names
from eventstore.subscriptions.reading import Window, head_position, known_prefix, read_window
from eventstore.subscriptions.registry import Projection, Subscription

_log = structlog.get_logger(__name__)

BATCH_ATTEMPTS: Final = 2
"""How often a batch may end without a result before it is gone through in parts."""
PARTS: Final = 16
"""How many: on a busy machine each is a turn to wait for, and one that ends its process costs seconds."""
PART_ATTEMPTS: Final = 1
"""How often a part may end without a result before its events are gone through one at a time."""
ALONE_ATTEMPTS: Final = 3
"""How often an event may end without a result, alone, before it is parked."""
RACES: Final = 5
"""How often a batch that lost a race is begun anew at once; one that loses each time has failed like any other."""
HOLD_SECONDS: Final = 1.0
HOLD_PROGRAM_SECONDS: Final = 5.0
"""How long a checkpoint is held for what only another program, other settings or other rights can mend."""
IMPATIENT_SECONDS: Final = 1.0
"""After a batch has met a stream that others did not give free: how long the next ones do not wait for any."""
CAREFUL_SECONDS: Final = 0.5
"""How long events are gone through one at a time before others have their turn."""
_impatient_until: Final[dict[int, float]] = {}  # by checkpoint; in monotonic seconds
_NOT_ITS_FAULT: Final = UnknownEventType | ImproperlyConfigured


class Progress(Enum):
    """What came of an attempt to advance."""

    MOVED = "moved"
    FULL = "moved by a full batch: there is more"
    BUSY = "another process is at it"
    HELD = "held for a while"


class _BatchFailed(Exception):
    """Handling failed for a reason that lies in the events or in the handler."""

    def __init__(self, *, after: int, entries: int, cause: Exception) -> None:
        self.after = after  # the position behind which the batch begins
        self.entries = entries  # that the batch read
        self.cause = cause


def advance(
    checkpoint_id: int, subscription: Subscription, *, store: EventStore, batch_size: int | None = None
) -> Progress:
    """Advances by one batch. Never raises for what an event or the database does; it parks or holds."""
    try:
        return _advance_for_a_while(checkpoint_id, subscription, store, batch_size or subscription.batch_size)
    except Exception as error:  # a handler or the database may raise anything; the checkpoint tells why it stands
        if not _is_passing(error):
            raise
        _hold(checkpoint_id, subscription, error, using=store.using)
        return Progress.HELD


def _advance_for_a_while(checkpoint_id: int, subscription: Subscription, store: EventStore, limit: int) -> Progress:
    """By one batch; or, where it goes in small parts, by as many as there is time for."""
    until = time.monotonic() + CAREFUL_SECONDS
    progress, careful = _advance(checkpoint_id, subscription, store, limit)
    while careful and progress is Progress.FULL and time.monotonic() < until:
        progress, careful = _advance(checkpoint_id, subscription, store, limit)
    return progress


def _advance(checkpoint_id: int, subscription: Subscription, store: EventStore, limit: int) -> tuple[Progress, bool]:
    """One attempt, with its stamp; answers with what came of it, and whether it was a small part."""
    stamp = checkpoints.stamp(checkpoint_id, using=store.using)
    if stamp is None:
        return Progress.BUSY, False
    if stamp.entries == 1:
        if stamp.attempts > ALONE_ATTEMPTS:
            error = f"ended without a result {ALONE_ATTEMPTS} times: the process died or was stopped while handling it"
            return _park_next(
                checkpoint_id, subscription, store, after=stamp.position, error=error, is_found=True
            ), True
        return _split(checkpoint_id, subscription, store, 1), True
    size, attempts = (stamp.entries, PART_ATTEMPTS) if stamp.entries else (limit, BATCH_ATTEMPTS)
    if stamp.attempts > attempts:
        return _become_careful(checkpoint_id, subscription, store, size), False
    return _split(checkpoint_id, subscription, store, size), bool(stamp.entries)


def _split(
    checkpoint_id: int,
    subscription: Subscription,
    store: EventStore,
    limit: int,
    *,
    skip_known: bool = False,
    is_second: bool = False,
) -> Progress:
    """Advances by up to `limit` log entries, in halves when they fail together, and parks who fails alone."""
    try:
        return _transact(checkpoint_id, subscription, store, limit, skip_known=skip_known)
    except _BatchFailed as failed:
        is_slow = isinstance(failed.cause, HandlerTooSlow)
        if is_slow and failed.entries > 1:  # each half would have to be waited for as well
            return _become_careful(checkpoint_id, subscription, store, failed.entries)
        # An event may have been handled already, under a checkpoint that was lost; and what was slow may have been the
        # process, for it was suspended.
        if not skip_known or (is_slow and not is_second):
            return _split(checkpoint_id, subscription, store, failed.entries, skip_known=True, is_second=True)
        if failed.entries <= 1:
            error = parking.describe(failed.cause)
            return _park_next(checkpoint_id, subscription, store, after=failed.after, error=error, is_found=is_slow)
        entries = failed.entries
    half = entries // 2
    progress = _split(checkpoint_id, subscription, store, half, skip_known=True)
    if progress is Progress.BUSY:
        return progress
    return _split(checkpoint_id, subscription, store, entries - half, skip_known=True)


def _transact(
    checkpoint_id: int, subscription: Subscription, store: EventStore, limit: int, *, skip_known: bool
) -> Progress:
    """One transaction, begun anew when it lost a race."""
    waits = time.monotonic() > _impatient_until.get(checkpoint_id, 0.0)
    for race in range(1, RACES + 1):
        try:
            return _handle_next(checkpoint_id, subscription, store, limit, skip_known=skip_known, waits=waits)
        except StreamBusy:
            if race == RACES or not waits:
                raise
            waits = False
            _impatient_until[checkpoint_id] = time.monotonic() + IMPATIENT_SECONDS
        except _BatchFailed as failed:
            if isinstance(failed.cause, LostRace):
                cache.evict(failed.cause.keys)
            if isinstance(failed.cause, HandlerTooSlow):  # who knows in the middle of what it was
                connections[store.using].close()
            if race == RACES or not isinstance(failed.cause, StreamConflict):
                raise
        except Exception as error:
            if race == RACES or not is_lost_race(error):
                raise
    raise AssertionError("unreachable")


def _handle_next(
    checkpoint_id: int, subscription: Subscription, store: EventStore, limit: int, *, skip_known: bool, waits: bool
) -> Progress:
    began = time.perf_counter()
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        checkpoint = _lock(cursor, checkpoint_id, subscription)
        if checkpoint is None:
            return Progress.BUSY
        window = _read(cursor, checkpoint, subscription, store, limit)
        try:
            events = decode_rows(window.rows, registry=store.registry, using=store.using)
            free = parking.set_aside(cursor, subscription, events) if events else []
            if waits:
                handle(subscription, free, store=store, cursor=cursor, skip_known=skip_known)
            elif free:
                busy = handle_free(subscription, free, store=store, cursor=cursor)
                parking.let_wait(cursor, subscription, busy)
        except Exception as error:
            if _is_passing(error):
                raise
            raise _BatchFailed(after=checkpoint.position, entries=window.entries, cause=error) from error
        checkpoints.move(cursor, checkpoint, window.until)
    metrics.HANDLED.labels(subscription.id).inc(len(window.rows))
    metrics.HANDLING_SECONDS.labels(subscription.id).observe(time.perf_counter() - began)
    return Progress.FULL if window.entries >= limit else Progress.MOVED


def _lock(cursor: CursorWrapper, checkpoint_id: int, subscription: Subscription) -> checkpoints.Checkpoint | None:
    """Takes the right to advance, unless a replay has just put another version's tables in the place of ours."""
    checkpoint = checkpoints.lock(cursor, checkpoint_id)
    if checkpoint and isinstance(subscription, Projection) and checkpoint.projection_version != subscription.version:
        return None
    return checkpoint


def _read(
    cursor: object, checkpoint: checkpoints.Checkpoint, subscription: Subscription, store: EventStore, limit: int
) -> Window:
    window = read_window(
        cursor,
        checkpoint.range,
        after=checkpoint.position,
        limit=limit,
        unwanted=unwanted_names(subscription, store),
        until=head_position(cursor),
    )
    return known_prefix(window, store.registry)


def _become_careful(checkpoint_id: int, subscription: Subscription, store: EventStore, limit: int) -> Progress:
    """Has the batch that ended without a result gone through in parts: a small one, such as a part, event by event."""
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        checkpoint = _lock(cursor, checkpoint_id, subscription)
        if checkpoint is None:
            return Progress.BUSY
        window = _read(cursor, checkpoint, subscription, store, limit)
        entries = max(1, window.entries // PARTS)
        checkpoints.be_careful(cursor, checkpoint, window.until, entries=entries)
        _log.warning("eventstore.careful", subscription=subscription.id, until=window.until, entries=entries)
        return Progress.FULL


def _park_next(
    checkpoint_id: int, subscription: Subscription, store: EventStore, *, after: int, error: str, is_found: bool = False
) -> Progress:
    """Parks the event after a position and moves past it, unless another process has gone past it meanwhile.

    `is_found`: it is what the others were gone through one by one for, so that they need not be any longer.
    """
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        checkpoint = _lock(cursor, checkpoint_id, subscription)
        if checkpoint is None:
            return Progress.BUSY
        if checkpoint.position != after:
            return Progress.MOVED
        window = _read(cursor, checkpoint, subscription, store, 1)
        for row in window.rows:
            parking.park(cursor, subscription, row, error=error, store=store)
        checkpoints.move(cursor, checkpoint, window.until)
        if is_found:
            checkpoints.be_careful(cursor, checkpoint, None)
        return Progress.FULL


def _is_passing(error: Exception) -> bool:
    return isinstance(error, StreamBusy) or is_passing(error) or _must_be_mended(error)


def _must_be_mended(error: Exception) -> bool:
    """Whether it is not the event's fault, and will not pass by itself either."""
    return isinstance(error, _NOT_ITS_FAULT) or lacks_ground(error)


def _hold(checkpoint_id: int, subscription: Subscription, error: Exception, *, using: str) -> None:
    reason = parking.describe(error)
    _log.warning("eventstore.held", subscription=subscription.id, reason=reason)
    metrics.HELD.labels(subscription.id).inc()
    seconds = HOLD_PROGRAM_SECONDS if _must_be_mended(error) else HOLD_SECONDS
    try:
        # What took too long was this very batch: that counts as an attempt without a result.
        forget = not took_too_long(error)
        checkpoints.hold(checkpoint_id, seconds=seconds, reason=reason, forget_attempts=forget, using=using)
    except Exception as unheld:
        if not (is_passing(unheld) or lacks_ground(unheld)):
            raise
        connections[using].close()  # the next attempt begins with a new connection
