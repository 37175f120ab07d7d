"""Loads states: from this process's cache or a snapshot, then the events after it, one query for all streams.

The cache is bounded, is fed only with what is committed, and is never trusted alone: each load asks for the events
after the cached version.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from threading import Lock
from typing import Any, Final
from uuid import UUID

from django.db import connections

from eventstore import snapshots
from eventstore.aggregates import Aggregate
from eventstore.conf import store_settings
from eventstore.registry import EventRegistry
from eventstore.rows import EventRow, decode_rows
from eventstore.snapshots import Loaded

# The events of each stream after a version and up to another. OFFSET 0 keeps the inner query a loop over the index
# whatever the statistics say.
_SELECT_EVENTS = """
SELECT NULL, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data, e.metadata,
    e.recorded_at
FROM unnest(%s::uuid[], %s::text[], %s::integer[]) AS wanted (stream_id, stream_type, after_version)
CROSS JOIN LATERAL (
    SELECT * FROM eventstore_event e
    WHERE e.stream_id = wanted.stream_id AND e.version > wanted.after_version AND e.version <= %s
        AND e.stream_type = wanted.stream_type
    ORDER BY e.version OFFSET 0
) AS e
"""

# When an event of a stream got its position; no row while it has none.
_SELECT_SEQUENCED_AT = """
SELECT l.sequenced_at
FROM eventstore_event e JOIN eventstore_log l ON l.event_id = e.id
WHERE e.stream_id = %s AND e.version = %s
"""

# A stream's last version.
_SELECT_LAST_VERSION = "SELECT max(version) FROM eventstore_event WHERE stream_id = %s AND stream_type = %s"

_ANY_VERSION: Final = 2**31 - 1
_CacheKey = tuple[str, str, UUID]


class StateCache:
    """The states that were used last, by database, stream type and stream."""

    def __init__(self) -> None:
        self._states: OrderedDict[_CacheKey, Loaded] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _CacheKey) -> Loaded | None:
        """The cached state, now the most recently used."""
        with self._lock:
            found = self._states.get(key)
            if found is not None:
                self._states.move_to_end(key)
            return found

    def feed(self, items: Iterable[tuple[_CacheKey, Loaded]]) -> None:
        """Keeps committed states, and forgets the least recently used beyond the limit."""
        limit = store_settings().CACHED_STREAMS
        with self._lock:
            for key, loaded in items:
                self._states[key] = loaded
                self._states.move_to_end(key)
            while len(self._states) > limit:
                self._states.popitem(last=False)

    def evict(self, keys: Iterable[_CacheKey]) -> None:
        """Forgets states that a rollback has made doubtful."""
        with self._lock:
            for key in keys:
                self._states.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._states.clear()


cache: Final = StateCache()


def load(wanted: Mapping[UUID, Aggregate[Any]], *, registry: EventRegistry, using: str) -> dict[UUID, Loaded]:
    """Each stream's state now, version 0 where there is no such stream of that type. At most three queries."""
    known = {}
    for stream_id, aggregate in wanted.items():
        cached = cache.get((using, aggregate.stream_type, stream_id))
        if cached is not None:
            known[stream_id] = cached
    cold = {id: aggregate for id, aggregate in wanted.items() if id not in known}
    known |= snapshots.newest(cold, using=using)
    return _forward(wanted, known, up_to=_ANY_VERSION, registry=registry, using=using)


def load_at(aggregate: Aggregate[Any], stream_id: UUID, *, version: int, registry: EventRegistry, using: str) -> Loaded:
    """The stream's state at `version`, or at its last if that is less."""
    wanted = {stream_id: aggregate}
    known = snapshots.newest(wanted, at_most=version, using=using)
    return _forward(wanted, known, up_to=version, registry=registry, using=using)[stream_id]


def version_as_of(aggregate: Aggregate[Any], stream_id: UUID, moment: datetime, *, using: str) -> int:
    """The stream's version at a moment, by when its events were sequenced; 0 when it did not exist yet.

    A binary search: `sequenced_at` never decreases within a stream, so the cost is the logarithm of its length.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_LAST_VERSION, [stream_id, aggregate.stream_type])
        low, high = 0, cursor.fetchone()[0] or 0
        while low < high:
            middle = (low + high + 1) // 2
            cursor.execute(_SELECT_SEQUENCED_AT, [stream_id, middle])
            found = cursor.fetchone()
            if found is not None and found[0] <= moment:
                low = middle
            else:
                high = middle - 1
    return low


def _forward(
    wanted: Mapping[UUID, Aggregate[Any]],
    known: Mapping[UUID, Loaded],
    *,
    up_to: int,
    registry: EventRegistry,
    using: str,
) -> dict[UUID, Loaded]:
    """The known states brought forward by the events after them."""
    states = {
        id: known.get(id) or Loaded(stream_id=id, state=aggregate.initial, version=0)
        for id, aggregate in wanted.items()
    }
    with connections[using].cursor() as cursor:
        cursor.execute(
            _SELECT_EVENTS,
            [
                list(wanted),
                [aggregate.stream_type for aggregate in wanted.values()],
                [states[id].version for id in wanted],
                up_to,
            ],
        )
        rows = [EventRow(*row) for row in cursor]
    for recorded in decode_rows(rows, registry=registry, using=using):
        before = states[recorded.stream_id]
        states[recorded.stream_id] = Loaded(
            stream_id=recorded.stream_id,
            state=wanted[recorded.stream_id].evolve(before.state, recorded.data),
            version=recorded.version,
            created_at=before.created_at or recorded.recorded_at,
            updated_at=recorded.recorded_at,
        )
    return states
