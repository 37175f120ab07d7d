"""The names of events: what is stored for which class, and how old shapes become today's. Pure.

Invariant: a stored name and schema version never change their meaning. A class may be renamed or moved; its name in
the store may not. A stored event that no code knows raises, it is never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

import msgspec

from eventstore.events import Event

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
Unseal = Callable[[str], str]
C = TypeVar("C", bound=type[Event])

_encoder: Final = msgspec.json.Encoder()


class UnknownEventType(Exception):
    """The store holds an event that this version of the program does not know."""

    def __init__(self, name: str, schema_version: int) -> None:
        super().__init__(f"no code for event {name!r} in schema version {schema_version}")
        self.name = name
        self.schema_version = schema_version


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """One registered class of event."""

    cls: type[Event]
    name: str  # as stored
    schema_version: int  # of what is written today
    upcasters: Mapping[int, Upcaster]  # version n -> lifts the JSON of version n to n + 1
    sealed: tuple[str, ...]  # fields stored as ciphertext, names of earlier versions included
    decoder: msgspec.json.Decoder[Event]


class EventRegistry:
    """Finds an event's class by its stored name, and the name by its class."""

    def __init__(self) -> None:
        self._by_name: dict[str, EventType] = {}
        self._by_class: dict[type[Event], EventType] = {}

    def event(
        self,
        name: str,
        *,
        schema_version: int = 1,
        upcasters: Mapping[int, Upcaster] | None = None,
        sealed: tuple[str, ...] = (),
    ) -> Callable[[C], C]:
        """Class decorator: this class is stored under `name`.

        `upcasters[n]` turns the JSON of schema version n into that of n + 1; all versions below `schema_version` need
        one. Fields in `sealed` are personal: stored encrypted with the key of the stream that the event is in.
        """
        lifts = dict(upcasters or {})
        if sorted(lifts) != list(range(1, schema_version)):
            raise ValueError(f"{name}: upcasters must cover the versions 1 to {schema_version - 1}")

        def register(cls: C) -> C:
            if name in self._by_name:
                raise ValueError(f"the event name {name!r} is taken by {self._by_name[name].cls.__qualname__}")
            known = EventType(
                cls=cls,
                name=name,
                schema_version=schema_version,
                upcasters=lifts,
                sealed=sealed,
                decoder=msgspec.json.Decoder(cls),
            )
            self._by_name[name] = self._by_class[cls] = known
            return cls

        return register

    def type_of(self, cls: type[Event]) -> EventType:
        """What is registered for the class. Raises LookupError when it is not an event of this registry."""
        try:
            return self._by_class[cls]
        except KeyError:
            raise LookupError(f"{cls.__qualname__} is not a registered event") from None

    def named(self, name: str, schema_version: int = 1) -> EventType:
        """What is registered under the stored name. Raises `UnknownEventType`."""
        known = self._by_name.get(name)
        if known is None or schema_version > known.schema_version:
            raise UnknownEventType(name, schema_version)
        return known

    def names(self) -> Collection[str]:
        """Every stored name that this program knows."""
        return self._by_name.keys()

    def encode(self, event: Event, seal: Callable[[str], str] | None = None) -> str:
        """The event's JSON. `seal` encrypts a personal field; required when the event has one that is not null."""
        sealed = self.type_of(type(event)).sealed
        if not sealed:
            return _encoder.encode(event).decode()
        fields = msgspec.to_builtins(event)
        for field in sealed:
            if fields.get(field) is not None:
                if seal is None:
                    raise ValueError(f"{type(event).__qualname__}.{field} is sealed and no key was given")
                fields[field] = seal(fields[field])
        return _encoder.encode(fields).decode()

    def decode(self, name: str, schema_version: int, data: str, unseal: Unseal | None = None) -> Event:
        """The event from its stored JSON, lifted to today's shape. Raises `UnknownEventType`."""
        known = self.named(name, schema_version)
        if schema_version == known.schema_version and not known.sealed:
            return known.decoder.decode(data)
        fields = msgspec.json.decode(data)
        for field in known.sealed:
            if unseal is not None and fields.get(field) is not None:
                fields[field] = unseal(fields[field])
        for version in range(schema_version, known.schema_version):
            fields = known.upcasters[version](fields)
        return msgspec.convert(fields, known.cls)


events: Final = EventRegistry()
"""The registry that applications use unless they need one of their own."""

event: Final = events.event
