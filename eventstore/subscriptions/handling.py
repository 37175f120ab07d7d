"""Handles events for a subscription, within the caller's transaction: a reactor's commands, a projection's rows."""

from __future__ import annotations

from collections.abc import Sequence
from random import choice
from typing import Any, Final
from uuid import UUID

from django.db import connections, transaction

from eventstore.appending import StreamBusy, lock_streams, try_lock_streams
from eventstore.events import RecordedEvent
from eventstore.store import Cause, EventStore, Execution, Unit
from eventstore.subscriptions.deadline import within
from eventstore.subscriptions.registry import Answer, Execute, Projection, Reactor, Subscription
from eventstore.tables import Tables

PATIENCE_MS: Final = 250
"""How long a batch waits for a stream; a writer has it for some milliseconds."""
QUEUE_MS: Final = 100
"""How long what waits for a busy stream queues for it, each time."""
BATCH_SECONDS: Final = 5.0
"""How long the handlers of a batch may go on; they take some milliseconds, and no transaction may last for longer."""
ALONE_SECONDS: Final = 2.0
"""How long the handlers of a few events may go on, or of one."""
FEW_EVENTS: Final = 32
"""How many are a few: no more are in a part of a batch that is gone through in parts."""

# Which of these ids are in the store.
_SELECT_KNOWN = "SELECT event_id FROM eventstore_event WHERE event_id = ANY(%s)"


def handled_types(subscription: Subscription) -> frozenset[type]:
    """The classes of events that the subscription handles."""
    if isinstance(subscription, Projection):
        return subscription.handles
    return frozenset(subscription.handlers)


def unwanted_names(subscription: Subscription, store: EventStore) -> list[str]:
    """Stored names that are known and that the subscription does not handle."""
    wanted = {store.registry.type_of(cls).name for cls in handled_types(subscription)}
    return sorted(set(store.registry.names()) - wanted)


def key_of(subscription: Subscription, recorded: RecordedEvent[Any]) -> UUID:
    """What the event belongs to: events with one key are handled in order, or parked behind each other."""
    return recorded.stream_id if isinstance(subscription, Projection) else subscription.key(recorded)


def handle(
    subscription: Subscription,
    events: Sequence[RecordedEvent[Any]],
    *,
    store: EventStore,
    cursor: Any,
    skip_known: bool = False,
) -> None:
    """Handles the events in order. `skip_known` leaves out what an earlier handling has recorded already.

    Raises `StreamBusy` when another transaction has one of the streams for longer than a writer does, and
    `HandlerTooSlow`.
    """
    if not events:
        return
    if isinstance(subscription, Projection):
        with within(_seconds_for(events), using=store.using):
            subscription.handler.project(events, Tables.live(cursor, subscription))
        return
    executions = [one for answers in _all_answers(subscription, events, store=store) for one in answers]
    _execute(executions, store=store, skip_known=skip_known)


def handle_free(
    subscription: Subscription, events: Sequence[RecordedEvent[Any]], *, store: EventStore, cursor: Any
) -> list[RecordedEvent[Any]]:
    """Handles those of the events whose streams nobody has locked; answers with the others, which it left alone.

    "Alone" means without a trace in the store: their handlers have answered, and will be asked again. What comes after
    one of those under the same key is left alone too. Waits for one of the busy streams, for a
    moment: where writers queue for a stream it is never free, and has to be queued for.
    """
    if isinstance(subscription, Projection):
        handle(subscription, events, store=store, cursor=cursor)
        return []
    answers = _all_answers(subscription, events, store=store)
    streams = {execution.stream_id for executions in answers for execution in executions}
    busy = try_lock_streams(streams, using=store.using)
    if busy:
        busy -= _queue_for_one(busy, using=store.using)
    left: list[RecordedEvent[Any]] = []
    free: list[Execution] = []
    waiting: set[UUID] = set()
    for recorded, executions in zip(events, answers, strict=True):
        key = key_of(subscription, recorded)
        if key in waiting or any(execution.stream_id in busy for execution in executions):
            waiting.add(key)
            left.append(recorded)
        else:
            free += executions
    _execute(free, store=store, skip_known=True)
    return left


def _execute(executions: list[Execution], *, store: EventStore, skip_known: bool) -> None:
    wanted = _without_known(executions, using=store.using) if skip_known else executions
    Unit(store).execute_many(wanted, lock_timeout_ms=PATIENCE_MS)


def _queue_for_one(busy: set[UUID], *, using: str) -> set[UUID]:
    """Queues for one of the streams; answers with it if it was had in time."""
    chosen = choice(sorted(busy))  # noqa: S311 - each has its turn sooner or later
    try:
        with transaction.atomic(using=using):
            lock_streams([chosen], using=using, timeout_ms=QUEUE_MS)
    except StreamBusy:
        return set()
    return {chosen}


def _all_answers(reactor: Reactor, events: Sequence[RecordedEvent[Any]], *, store: EventStore) -> list[list[Execution]]:
    """What the reactor answers to each event. Raises `HandlerTooSlow`."""
    with within(_seconds_for(events), using=store.using):
        return [
            executions_of(reactor, recorded, reactor.handlers[type(recorded.data)](recorded)) for recorded in events
        ]


def _seconds_for(events: Sequence[RecordedEvent[Any]]) -> float:
    return ALONE_SECONDS if len(events) <= FEW_EVENTS else BATCH_SECONDS


def executions_of(
    reactor: Reactor, recorded: RecordedEvent[Any], answer: Answer, *, actor: str | None = None
) -> list[Execution]:
    """A reactor's answer as commands with their cause, from which the ids of their events derive.

    `actor` is who answers in the reactor's place.
    """
    answers = [answer] if isinstance(answer, Execute) else list(answer or ())
    metadata = recorded.metadata.caused_by(event_id=recorded.event_id, actor=actor or f"system:{reactor.id}")
    return [
        Execution(
            aggregate=wanted.aggregate,
            stream_id=wanted.stream_id,
            command=wanted.command,
            creates=wanted.creates,
            metadata=metadata,
            cause=Cause(cause_id=recorded.event_id, handler=f"{reactor.id}/{ordinal}"),
        )
        for ordinal, wanted in enumerate(answers)
    ]


def _without_known(executions: Sequence[Execution], *, using: str) -> list[Execution]:
    first_ids = {execution.cause.event_id(0): execution for execution in executions if execution.cause}
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_KNOWN, [list(first_ids)])
        known = {event_id for (event_id,) in cursor}
    return [execution for event_id, execution in first_ids.items() if event_id not in known]
