"""The event store's door: save, update, find, execute. Start reading here.

    STORE = EventStore()
    STORE.execute(CART, cart_id, AddItem(sku="tea"), metadata=metadata)   # load, decide, append
    STORE.find(CART, cart_id).state                                       # fold

A **unit** is the work of one transaction. `run` opens it, hands a `Unit` to the caller, and runs it again from the
start when another writer was faster. Events and outbox rows commit together, or nothing does. The order of locks is:
idempotency key, checkpoint, parked key, streams (sorted), read-model rows (sorted).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec
from django.db import OperationalError, transaction

from eventstore import metrics, snapshots
from eventstore.aggregates import Aggregate
from eventstore.appending import NewEvent, StreamConflict, append, lock_streams
from eventstore.conf import store_settings
from eventstore.events import Event, RecordedEvent, StreamVersion
from eventstore.failures import is_lost_race
from eventstore.idempotency import Claim, record_answer, recorded_answer
from eventstore.ids import derive_id, new_id
from eventstore.loading import cache, load, load_at, version_as_of
from eventstore.metadata import Metadata
from eventstore.registry import EventRegistry
from eventstore.registry import events as default_events
from eventstore.snapshots import Loaded
from eventstore.subscriptions.registry import SubscriptionRegistry
from eventstore.subscriptions.registry import subscriptions as default_subscriptions
from eventstore.wakeup import wake_on_commit

T = TypeVar("T")


class StreamNotFound(Exception):
    """There is no such thing."""

    code = "not_found"


class VersionMismatch(Exception):
    """It has changed since you last looked."""

    code = "version_mismatch"

    def __init__(self, *, expected: int, actual: int) -> None:
        super().__init__(f"expected version {expected}, it is at {actual}")
        self.expected = expected
        self.actual = actual


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What the ids of new events derive from, so that the same cause cannot record them twice."""

    cause_id: UUID
    handler: str

    def event_id(self, ordinal: int) -> UUID:
        """The id of the `ordinal`-th event."""
        return derive_id(self.cause_id, self.handler, ordinal)


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """A command on its way to its aggregate."""

    aggregate: Aggregate[Any]
    stream_id: UUID
    command: Any
    metadata: Metadata
    creates: bool = False  # the command begins the stream; otherwise the stream must exist
    expected_version: int | None = None
    cause: Cause | None = None  # None: the events get new ids


class Executed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command."""

    stream_id: UUID
    version: int
    state: Any
    events: tuple[RecordedEvent[Any], ...]


class LostRace(StreamConflict):
    """Another writer appended to a stream between loading and appending; a restart decides anew."""

    def __init__(self, keys: Sequence[tuple[str, str, UUID]]) -> None:
        super().__init__("another writer was faster")
        self.keys = keys  # of the cached states that this makes doubtful


class Answered(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The answer to a request, and whether an earlier one has earned it."""

    value: T
    replayed: bool


class Unit:
    """The work of one transaction. Made by `EventStore.run`, gone with it."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def load(self, aggregate: Aggregate[Any], stream_id: UUID) -> Loaded:
        """The stream as it is now, for reading; a decision goes through `execute`. Raises `StreamNotFound`."""
        return self._store.find(aggregate, stream_id)

    def save(
        self,
        aggregate: Aggregate[Any],
        events: Sequence[Event],
        *,
        stream_id: UUID | None = None,
        metadata: Metadata,
    ) -> StreamVersion:
        """Begins a stream. Raises `StreamConflict` when it has begun already."""
        chosen = stream_id or new_id()
        state = aggregate.fold(events)
        absent = Loaded(stream_id=chosen, state=aggregate.initial, version=0)
        recorded = self._append(_number(aggregate, absent, events, metadata))
        self._settle([(aggregate, 0, _forwarded(absent, state, recorded))])
        return StreamVersion(stream_id=chosen, version=len(events))

    def update(
        self,
        aggregate: Aggregate[Any],
        stream_version: StreamVersion,
        events: Sequence[Event],
        *,
        metadata: Metadata,
    ) -> StreamVersion:
        """Goes on with a stream from the version that the caller has seen. Raises `StreamConflict`."""
        stream_id, base = stream_version.stream_id, stream_version.version
        lock_streams([stream_id], using=self._store.using)
        before = self._store.load_many({stream_id: aggregate})[stream_id]
        if before.version != base:
            raise StreamConflict(f"expected version {base}, it is at {before.version}")
        if not events:
            return stream_version
        state = aggregate.fold(events, before.state)
        recorded = self._append(_number(aggregate, before, events, metadata))
        self._settle([(aggregate, base, _forwarded(before, state, recorded))])
        return StreamVersion(stream_id=stream_id, version=base + len(events))

    def execute(
        self,
        aggregate: Aggregate[Any],
        stream_id: UUID,
        command: Any,
        *,
        metadata: Metadata,
        creates: bool = False,
        expected_version: int | None = None,
        cause: Cause | None = None,
    ) -> Executed:
        """Loads, decides, appends. Raises what the aggregate refuses with, `StreamNotFound`, `VersionMismatch`."""
        execution = Execution(
            aggregate=aggregate,
            stream_id=stream_id,
            command=command,
            metadata=metadata,
            creates=creates,
            expected_version=expected_version,
            cause=cause,
        )
        return self.execute_many([execution])[0]

    def execute_many(self, executions: Sequence[Execution], *, lock_timeout_ms: int | None = None) -> list[Executed]:
        """A batch of commands, decided one after the other, appended with one statement.

        Batching, not a boundary: one by one they would lead to the same events. The first refusal refuses them all.
        Raises `StreamBusy` when another has one of the streams for longer than the time given, or `LOCK_TIMEOUT_MS`.
        """
        if not executions:
            return []
        wanted = {execution.stream_id: execution.aggregate for execution in executions}
        lock_streams(wanted, using=self._store.using, timeout_ms=lock_timeout_ms)
        before = self._store.load_many(wanted)
        decided = _decide_all(executions, before)
        try:
            recorded = self._append([event for decision in decided for event in decision.new])
        except StreamConflict as error:
            raise LostRace(self._store.cache_keys(wanted)) from error
        executed = _executed(decided, recorded)
        self._settle(_last_states(wanted, before, executed))
        return executed

    def _append(self, new: Sequence[NewEvent]) -> list[RecordedEvent[Any]]:
        began = time.perf_counter()
        using = self._store.using
        recorded = append(new, registry=self._store.registry, subscriptions=self._store.subscriptions, using=using)
        if recorded:
            metrics.appended(recorded, seconds=time.perf_counter() - began, using=using)
        return recorded

    def _settle(self, states: Sequence[tuple[Aggregate[Any], int, Loaded]]) -> None:
        """Takes the snapshots that are due; once committed, keeps the states and wakes the dispatchers."""
        using = self._store.using
        changed = [(aggregate, base, after) for aggregate, base, after in states if after.version > base]
        if not changed:
            return
        snapshots.take(
            [
                (aggregate, after)
                for aggregate, base, after in changed
                if snapshots.is_due(aggregate, before=base, after=after.version)
            ],
            using=using,
        )
        fed = [((using, aggregate.stream_type, after.stream_id), after) for aggregate, _, after in changed]
        transaction.on_commit(partial(cache.feed, fed), using=using, robust=True)
        wake_on_commit(using)


class EventStore:
    """Events in one database, read and written."""

    def __init__(
        self,
        *,
        using: str = "default",
        registry: EventRegistry = default_events,
        subscriptions: SubscriptionRegistry = default_subscriptions,
    ) -> None:
        self.using: Final = using
        self.registry: Final = registry
        self.subscriptions: Final = subscriptions

    def run(self, work: Callable[[Unit], T]) -> T:
        """Runs the work in one transaction, again from the start when another writer was faster.

        `work` may therefore run several times: it must have no effect outside this database. A `StreamConflict` ends
        it at once when the caller itself has named the version (`save`, `update`); nothing would change that.
        """
        attempts = store_settings().CONFLICT_ATTEMPTS
        for attempt in range(1, attempts + 1):
            try:
                with transaction.atomic(using=self.using, durable=True):
                    return work(Unit(self))
            except OperationalError as error:
                if attempt == attempts or not is_lost_race(error):
                    raise
            except LostRace as error:
                cache.evict(error.keys)
                if attempt == attempts:
                    raise StreamConflict("another writer was faster each time") from error
        raise AssertionError("unreachable")

    def run_once(self, claim: Claim | None, work: Callable[[Unit], T], *, answer_type: type[T]) -> Answered[T]:
        """Like `run`, for a request that may be repeated: the first answer commits with its effect.

        Without a claim the work is simply done. Raises `IdempotencyKeyReused` and `IdempotencyInProgress` besides.
        """
        if claim is None:
            return Answered(value=self.run(work), replayed=False)

        def once(unit: Unit) -> Answered[T]:
            answer = recorded_answer(claim, using=self.using)
            if answer is not None:
                return Answered(value=msgspec.json.decode(answer, type=answer_type), replayed=True)
            value = work(unit)
            record_answer(claim, msgspec.json.encode(value).decode(), using=self.using)
            return Answered(value=value, replayed=False)

        return self.run(once)

    def save(
        self,
        aggregate: Aggregate[Any],
        events: Sequence[Event],
        *,
        stream_id: UUID | None = None,
        metadata: Metadata,
    ) -> StreamVersion:
        """Begins a stream, in a transaction of its own. Raises `StreamConflict`."""
        return self.run(lambda unit: unit.save(aggregate, events, stream_id=stream_id, metadata=metadata))

    def update(
        self,
        aggregate: Aggregate[Any],
        stream_version: StreamVersion,
        events: Sequence[Event],
        *,
        metadata: Metadata,
    ) -> StreamVersion:
        """Goes on with a stream, in a transaction of its own. Raises `StreamConflict`."""
        return self.run(lambda unit: unit.update(aggregate, stream_version, events, metadata=metadata))

    def execute(
        self,
        aggregate: Aggregate[Any],
        stream_id: UUID,
        command: Any,
        *,
        metadata: Metadata,
        creates: bool = False,
        expected_version: int | None = None,
    ) -> Executed:
        """Loads, decides, appends, in a transaction of its own. See `Unit.execute`."""
        return self.run(
            lambda unit: unit.execute(
                aggregate,
                stream_id,
                command,
                metadata=metadata,
                creates=creates,
                expected_version=expected_version,
            )
        )

    def find(self, aggregate: Aggregate[Any], stream_id: UUID) -> Loaded:
        """The stream as it is now. Raises `StreamNotFound`."""
        found = self.find_optional(aggregate, stream_id)
        if found is None:
            raise StreamNotFound(f"{aggregate.stream_type} {stream_id}")
        return found

    def find_optional(self, aggregate: Aggregate[Any], stream_id: UUID) -> Loaded | None:
        """The stream as it is now, or None."""
        found = self.load_many({stream_id: aggregate})[stream_id]
        return found if found.version else None

    def find_at(
        self,
        aggregate: Aggregate[Any],
        stream_id: UUID,
        *,
        version: int | None = None,
        as_of: datetime | None = None,
    ) -> Loaded:
        """The stream as it was: at a version, or at a moment. Raises `StreamNotFound` when it was not there yet."""
        if (version is None) == (as_of is None):
            raise ValueError("give either a version or a moment")
        if as_of is not None:
            version = version_as_of(aggregate, stream_id, as_of, using=self.using)
        found = load_at(aggregate, stream_id, version=version or 0, registry=self.registry, using=self.using)
        if found.version == 0 or (as_of is None and found.version != version):
            raise StreamNotFound(f"{aggregate.stream_type} {stream_id} at version {version}")
        return found

    def cache_keys(self, wanted: Mapping[UUID, Aggregate[Any]]) -> list[tuple[str, str, UUID]]:
        """Under which keys this process caches the states of these streams."""
        return [(self.using, aggregate.stream_type, stream_id) for stream_id, aggregate in wanted.items()]

    def load_many(self, wanted: Mapping[UUID, Aggregate[Any]]) -> dict[UUID, Loaded]:
        """Each stream as it is now, version 0 where there is none."""
        return load(wanted, registry=self.registry, using=self.using)


class _Decision(msgspec.Struct, frozen=True):
    """What one execution of a batch has come to, before it is written."""

    new: Sequence[NewEvent]
    after: Loaded  # its times are those of before


def _number(
    aggregate: Aggregate[Any],
    before: Loaded,
    events: Sequence[Event],
    metadata: Metadata,
    cause: Cause | None = None,
) -> list[NewEvent]:
    """The events with their ids and versions, following `before`."""
    return [
        NewEvent(
            event_id=new_id() if cause is None else cause.event_id(ordinal),
            stream_type=aggregate.stream_type,
            stream_id=before.stream_id,
            version=before.version + ordinal + 1,
            data=event,
            metadata=metadata,
        )
        for ordinal, event in enumerate(events)
    ]


def _decide_all(executions: Sequence[Execution], before: Mapping[UUID, Loaded]) -> list[_Decision]:
    """Decides each command on the state that the ones ahead of it have left."""
    states = dict(before)
    decided = []
    for execution in executions:
        decision = _decide(execution, states[execution.stream_id])
        states[execution.stream_id] = decision.after
        decided.append(decision)
    return decided


def _decide(execution: Execution, loaded: Loaded) -> _Decision:
    aggregate = execution.aggregate
    if loaded.version == 0 and not execution.creates:
        raise StreamNotFound(f"{aggregate.stream_type} {execution.stream_id}")
    expected = execution.expected_version
    if expected is not None and expected != loaded.version:
        raise VersionMismatch(expected=expected, actual=loaded.version)
    events = aggregate.decide(loaded.state, execution.command)
    return _Decision(
        new=_number(aggregate, loaded, events, execution.metadata, execution.cause),
        after=Loaded(
            stream_id=loaded.stream_id,
            state=aggregate.fold(events, loaded.state),
            version=loaded.version + len(events),
            created_at=loaded.created_at,
            updated_at=loaded.updated_at,
        ),
    )


def _executed(decided: Sequence[_Decision], recorded: Sequence[RecordedEvent[Any]]) -> list[Executed]:
    """Each decision with its events as they were recorded, which are in the same order."""
    remaining = iter(recorded)
    return [
        Executed(
            stream_id=decision.after.stream_id,
            version=decision.after.version,
            state=decision.after.state,
            events=tuple(islice(remaining, len(decision.new))),
        )
        for decision in decided
    ]


def _last_states(
    wanted: Mapping[UUID, Aggregate[Any]], before: Mapping[UUID, Loaded], executed: Sequence[Executed]
) -> list[tuple[Aggregate[Any], int, Loaded]]:
    """For each stream: its aggregate, the version before the batch, and where the batch has left it."""
    after = dict(before)
    for done in executed:
        after[done.stream_id] = _forwarded(after[done.stream_id], done.state, done.events)
    return [(wanted[id], before[id].version, loaded) for id, loaded in after.items()]


def _forwarded(before: Loaded, state: Any, recorded: Sequence[RecordedEvent[Any]]) -> Loaded:
    """`before`, brought forward to `state` by these recorded events."""
    if not recorded:
        return before
    return Loaded(
        stream_id=before.stream_id,
        state=state,
        version=recorded[-1].version,
        created_at=before.created_at or recorded[0].recorded_at,
        updated_at=recorded[-1].recorded_at,
    )
