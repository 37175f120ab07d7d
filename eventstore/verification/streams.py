"""Checks each stream as such: its versions and times, its place in the log, and that its events can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from eventstore.buckets import bucket_of
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, moment_differences, shown
from eventstore.verification.walking import Chunk, Found, Segment, Span, Stored, StreamCheck

# Whether a version of a stream waits to be sequenced.
_SELECT_WAITS = """
SELECT EXISTS (
    SELECT FROM eventstore_outbox o JOIN eventstore_event e ON e.id = o.event_id
    WHERE e.stream_id = %s AND e.version = %s
)
"""

# Whose personal fields are sealed with a key of theirs.
_SELECT_SUBJECTS = "SELECT subject_id, created_at FROM eventstore_subject_key WHERE subject_id BETWEEN %s AND %s"
_SELECT_LAST_SUBJECT = "SELECT subject_id FROM eventstore_subject_key ORDER BY subject_id DESC LIMIT 1"


class StreamsCheck(StreamCheck):
    """Compares each event with the one before it in its stream."""

    name = "streams"
    unit = "events"
    proves = "The versions of a stream run from 1 without gap or repetition, of one type, and its times never decrease."

    def __init__(self) -> None:
        super().__init__()
        self._before: Stored | None = None

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk."""
        for segment in chunk.segments:
            if segment.begins:
                self._before = None
            for event in segment.events:
                yield from _order_differences(segment, self._before, event)
                self._before = event
            self.examined += len(segment.events)


class SequencingCheck(StreamCheck):
    """Looks at where each event stands in log and outbox."""

    name = "sequencing"
    unit = "events"
    proves = "Each event is in the log or the outbox, exactly once, in the order of its stream and in its buckets."

    def __init__(self) -> None:
        super().__init__()
        self._last_position = 0
        self._waiting_version: int | None = None
        self._scope: Scope | None = None

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers what routes there are."""
        self._scope = scope
        return iter(())

    def read(self, cursor: Any, span: Span, limit: int) -> Found:
        """Whether the last version that waited in a stream that was cut off does so still."""
        if self._waiting_version is None:
            return Found(context=False)
        cursor.execute(_SELECT_WAITS, [span.after.stream_id, self._waiting_version])
        ((waits,),) = cursor.fetchall()
        return Found(context=waits)

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk."""
        for segment in chunk.segments:
            if segment.begins:
                self._last_position, self._waiting_version = 0, None
            elif not found.context:
                self._waiting_version = None
            for event in segment.events:
                yield from _place_differences(segment, event)
                yield from self._position_differences(segment, event)
                yield from self._bucket_differences(segment, event)
            self.examined += len(segment.events)

    def _position_differences(self, segment: Segment, event: Stored) -> Iterator[Difference]:
        if event.waits:
            self.counts["waiting in the outbox"] += 1
            self._waiting_version = event.row.version
        if event.position is None:
            return
        if event.position <= self._last_position:
            yield _difference(segment, event, "position", f"after {self._last_position}", event.position)
        if self._waiting_version is not None and not event.waits:
            expected = f"none while version {self._waiting_version} waits in the outbox"
            yield _difference(segment, event, "position", expected, event.position)
        self._last_position = max(self._last_position, event.position)

    def _bucket_differences(self, segment: Segment, event: Stored) -> Iterator[Difference]:
        if not event.waits and event.position is None:
            return
        stream_bucket = bucket_of(event.row.stream_id)
        if event.stream_bucket != stream_bucket:
            yield _difference(segment, event, "stream_bucket", stream_bucket, event.stream_bucket)
        if event.recorded is None or self._scope is None:
            return
        route = self._scope.subscriptions.route_of(event.recorded.data)
        route_bucket = None if route is None else bucket_of(route)
        if event.route_bucket != route_bucket:
            yield _difference(segment, event, "route_bucket", route_bucket, event.route_bucket)


class ReadableCheck(StreamCheck):
    """Decodes each event, and unseals its personal fields."""

    name = "events"
    unit = "events"
    proves = (
        "This program knows the type of each event and can read it, but for the fields of persons who were erased; and"
        " each person's key belongs to events."
    )

    def __init__(self) -> None:
        super().__init__()
        self._sealed: frozenset[str] = frozenset()

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers which events have personal fields."""
        names = scope.registry.names()
        self._sealed = frozenset(name for name in names if scope.registry.named(name).sealed)
        return iter(())

    def last_stream(self, cursor: Any) -> UUID | None:
        """The last person who has a key."""
        cursor.execute(_SELECT_LAST_SUBJECT)
        return next((subject_id for (subject_id,) in cursor.fetchall()), None)

    def read(self, cursor: Any, span: Span, limit: int) -> Found:
        """Who has a key, or had one that was erased."""
        cursor.execute(_SELECT_SUBJECTS, [span.after.stream_id, span.until.stream_id])
        return Found(context=dict(cursor.fetchall()))

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk."""
        for segment in chunk.segments:
            self.examined += len(segment.events)
            for event in segment.events:
                if event.recorded is None:
                    expected = f"a readable {event.row.event_type}"
                    yield _difference(segment, event, "data", expected, event.unreadable)
                elif event.row.event_type in self._sealed and event.row.stream_id not in found.context:
                    yield _difference(segment, event, "key", "one that reads the sealed fields, or is erased", MISSING)
        yield from _key_differences(chunk, found.context)


def _key_differences(chunk: Chunk, keys: Mapping[UUID, datetime]) -> Iterator[Difference]:
    """Keys of nobody: a person's key is made with their first event, so that the stream is in this chunk or before."""
    streams = {segment.stream_id for segment in chunk.segments} | {chunk.span.after.stream_id}
    for subject_id, created_at in keys.items():
        if subject_id > chunk.span.until.stream_id:  # the next chunk has it again
            continue
        yield from moment_differences({"created_at of the key": created_at}, stream=str(subject_id))
        if subject_id not in streams:
            yield Difference(
                stream=str(subject_id), field="events of the key's person", expected=PRESENT, actual=MISSING
            )


def _order_differences(segment: Segment, before: Stored | None, event: Stored) -> Iterator[Difference]:
    version = 1 if before is None else before.row.version + 1
    if event.row.version != version:
        yield _difference(segment, event, "version", version, event.row.version)
    times = {"recorded_at": event.row.recorded_at}
    yield from moment_differences(times, stream=segment.name, version=event.row.version, position=event.position)
    if before is None:
        return
    if event.row.stream_type != before.row.stream_type:
        yield _difference(segment, event, "stream_type", before.row.stream_type, event.row.stream_type)
    if event.row.recorded_at < before.row.recorded_at:
        expected = f"not before {shown(before.row.recorded_at)}"
        yield _difference(segment, event, "recorded_at", expected, event.row.recorded_at)


def _place_differences(segment: Segment, event: Stored) -> Iterator[Difference]:
    if (event.position is None) == event.waits and not event.again:
        return
    positions = [] if event.position is None else [event.position, *event.again]
    places = [f"position {position}" for position in positions] + ["the outbox"] * event.waits
    actual = " and ".join(places) or "in neither"
    yield _difference(segment, event, "place", "one, in the log or in the outbox", actual)


def _difference(segment: Segment, event: Stored, field: str, expected: object, actual: object) -> Difference:
    return Difference(
        stream=segment.name,
        version=event.row.version,
        position=event.position,
        field=field,
        expected=shown(expected),
        actual=shown(actual),
    )
