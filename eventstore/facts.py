"""Single facts from the store: the events that streams begin with, and events by their ids.

Facts never change, so what an answer needs from them is free of races, and the first events are kept in this process:
at most `CACHED_FACTS`, and none with a personal field, which an erasure must reach. Nothing is kept that this process
may still roll back, as long as nobody asks for a stream in the transaction that begins it. Services import this.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from threading import Lock
from typing import Any, Final
from uuid import UUID

from django.db import connections

from eventstore.events import RecordedEvent
from eventstore.registry import EventRegistry
from eventstore.registry import events as default_events
from eventstore.rows import EventRow, decode_rows

CACHED_FACTS: Final = 20_000
"""How many first events a process keeps, at most: some 10 MB."""

# The first event of each of these streams.
_SELECT_FIRST = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event
WHERE stream_id = ANY(%s) AND version = 1
"""

# These events.
_SELECT_BY_ID = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event
WHERE event_id = ANY(%s)
"""

# All that happened in one stream, in order.
_SELECT_STREAM = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event
WHERE stream_id = %s AND stream_type = %s
ORDER BY version
"""


class _FactCache:
    """The first events that were asked for last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._facts: OrderedDict[tuple[str, UUID], RecordedEvent[Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, UUID]) -> RecordedEvent[Any] | None:
        with self._lock:
            found = self._facts.get(key)
            if found is not None:
                self._facts.move_to_end(key)
            return found

    def feed(self, facts: Sequence[tuple[tuple[str, UUID], RecordedEvent[Any]]]) -> None:
        with self._lock:
            self._facts.update(facts)
            while len(self._facts) > self._limit:
                self._facts.popitem(last=False)


_first_events: Final = _FactCache(CACHED_FACTS)


def first_events(
    stream_ids: Collection[UUID], *, using: str = "default", registry: EventRegistry = default_events
) -> dict[UUID, RecordedEvent[Any]]:
    """What each of these streams begins with; a stream that does not exist is left out. At most two queries."""
    cached = {id: _first_events.get((using, id)) for id in stream_ids}
    found = {id: event for id, event in cached.items() if event is not None}
    missing = [id for id in cached if id not in found]
    if missing:
        read = _read(_SELECT_FIRST, [missing], using=using, registry=registry)
        keepable = [event for event in read if not registry.type_of(type(event.data)).sealed]
        _first_events.feed([((using, event.stream_id), event) for event in keepable])
        found |= {event.stream_id: event for event in read}
    return found


def events_by_id(
    event_ids: Collection[UUID], *, using: str = "default", registry: EventRegistry = default_events
) -> dict[UUID, RecordedEvent[Any]]:
    """Those of these events that were recorded."""
    read = _read(_SELECT_BY_ID, [list(event_ids)], using=using, registry=registry)
    return {event.event_id: event for event in read}


def stream_events(
    stream_type: str, stream_id: UUID, *, using: str = "default", registry: EventRegistry = default_events
) -> list[RecordedEvent[Any]]:
    """All events of a stream that is known to be short, in order; empty when there is no such stream."""
    return _read(_SELECT_STREAM, [stream_id, stream_type], using=using, registry=registry)


def _read(statement: str, parameters: list[Any], *, using: str, registry: EventRegistry) -> list[RecordedEvent[Any]]:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters)
        rows = [EventRow(*row) for row in cursor]
    return decode_rows(rows, registry=registry, using=using)
