"""Aggregates in two styles: state and functions, or a class with `process` and `apply`. Pure.

Both come to the same: `decide(state, command) -> events` and `evolve(state, event) -> state`, without a clock, random
numbers or a database. The store knows only `Aggregate`; `process_apply` wraps a class into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import reduce
from typing import Any, Final, Generic, Protocol, TypeVar, dataclass_transform

import msgspec

from eventstore.events import Event

S = TypeVar("S")
DEFAULT_SNAPSHOT_EVERY = 100


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))  # for type checkers
class Command(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every command: an imperative that one aggregate accepts or refuses."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))  # for type checkers
class State(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The base of a state: one class per status, so that an illegal combination cannot be written."""


class Aggregate(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """How one kind of stream decides and evolves."""

    stream_type: str  # as stored
    initial: S  # the state before the first event
    decide: Callable[[S, Any], Sequence[Event]]
    evolve: Callable[[S, Any], S]  # raises on an event that cannot follow the state
    state_type: Any = None  # what a snapshot is decoded to: a Struct, a dataclass or a union; None: no snapshots
    state_version: int = 1  # raise it when the state's shape changes: older snapshots are ignored then
    snapshot_every: int = DEFAULT_SNAPSHOT_EVERY  # events between two snapshots

    def fold(self, events: Iterable[Event], state: S | None = None) -> S:
        """The state after `events`, from `state` or from the beginning."""
        return reduce(self.evolve, events, self.initial if state is None else state)


class AggregateRegistry:
    """The aggregates of this program by the type of their streams, for whoever shows a stream's state.

    Deciding needs none: a service names its aggregate itself.
    """

    def __init__(self) -> None:
        self._by_type: dict[str, Aggregate[Any]] = {}

    def register(self, aggregate: Aggregate[Any]) -> None:
        """Makes the aggregate known. Raises ValueError when streams of its type have another one."""
        if self._by_type.setdefault(aggregate.stream_type, aggregate) is not aggregate:
            raise ValueError(f"streams of type {aggregate.stream_type!r} have an aggregate already")

    def get(self, stream_type: str) -> Aggregate[Any] | None:
        """The aggregate of these streams, or None when this program has none."""
        return self._by_type.get(stream_type)

    def all(self) -> list[Aggregate[Any]]:
        """Every aggregate, by the type of its streams."""
        return [self._by_type[stream_type] for stream_type in sorted(self._by_type)]


aggregates: Final = AggregateRegistry()
"""The registry that applications use unless they need one of their own."""


class ProcessApply(Protocol):
    """An aggregate in the class style."""

    def process(self, command: Any) -> Sequence[Event]:
        """The events that the command leads to; raises when it is refused. Changes nothing."""

    def apply(self, event: Any) -> None:
        """Takes the event into this object."""


P = TypeVar("P", bound=ProcessApply)


def process_apply(
    cls: type[P],
    *,
    stream_type: str,
    state_type: Any = None,
    state_version: int = 1,
    snapshot_every: int = DEFAULT_SNAPSHOT_EVERY,
) -> Aggregate[P]:
    """An `Aggregate` from a class with `process` and `apply`, whose events are the same as in the other style.

    `apply` works on a copy, so that a state which somebody holds never changes. A dataclass may be snapshotted: give
    it as `state_type`.
    """

    def evolve(state: P, event: Event) -> P:
        after = deepcopy(state)
        after.apply(event)
        return after

    return Aggregate(
        stream_type=stream_type,
        initial=cls(),
        decide=lambda state, command: state.process(command),
        evolve=evolve,
        state_type=state_type,
        state_version=state_version,
        snapshot_every=snapshot_every,
    )
