"""Declares who follows the log. Pure: a context's `handlers` module imports this and nothing of Celery.

A subscription has a durable id, which names its checkpoints in the database: it never changes. Two kinds:

- a **reactor** (`@subscriber`) answers an event with commands for aggregates, such as the next step of a saga;
- a **projection** (`@projection`) keeps read models and can be replayed at any time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from eventstore.aggregates import Aggregate
from eventstore.events import Event, RecordedEvent

T = TypeVar("T")
H = TypeVar("H", bound=Callable[..., Any])
_HANDLES = "_eventstore_handles"
_DISCARDS = "_eventstore_discards"


class Follows(StrEnum):
    """Which bucket of an event decides the checkpoint that handles it."""

    STREAM = "stream"  # of the stream that the event is in: keeps each stream's order
    ROUTE = "route"  # of the aggregate that the saga's step will touch: two workers do not meet on one aggregate


class Execute(msgspec.Struct, frozen=True, kw_only=True):
    """A reactor's answer: have this aggregate decide this command."""

    aggregate: Aggregate[Any]
    stream_id: UUID
    command: Any
    creates: bool = False  # the command begins the stream; otherwise the stream must exist


Answer = Execute | Iterable[Execute] | None
Handler = Callable[[RecordedEvent[Any]], Answer]
Route = Callable[[Any], UUID]  # event data -> id of the stream that the step will touch


class Reactor(msgspec.Struct, frozen=True, kw_only=True):
    """A declared reactor."""

    id: str
    follows: Follows
    handlers: Mapping[type[Event], Handler]
    routes: Mapping[type[Event], Route]
    key: Callable[[RecordedEvent[Any]], UUID]  # parked events with one key stay in order behind each other
    discards: Mapping[type[Event], Handler]  # what ends the story when an operator gives up an event of this type
    partitions: int  # checkpoints made at first; later changes are an operator's (`subscriptions split`)
    batch_size: int


class ProjectionHandler(Protocol):
    """What a projection does. One instance serves live handling and replay alike."""

    def project(self, events: Sequence[RecordedEvent[Any]], tables: Any) -> None:
        """Applies a batch, in log order. Handling an event twice changes nothing.

        `tables` is the open cursor's `eventstore.tables.Tables`: it writes to the live or the shadow tables.
        """


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """A declared projection."""

    id: str
    version: int  # raise it when the tables or the logic change: it is then rebuilt beside the old one
    handles: frozenset[type[Event]]
    handler: ProjectionHandler
    schema: str  # the database schema of its live tables; shadows are built in `<schema>_shadow`
    ddl: str  # CREATE TABLE … of its tables, unqualified
    tables: tuple[str, ...]
    partitions: int
    batch_size: int


Subscription = Reactor | Projection


def _own_stream(recorded: RecordedEvent[Any]) -> UUID:
    return recorded.stream_id


def handles(event: type[Event], *, route: Route | None = None) -> Callable[[H], H]:
    """Marks a method as the reactor's handler of `event`; `route` names the stream that it will touch.

    A reactor that follows ROUTE needs a route for each event; the store writes its bucket beside the event.
    """

    def mark(method: H) -> H:
        setattr(method, _HANDLES, (event, route))
        return method

    return mark


def discards(event: type[Event], *, of: str | None = None) -> Callable[[H], H]:
    """Marks a method that ends the story when an operator discards an `event` that a reactor could not handle.

    `of` is that reactor's id, by default the method's own. Another's is for a story whose state is kept here: who
    owns the state knows how it may end, and the reactor that failed need not know.
    """

    def mark(method: H) -> H:
        setattr(method, _DISCARDS, (event, of))
        return method

    return mark


class SubscriptionRegistry:
    """All subscriptions of this program, by id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Subscription] = {}
        self._routes: dict[type[Event], Route] = {}
        self._endings: dict[str, dict[type[Event], Handler]] = {}  # by the reactor that gives up

    def subscriber(
        self,
        *,
        id: str,
        follows: Follows = Follows.STREAM,
        key: Callable[[RecordedEvent[Any]], UUID] = _own_stream,
        partitions: int = 1,
        batch_size: int = 500,
    ) -> Callable[[type[T]], type[T]]:
        """Class decorator: an instance of the class reacts to the events that its methods are marked with."""

        def register(cls: type[T]) -> type[T]:
            instance = cls()
            handled = _marked_methods(instance, _HANDLES)
            routes = {event: route for event, route, _ in handled if route}
            handlers = {event: method for event, _, method in handled}
            if follows is Follows.ROUTE and routes.keys() != handlers.keys():
                raise ValueError(f"{id} follows the route, so each event it handles needs one")
            self._add(
                Reactor(
                    id=id,
                    follows=follows,
                    handlers=handlers,
                    routes=routes,
                    key=key,
                    discards=self._endings.setdefault(id, {}),  # others may add to it, before or after
                    partitions=partitions,
                    batch_size=batch_size,
                )
            )
            self._add_routes(id, routes)
            for event, of, method in _marked_methods(instance, _DISCARDS):
                self._endings.setdefault(of or id, {})[event] = method
            return cls

        return register

    def projection(
        self,
        *,
        id: str,
        version: int,
        handles: Iterable[type[Event]],
        schema: str,
        ddl: str,
        tables: tuple[str, ...],
        partitions: int = 1,
        batch_size: int = 500,
    ) -> Callable[[type[T]], type[T]]:
        """Class decorator: an instance of the class, with a method `project`, keeps these tables."""

        def register(cls: type[T]) -> type[T]:
            self._add(
                Projection(
                    id=id,
                    version=version,
                    handles=frozenset(handles),
                    handler=cls(),  # type: ignore[arg-type]
                    schema=schema,
                    ddl=ddl,
                    tables=tables,
                    partitions=partitions,
                    batch_size=batch_size,
                )
            )
            return cls

        return register

    def _add(self, subscription: Subscription) -> None:
        if subscription.id in self._by_id:
            raise ValueError(f"the subscription id {subscription.id!r} is taken")
        self._by_id[subscription.id] = subscription

    def _add_routes(self, subscription_id: str, routes: Mapping[type[Event], Route]) -> None:
        taken = self._routes.keys() & routes.keys()
        if taken:
            raise ValueError(f"{subscription_id}: {sorted(map(str, taken))} already have a route; an event has one")
        self._routes.update(routes)

    def all(self) -> list[Subscription]:
        """Every subscription, by id."""
        return [self._by_id[id] for id in sorted(self._by_id)]

    def projections(self) -> list[Projection]:
        """Every projection, by id."""
        return [found for found in self.all() if isinstance(found, Projection)]

    def get(self, id: str) -> Subscription | None:
        """The subscription of that id, or None when this program has none."""
        return self._by_id.get(id)

    def route_of(self, event: Event) -> UUID | None:
        """The stream that the saga step after this event will touch, or None when no reactor follows it."""
        route = self._routes.get(type(event))
        return None if route is None else route(event)


def _marked_methods(instance: object, mark: str) -> list[tuple[type[Event], Any, Handler]]:
    methods = inspect.getmembers(instance, inspect.ismethod)
    return [(*getattr(method, mark), method) for _, method in methods if hasattr(method, mark)]


subscriptions: Final = SubscriptionRegistry()
"""The registry that applications use unless they need one of their own."""

subscriber: Final = subscriptions.subscriber
projection: Final = subscriptions.projection
