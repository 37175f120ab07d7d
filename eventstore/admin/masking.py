"""Events for people to read: as they are stored, personal fields shown as sealed even where the key is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from eventstore import snapshots
from eventstore.aggregates import Aggregate, AggregateRegistry
from eventstore.aggregates import aggregates as default_aggregates
from eventstore.events import Event as DecodedEvent
from eventstore.inspection import SEALED
from eventstore.models import Event
from eventstore.registry import EventRegistry, UnknownEventType
from eventstore.registry import events as default_events

MAX_FOLDED = 5_000
"""How many events one page folds at most; more are only there where an aggregate has no snapshots."""


class NoState(Exception):
    """The state cannot be shown."""


class Change(NamedTuple):
    """One field of a state, and what it was one version earlier."""

    name: str
    value: Any
    before: Any
    changed: bool


def masked_data(event: Event, *, registry: EventRegistry = default_events) -> dict[str, Any]:
    """The event's data as stored, with what is sealed shown as such."""
    try:
        sealed = registry.named(event.event_type, event.schema_version).sealed
    except UnknownEventType:  # then it stays the ciphertext that it is
        sealed = ()
    return {name: SEALED if name in sealed and value is not None else value for name, value in event.data.items()}


def changes_at(
    stream_type: str,
    stream_id: UUID,
    version: int,
    *,
    registry: EventRegistry = default_events,
    aggregates: AggregateRegistry = default_aggregates,
    using: str = "default",
) -> list[Change]:
    """The state after a version, field by field, beside that before it. Raises `NoState` with the reason."""
    aggregate = aggregates.get(stream_type)
    if aggregate is None:
        raise NoState(f"This program has no aggregate for streams of type {stream_type}.")
    try:
        before, after = _states(aggregate, stream_id, version, registry=registry, using=using)
    except NoState:
        raise
    except Exception as error:
        # Whatever the history or the code has wrong is for the page to tell. An error's text may hold data.
        raise NoState(f"The events do not lead to a state: {type(error).__name__}.") from error
    old, new = _plain(before), _plain(after)
    return [
        Change(name=name, value=value, before=old.get(name), changed=version > 1 and old.get(name) != value)
        for name, value in new.items()
    ]


def _states(
    aggregate: Aggregate[Any], stream_id: UUID, version: int, *, registry: EventRegistry, using: str
) -> tuple[Any, Any]:
    """The states before and after a version."""
    known = snapshots.newest({stream_id: aggregate}, at_most=version - 1, using=using).get(stream_id)
    state, start = (aggregate.initial, 0) if known is None else (known.state, known.version)
    if version - start > MAX_FOLDED:
        raise NoState(f"More than {MAX_FOLDED:,} events would have to be folded.")
    rows = list(
        Event.objects.using(using)
        .filter(stream_id=stream_id, stream_type=aggregate.stream_type, version__gt=start, version__lte=version)
        .order_by("version")
    )
    *earlier, last = _decoded(rows, registry)
    before = aggregate.fold(earlier, state)
    return before, aggregate.evolve(before, last)


def _decoded(rows: Sequence[Event], registry: EventRegistry) -> list[DecodedEvent]:
    return [
        registry.decode(
            row.event_type, row.schema_version, msgspec.json.encode(row.data).decode(), lambda _sealed: SEALED
        )
        for row in rows
    ]


def _plain(state: Any) -> dict[str, Any]:
    """A state's fields as JSON knows them."""
    try:
        found = msgspec.to_builtins(state)
    except TypeError:  # an aggregate in the class style may be any object
        found = dict(vars(state))
    return found if isinstance(found, dict) else {"state": found}
