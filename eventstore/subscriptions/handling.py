"""Handles events for a subscription, within the caller's transaction: a reactor's commands, a projection's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connections

from eventstore.events import RecordedEvent
from eventstore.store import Cause, EventStore, Execution, Unit
from eventstore.subscriptions.registry import Answer, Execute, Projection, Reactor, Subscription
from eventstore.tables import Tables

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
    """Handles the events in order. `skip_known` leaves out what an earlier handling has recorded already."""
    if not events:
        return
    if isinstance(subscription, Projection):
        subscription.handler.project(events, Tables.live(cursor, subscription))
        return
    executions = [
        execution
        for recorded in events
        for execution in executions_of(subscription, recorded, subscription.handlers[type(recorded.data)](recorded))
    ]
    if skip_known:
        executions = _without_known(executions, using=store.using)
    Unit(store).execute_many(executions)


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
