"""Replays projections: builds their tables anew from the log beside the live ones, catches up, and swaps the two.

The live tables serve and advance all the while; readers wait for the swap alone, some milliseconds. Memory is
constant, transactions are short, and a replay that was interrupted goes on where it stood. Projections only: a saga or
a publisher acts on the world, and what it did must not be done again (docs/adr/0012-replay-into-a-shadow-schema.md).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from django.db import DatabaseError, OperationalError, connections, transaction
from psycopg import sql

from eventstore.exclusion import MigrationRunning
from eventstore.failures import is_lock_timeout, is_lost_race, is_passing, lacks_ground
from eventstore.registry import UnknownEventType
from eventstore.rows import decode_rows
from eventstore.shadow import Shadow, progress_of
from eventstore.store import EventStore
from eventstore.subscriptions import checkpoints, parking
from eventstore.subscriptions.handling import unwanted_names
from eventstore.subscriptions.reading import Range, Window, head_position, known_prefix, read_window
from eventstore.subscriptions.registry import Follows, Projection
from eventstore.tables import (
    Tables,
    create_tables,
    drop_tables,
    ensure_tables,
    made_from,
    old_schema,
    shadow_schema,
    tables_made,
)

_log = structlog.get_logger(__name__)

BATCH: Final = 4_000
"""Log entries a transaction, at most: more gains nothing, and less memory is held."""
BATCH_SECONDS: Final = 1.0
"""A transaction that takes longer halves the next one's size: long ones would hold up vacuum for everybody."""
LAST_BATCH: Final = 1_000
"""How many log entries the swap itself may still have to catch up with."""
PARKED_LIMIT: Final = 100
"""With more keys parked than this a replay stops before the swap: then it is the projection that is wrong."""
ADVANCE_WAIT_MS: Final = 2_000
"""How long the swap waits for the live projection to pause. No reader waits meanwhile."""
READERS_WAIT_MS: Final = 80
"""How long the swap waits for the readers of the live tables at a time: new readers queue behind it so long."""
SWAP_PATIENCE_SECONDS: Final = 300.0
"""How long the swap is tried, again and again: a vacuum of the live tables, say, may hold it up."""
SAMPLE: Final = 2_000
"""Log entries that an estimate tries out."""

_WHOLE_LOG: Final = Range(Follows.STREAM.value, 0, 255)

# What a crash of the database server may lose is built again: shadow and checkpoint go together.
_COMMIT_LAZILY = "SET LOCAL synchronous_commit = off"

_SET_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', %s, true)"

# Stops the live projection for the time of the swap. Sorted, as every lock.
_LOCK_LIVE = """
SELECT projection_version FROM eventstore_checkpoint WHERE subscription = %s ORDER BY bucket_low FOR UPDATE
"""
_LOCK_LIVE_PARKED = "SELECT 1 FROM eventstore_parked_key WHERE subscription = %s ORDER BY key FOR UPDATE"

_COUNT_PARKED = "SELECT count(*) FROM eventstore_parked_key WHERE subscription = %s"

# What the live projection could not handle is in the new tables, or parked anew.
_DELETE_PARKED_EVENTS = "DELETE FROM eventstore_parked_event WHERE subscription = %s"
_DELETE_PARKED_KEYS = "DELETE FROM eventstore_parked_key WHERE subscription = %s"
_TAKE_PARKED_KEYS = "UPDATE eventstore_parked_key SET subscription = %s WHERE subscription = %s"
_TAKE_PARKED_EVENTS = "UPDATE eventstore_parked_event SET subscription = %s WHERE subscription = %s"

# The live projection goes on from where its new tables stand.
_MOVE_LIVE = """
UPDATE eventstore_checkpoint
SET position = %s, projection_version = %s, attempts = 0, careful_until = NULL, held_until = NULL, held_reason = '',
    heartbeat_at = clock_timestamp()
WHERE subscription = %s
"""

# A table with its indexes and constraints, names and all.
_MOVE_TABLE = "ALTER TABLE {table} SET SCHEMA {schema}"

# A vacuum of the shadow, busy with all that was just written, would hold up the swap.
_VACUUM_AGAIN = "ALTER TABLE {table} RESET (autovacuum_enabled)"

_ANALYZE = "ANALYZE {table}"

# The versions that a projection's live tables are of.
_SELECT_VERSIONS = "SELECT DISTINCT projection_version FROM eventstore_checkpoint WHERE subscription = %s"


class TooManyFailures(Exception):
    """So much of the log cannot be handled that the projection itself must be wrong."""


class SwapHeldUp(Exception):
    """The live tables or their projection were in use for so long that the swap was given up for now."""


class LiveVersionChanged(Exception):
    """Another version's tables have become the live ones while this replay was building."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay has come."""

    projection: str
    position: int  # in the shadow
    head: int  # of the log, when this was told
    doing: str  # "building", "swapping" or, at the end, "live"


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay has done."""

    projection: str
    version: int
    resumed_from: int  # position; 0 when it began at the beginning
    position: int  # that the live tables stand at now
    parked_keys: int  # what could not be handled; it is retried like any other
    seconds: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay would do."""

    projection: str
    version: int
    live_version: int | None  # None: there is nothing live yet
    position: int  # that it would go on from
    head: int
    running: bool  # by another process, right now
    seconds: float | None  # estimated from a sample


Report = Callable[[Progress], None]


class _BatchFailed(Exception):
    """Handling failed for a reason that lies in the events or in the projection."""

    def __init__(self, entries: int, cause: Exception) -> None:
        self.entries = entries
        self.cause = cause


class _NotCaughtUp(Exception):
    """There is more to catch up with than a swap should do."""


def changed_projections(*, store: EventStore) -> list[Projection]:
    """The projections whose live tables are older than the program: of an earlier version, or of another DDL.

    Those of a later version are left out: beside a newer program, an older one must not take them back unasked.
    """
    return [found for found in store.subscriptions.projections() if _has_changed(found, using=store.using)]


def _has_changed(projection: Projection, *, using: str) -> bool:
    with connections[using].cursor() as cursor:
        made = tables_made(cursor, projection, schema=projection.schema)
    newest = max(_live_versions(projection, using=using), default=projection.version)
    other_ddl = bool(set(made.values()) - {made_from(projection)})
    return newest < projection.version or (newest == projection.version and other_ddl)


def plan(projection: Projection, *, store: EventStore) -> Plan:
    """What a replay of the projection would do; changes nothing."""
    position, running = progress_of(projection, using=store.using) or (0, False)
    with connections[store.using].cursor() as cursor:
        head = head_position(cursor)
    versions = _live_versions(projection, using=store.using)
    return Plan(
        projection=projection.id,
        version=projection.version,
        live_version=min(versions, default=None),
        position=position,
        head=head,
        running=running,
        seconds=None if running else _estimate(projection, store, position=position, head=head),
    )


def rebuild(
    projection: Projection,
    *,
    store: EventStore,
    restart: bool = False,
    report: Report = lambda _: None,
    batch: int = BATCH,
) -> Rebuilt:
    """Replays the projection from the beginning of the log, or from where an earlier replay was interrupted.

    Raises `ReplayInProgress`, `MigrationRunning`, `LiveVersionChanged`, `TooManyFailures`, `SwapHeldUp` and
    `UnknownEventType`, and whatever the database raises for want of itself. The live tables are then as they were, and
    the next call goes on where this one stood.
    """
    began = time.monotonic()
    ensure_tables(using=store.using, registry=store.subscriptions)
    checkpoints.ensure(store.subscriptions, using=store.using)
    shadow = Shadow(projection, using=store.using)
    position = shadow.claim(restart=restart)
    try:
        builder = _Builder(shadow, store=store, report=report, batch=batch)
        _drop_replaced(shadow)
        builder.build()
        builder.analyze()
        position_reached, parked_keys = _swap_when_possible(builder)
    finally:
        with suppress(DatabaseError):  # what went wrong before says more
            shadow.release()
    builder.tell("live")
    _drop_replaced(shadow)
    _log.info("eventstore.replayed", projection=projection.id, version=projection.version, position=position_reached)
    return Rebuilt(
        projection=projection.id,
        version=projection.version,
        resumed_from=position,
        position=position_reached,
        parked_keys=parked_keys,
        seconds=time.monotonic() - began,
    )


class _Builder:
    """Takes a shadow forward, batch by batch."""

    def __init__(self, shadow: Shadow, *, store: EventStore, report: Report, batch: int) -> None:
        self.shadow: Final = shadow
        self.store: Final = store
        self._report = report
        self._largest = batch
        self._size = batch
        self._unwanted = unwanted_names(shadow.projection, store)
        # An older program may take its version's tables back, but not from a newer one that was quicker.
        self.replaces: Final = _live_versions(shadow.projection, using=store.using) | {shadow.projection.version}
        self._progress = Progress(projection=shadow.projection.id, position=0, head=0, doing="building")

    def build(self) -> None:
        """Builds until the shadow has caught up with the log. Raises what `rebuild` says."""
        while self._advance():
            pass

    def analyze(self) -> None:
        """Has the planner know the new tables before anybody reads them."""
        with self.shadow.transaction() as cursor:
            self.shadow.move(cursor, self.shadow.lock(cursor))
            for table in self.shadow.projection.tables:
                name = sql.Identifier(shadow_schema(self.shadow.projection), table)
                cursor.execute(sql.SQL(_ANALYZE).format(table=name))

    def step(self, cursor: Any, *, limit: int) -> Window:
        """Takes the shadow forward by up to `limit` log entries, in the open transaction."""
        window = self._read(cursor, limit)
        try:
            events = decode_rows(window.rows, registry=self.store.registry, using=self.store.using)
            free = parking.set_aside(cursor, self.shadow.subscription, events) if events else []
            if free:
                self.shadow.projection.handler.project(free, Tables.shadow(cursor, self.shadow.projection))
        except Exception as error:
            if isinstance(error, UnknownEventType) or is_passing(error) or lacks_ground(error):
                raise
            raise _BatchFailed(window.entries, error) from error
        self.shadow.move(cursor, window.until)
        return window

    def tell(self, doing: str) -> None:
        """Reports what it is at now."""
        self._report(msgspec.structs.replace(self._progress, doing=doing))

    def _advance(self) -> bool:
        """One batch in one transaction; answers whether there is more."""
        began = time.monotonic()
        try:
            with self.shadow.transaction() as cursor:
                cursor.execute(_COMMIT_LAZILY)
                window = self.step(cursor, limit=self._size)
                head = head_position(cursor)
        except _BatchFailed as failed:
            self._shrink_or_park(failed)
            return True
        except OperationalError as error:
            if not is_lost_race(error):
                raise
            return True
        took = time.monotonic() - began
        self._size = min(self._size * 2, self._largest) if took < BATCH_SECONDS / 2 else self._size
        self._size = max(1, self._size // 2) if took > BATCH_SECONDS else self._size
        self._progress = msgspec.structs.replace(self._progress, position=window.until, head=head)
        self._report(self._progress)
        return window.until < head

    def _shrink_or_park(self, failed: _BatchFailed) -> None:
        """Tries a part of what failed; who fails alone is parked."""
        if failed.entries > 1:
            self._size = max(1, failed.entries // 4)
            return
        with self.shadow.transaction() as cursor:
            window = self._read(cursor, 1)
            for row in window.rows:
                error = parking.describe(failed.cause)
                parking.park(cursor, self.shadow.subscription, row, error=error, store=self.store)
            self.shadow.move(cursor, window.until)
            parked = _count_parked(cursor, self.shadow)
        if parked > PARKED_LIMIT:
            raise TooManyFailures(
                f"more than {PARKED_LIMIT} streams cannot be handled, the last for {parking.describe(failed.cause)}"
            )

    def _read(self, cursor: Any, limit: int) -> Window:
        after = self.shadow.lock(cursor)
        window = read_window(cursor, _WHOLE_LOG, after=after, limit=limit, unwanted=self._unwanted)
        return known_prefix(window, self.store.registry)


def _swap_when_possible(builder: _Builder) -> tuple[int, int]:
    """Swaps, in as many attempts as it takes; answers with the position and the number of parked keys."""
    deadline = time.monotonic() + SWAP_PATIENCE_SECONDS
    while True:
        builder.tell("swapping")
        try:
            return _swap(builder)
        except (_NotCaughtUp, _BatchFailed):
            pass  # the rest is done outside, where it holds up nobody
        except OperationalError as error:
            if not (is_lock_timeout(error) or is_lost_race(error)):
                raise
            if time.monotonic() > deadline:
                raise SwapHeldUp(
                    "the live tables are in use without a pause; the new ones are ready: run this again to swap"
                ) from error
            time.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - so that it does not beat in time with readers
        builder.build()


def _swap(builder: _Builder) -> tuple[int, int]:
    """Makes the shadow the live tables, in one transaction."""
    shadow = builder.shadow
    projection = shadow.projection
    with shadow.transaction() as cursor:
        cursor.execute(_SET_LOCK_TIMEOUT, [f"{ADVANCE_WAIT_MS}ms"])
        cursor.execute(_LOCK_LIVE, [projection.id])
        versions = {version or 0 for (version,) in cursor.fetchall()}
        if versions - builder.replaces:
            raise LiveVersionChanged(f"the live tables have become those of version {max(versions)} meanwhile")
        window = builder.step(cursor, limit=LAST_BATCH)
        if window.entries == LAST_BATCH:
            raise _NotCaughtUp
        cursor.execute(_LOCK_LIVE_PARKED, [projection.id])
        parked_keys = _count_parked(cursor, shadow)
        cursor.execute(_SET_LOCK_TIMEOUT, [f"{READERS_WAIT_MS}ms"])
        drop_tables(cursor, projection, schema=old_schema(projection))
        _replace_parked(cursor, shadow)
        _move_tables(cursor, projection)
        cursor.execute(_MOVE_LIVE, [window.until, projection.version, projection.id])
        shadow.forget(cursor)
    return window.until, parked_keys


def _replace_parked(cursor: Any, shadow: Shadow) -> None:
    live, built = shadow.projection.id, shadow.subscription.id
    cursor.execute(_DELETE_PARKED_EVENTS, [live])
    cursor.execute(_DELETE_PARKED_KEYS, [live])
    cursor.execute(_TAKE_PARKED_KEYS, [live, built])
    cursor.execute(_TAKE_PARKED_EVENTS, [live, built])


def _move_tables(cursor: Any, projection: Projection) -> None:
    """The live tables out of the way, the shadow in their place."""
    for name in tables_made(cursor, projection, schema=projection.schema):
        _move_table(cursor, name, source=projection.schema, target=old_schema(projection))
    for name in sorted(projection.tables):
        _move_table(cursor, name, source=shadow_schema(projection), target=projection.schema)
        cursor.execute(sql.SQL(_VACUUM_AGAIN).format(table=sql.Identifier(projection.schema, name)))


def _move_table(cursor: Any, name: str, *, source: str, target: str) -> None:
    names = {"table": sql.Identifier(source, name), "schema": sql.Identifier(target)}
    cursor.execute(sql.SQL(_MOVE_TABLE).format(**names))


def _drop_replaced(shadow: Shadow) -> None:
    """Drops what earlier swaps have replaced. What cannot be dropped now, the next replay drops."""
    try:
        with shadow.transaction() as cursor:
            cursor.execute(_SET_LOCK_TIMEOUT, [f"{ADVANCE_WAIT_MS}ms"])
            drop_tables(cursor, shadow.projection, schema=old_schema(shadow.projection))
    except (DatabaseError, MigrationRunning) as error:
        reason = parking.describe(error)
        _log.warning("eventstore.replaced_tables_kept", projection=shadow.projection.id, reason=reason)


def _count_parked(cursor: Any, shadow: Shadow) -> int:
    cursor.execute(_COUNT_PARKED, [shadow.subscription.id])
    return int(cursor.fetchone()[0])


def _live_versions(projection: Projection, *, using: str) -> set[int]:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_VERSIONS, [projection.id])
        return {version or 0 for (version,) in cursor.fetchall()}


def _estimate(projection: Projection, store: EventStore, *, position: int, head: int) -> float:
    """The seconds that a replay would take, by building a part of it in a transaction that is rolled back."""
    sampled = min(SAMPLE, head - position)
    if sampled <= 0:
        return 0.0
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        if position == 0:
            drop_tables(cursor, projection, schema=shadow_schema(projection))
            create_tables(cursor, projection, schema=shadow_schema(projection))
        began = time.perf_counter()
        window = read_window(
            cursor, _WHOLE_LOG, after=position, limit=sampled, unwanted=unwanted_names(projection, store)
        )
        events = decode_rows(window.rows, registry=store.registry, using=store.using)
        if events:
            projection.handler.project(events, Tables.shadow(cursor, projection))
        took = time.perf_counter() - began
        transaction.set_rollback(True, using=store.using)
    return took / sampled * (head - position)


def find_projections(names: Sequence[str], *, store: EventStore) -> list[Projection]:
    """The projections of these names, all of them without a name. Raises LookupError for what is none."""
    known = {projection.id: projection for projection in store.subscriptions.projections()}
    for name in names:
        if name not in known:
            what = "is not a projection, and only those are replayed" if store.subscriptions.get(name) else "is unknown"
            raise LookupError(f"{name} {what}; the projections are {', '.join(known) or 'none'}")
    return [known[name] for name in names] or list(known.values())
