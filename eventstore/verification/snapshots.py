"""Checks that the events of each stream can follow each other, and that snapshots say what the events say.

Both from one fold of the stream: from its beginning, and without the snapshots that are checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from eventstore.aggregates import Aggregate
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, shown
from eventstore.verification.walking import Chunk, Found, Segment, Slot, Span, Stored, StreamCheck

# The snapshots of a span; without its state one that this program would ignore.
_SELECT_SNAPSHOTS = """
SELECT s.stream_id, s.version, s.stream_type, CASE WHEN known.stream_type IS NOT NULL THEN s.state END,
    s.created_at, s.updated_at
FROM eventstore_snapshot s
LEFT JOIN unnest(%s::text[], %s::smallint[]) AS known (stream_type, state_version) USING (stream_type, state_version)
WHERE (s.stream_id, s.version) > (%s, %s) AND (s.stream_id, s.version) <= (%s, %s)
ORDER BY s.stream_id, s.version LIMIT %s
"""
_SELECT_LAST = "SELECT stream_id FROM eventstore_snapshot ORDER BY stream_id DESC LIMIT 1"


class _Snapshot(NamedTuple):
    stream_id: UUID
    version: int
    stream_type: str
    state: str | None
    created_at: datetime
    updated_at: datetime


class _Fold:
    """How far a stream has been folded."""

    def __init__(self, aggregate: Aggregate[Any] | None) -> None:
        self.aggregate = aggregate
        self.state = None if aggregate is None else aggregate.initial
        self.created_at: datetime | None = None
        self.broken = aggregate is None  # what comes after has no meaning


class StatesCheck(StreamCheck):
    """Folds each stream with its aggregate."""

    name = "snapshots"
    unit = "snapshots"
    proves = "The events of each stream can follow each other, and each snapshot is the state that they lead to."

    def __init__(self) -> None:
        super().__init__()
        self._aggregates: dict[str, Aggregate[Any]] = {}
        self._known: tuple[list[str], list[int]] = ([], [])
        self._fold = _Fold(None)

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers the aggregates."""
        self._aggregates = dict(scope.aggregates)
        snapshotted = [found for found in self._aggregates.values() if found.state_type is not None]
        self._known = (
            [found.stream_type for found in snapshotted],
            [found.state_version for found in snapshotted],
        )
        return iter(())

    def last_stream(self, cursor: Any) -> UUID | None:
        """The last that has a snapshot."""
        cursor.execute(_SELECT_LAST)
        return next((stream_id for (stream_id,) in cursor.fetchall()), None)

    def read(self, cursor: Any, span: Span, limit: int) -> Found:
        """The snapshots of the span."""
        cursor.execute(_SELECT_SNAPSHOTS, [*self._known, *span.after, *span.until, limit])
        return Found([(Slot(row[0], row[1]), _Snapshot(*row)) for row in cursor.fetchall()])

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk."""
        snapshots: dict[UUID, dict[int, _Snapshot]] = {}
        for slot, snapshot in found.rows:
            if snapshot.state is None:
                self.counts["of a state version that this program ignores"] += 1
            else:
                self.examined += 1
                snapshots.setdefault(slot.stream_id, {})[slot.version] = snapshot
        for segment in chunk.segments:
            yield from self._compare_segment(segment, snapshots.pop(segment.stream_id, {}))
        for left in snapshots.values():
            for snapshot in left.values():
                yield _missing_version(f"{snapshot.stream_type}/{snapshot.stream_id}", snapshot.version)

    def _compare_segment(self, segment: Segment, snapshots: dict[int, _Snapshot]) -> Iterator[Difference]:
        if segment.begins:
            self._fold = _Fold(self._aggregates.get(segment.stream_type))
            if self._fold.aggregate is None:
                self.counts["streams of a type without an aggregate"] += 1
        for event in segment.events:
            yield from self._evolve(segment, event)
            snapshot = snapshots.pop(event.row.version, None)
            if snapshot is not None and not self._fold.broken:
                yield from _snapshot_differences(segment, self._fold, event, snapshot)
        if not self._fold.broken:
            for version in snapshots:
                yield _missing_version(segment.name, version)

    def _evolve(self, segment: Segment, event: Stored) -> Iterator[Difference]:
        fold = self._fold
        fold.created_at = fold.created_at or event.row.recorded_at
        if fold.broken or fold.aggregate is None:
            return
        if event.recorded is None:  # named by another check
            fold.broken = True
            return
        try:
            fold.state = fold.aggregate.evolve(fold.state, event.recorded.data)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the event cannot stand where it stands
            fold.broken = True
            yield Difference(
                stream=segment.name,
                version=event.row.version,
                position=event.position,
                field="event",
                expected=f"one that can follow {type(fold.state).__name__}",
                actual=f"{event.row.event_type} ({type(error).__name__})",
            )


def _snapshot_differences(segment: Segment, fold: _Fold, event: Stored, snapshot: _Snapshot) -> Iterator[Difference]:
    expected = {
        "stream_type": segment.stream_type,
        "created_at": fold.created_at,
        "updated_at": event.row.recorded_at,
        **_fields(msgspec.json.encode(fold.state)),
    }
    actual = {
        "stream_type": snapshot.stream_type,
        "created_at": snapshot.created_at,
        "updated_at": snapshot.updated_at,
        **_fields(snapshot.state or "null"),
    }
    for field in expected | actual:
        if expected.get(field, MISSING) != actual.get(field, MISSING):
            yield Difference(
                stream=segment.name,
                version=event.row.version,
                position=event.position,
                field=f"snapshot {field}",
                expected=shown(expected.get(field, MISSING)),
                actual=shown(actual.get(field, MISSING)),
            )


def _fields(state: str | bytes) -> dict[str, Any]:
    """A state's JSON by field; a state that is no object as a whole."""
    decoded = msgspec.json.decode(state)
    return (
        {f"state.{name}": value for name, value in decoded.items()} if isinstance(decoded, dict) else {"state": decoded}
    )


def _missing_version(stream: str, version: int) -> Difference:
    return Difference(stream=stream, version=version, field="snapshot's event", expected=PRESENT, actual=MISSING)
