"""Reads the store stream by stream, once for all checks that need it, beside what else is kept about each stream.

The order is that of (stream, version). One chunk is what one short transaction sees at one moment: the next events,
and of every table that a check compares them with the rows of the same span of streams and versions. So whatever is in
a table and belongs to no event is met as well, and nothing is read twice. Invariants: every event and row that was
there at the start is in exactly one chunk, whole; the walk ends at the last stream that was there then, or it would
follow a busy bank, whose new streams come last, for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from psycopg import sql

from eventstore.events import RecordedEvent
from eventstore.registry import EventRegistry
from eventstore.rows import EventRow, decode_rows
from eventstore.verification.findings import Check, Difference, Scope, as_far_as_it_goes
from eventstore.verification.reading import one_moment

CHUNK_EVENTS: Final = 1_000
"""More gain nothing, and hold a transaction open for longer."""
ANY_VERSION: Final = 2**31 - 1
"""After every version of a stream: where a table's row of the whole stream stands."""

# The next events, and where each is: in the log, in the outbox, in neither or in both.
_SELECT_EVENTS = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at, e.id, o.event_id IS NOT NULL, COALESCE(l.stream_bucket, o.stream_bucket),
    COALESCE(l.route_bucket, o.route_bucket)
FROM (
    SELECT * FROM eventstore_event WHERE (stream_id, version) > (%s, %s) ORDER BY stream_id, version LIMIT %s
) AS e
LEFT JOIN eventstore_log l ON l.event_id = e.id
LEFT JOIN eventstore_outbox o ON o.event_id = e.id
ORDER BY e.stream_id, e.version, e.id, l.position
"""

# The last stream. PostgreSQL knows no greatest UUID before version 18.
_SELECT_LAST = "SELECT stream_id FROM eventstore_event ORDER BY stream_id DESC LIMIT 1"

T = TypeVar("T")


class Slot(NamedTuple):
    """A place in the order of the walk."""

    stream_id: UUID
    version: int


START: Final = Slot(UUID(int=0), -(2**31))
END: Final = Slot(UUID(int=2**128 - 1), ANY_VERSION)


class Stored(NamedTuple):
    """An event as it stands in the tables."""

    row: EventRow
    recorded: RecordedEvent[Any] | None  # None: this program cannot read it
    unreadable: str  # why
    position: int | None  # in the log
    again: tuple[int, ...]  # further positions: there should be none
    waits: bool  # in the outbox
    stream_bucket: int | None
    route_bucket: int | None


class Segment(NamedTuple):
    """Consecutive events of one stream: all of them, unless the stream is longer than a chunk."""

    stream_id: UUID
    stream_type: str
    events: Sequence[Stored]
    begins: bool  # with the stream's first event
    ends: bool  # with its last as of this moment

    @property
    def name(self) -> str:
        """How a difference names the stream."""
        return f"{self.stream_type}/{self.stream_id}"


class Span(NamedTuple):
    """A part of the order of the walk."""

    after: Slot
    until: Slot  # inclusive


class Chunk(NamedTuple):
    """What was seen at one moment. A stream that was cut off is in the next chunk again, if only to end there."""

    segments: Sequence[Segment]
    span: Span

    @property
    def cut_off(self) -> UUID | None:
        """The stream that goes on in the next chunk."""
        return None if self.span.until.version == ANY_VERSION else self.span.until.stream_id


class Found(NamedTuple):
    """What a check has read beside the events."""

    rows: Sequence[tuple[Slot, Any]] = ()
    context: Any = None


class StreamCheck(Check):
    """A check that looks at every stream.

    It is handed chunk after chunk. What it must remember of a stream that was cut off it keeps itself.
    """

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Prepares; what differs already then."""
        return iter(())

    def tables(self) -> Sequence[tuple[str, str]]:
        """The tables it reads that a replay might swap, by schema and name."""
        return ()

    def last_stream(self, cursor: Any) -> UUID | None:
        """The last stream of which it has rows to compare, whether there are events or not."""
        return None

    def read(self, cursor: Any, span: Span, limit: int) -> Found:
        """At most `limit` rows of the span, in order; rows of whole streams include that of a stream cut off."""
        return Found()

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk, which is read and no longer held in a transaction."""
        return iter(())

    def finish(self, scope: Scope) -> Iterator[Difference]:
        """What shows only when all streams were seen."""
        return iter(())


class _ReadFailed(Exception):
    """One check could not read what it needs."""

    def __init__(self, check: StreamCheck, reason: Exception) -> None:
        super().__init__(check, reason)
        self.check = check
        self.reason = reason


def walk(
    scope: Scope, checks: Sequence[StreamCheck], *, events: int = CHUNK_EVENTS
) -> Iterator[tuple[Check, Difference]]:
    """Hands every stream to the checks, `events` at a time; what differs, by check. One that raises is left behind."""
    for check in checks:
        for difference in as_far_as_it_goes(check, partial(check.begin, scope)):
            yield check, difference
    after, unfinished, seen = START, None, 0
    end = _with_who_can(checks, partial(_read_end, scope))
    while end is not None and after != end:
        read = _with_who_can(checks, partial(_read, scope, Span(after, end), unfinished, events))
        if read is None:
            return
        chunk, found = read
        for check, rows in found.items():
            for difference in as_far_as_it_goes(check, partial(check.compare, chunk, rows)):
                yield check, difference
        after = chunk.span.until
        unfinished = next((segment for segment in chunk.segments[-1:] if not segment.ends), None)
        seen += sum(len(segment.events) for segment in chunk.segments)
        scope.progress("streams", done=seen, total=max(seen, scope.position))
    for check in _going(checks):
        for difference in as_far_as_it_goes(check, partial(check.finish, scope)):
            yield check, difference


def _going(checks: Sequence[StreamCheck]) -> list[StreamCheck]:
    return [check for check in checks if not check.broken_off]


def _with_who_can(checks: Sequence[StreamCheck], read: Callable[[Sequence[StreamCheck]], T]) -> T | None:
    """What is read for the checks that can read; None when there is none that can.

    Who fails may have spoiled the transaction, so the others read anew.
    """
    while going := _going(checks):
        try:
            return read(going)
        except _ReadFailed as failed:
            failed.check.break_off(failed.reason)
        except Exception as error:  # noqa: BLE001 - what all of them need cannot be read
            for check in going:
                check.break_off(error)
    return None


def _read_end(scope: Scope, checks: Sequence[StreamCheck]) -> Slot:
    """Where the walk ends: with the last stream that there is anything of now."""
    with one_moment(using=scope.using, tables=_tables(checks)) as cursor:
        cursor.execute(_SELECT_LAST)
        streams = [stream_id for (stream_id,) in cursor.fetchall()]
        streams += [_asked(check, partial(check.last_stream, cursor)) for check in checks]
    return Slot(max((found for found in streams if found is not None), default=START.stream_id), ANY_VERSION)


def _read(
    scope: Scope, rest: Span, unfinished: Segment | None, limit: int, checks: Sequence[StreamCheck]
) -> tuple[Chunk, Mapping[StreamCheck, Found]]:
    """The next chunk of what is left, and what each check has read for it."""
    with one_moment(using=scope.using, tables=_tables(checks)) as cursor:
        cursor.execute(_SELECT_EVENTS, [*rest.after, limit])
        rows = [(Slot(row[3], row[4]), row) for row in cursor.fetchall()]
        events, until = _whole_slots(rows, limit)
        until = min(until, rest.until)
        found = {}
        for check in checks:
            read = _asked(check, partial(check.read, cursor, Span(rest.after, until), 2 * limit))
            kept, upto = _whole_slots(read.rows, 2 * limit)
            found[check] = Found(kept, read.context)
            until = min(until, upto)
        span = Span(rest.after, until)
        stored = _decode(_within(events, until), registry=scope.registry, using=scope.using)
    found = {check: Found(_within(read.rows, until), read.context) for check, read in found.items()}
    return Chunk(_segments(stored, span, unfinished), span), found


def _tables(checks: Sequence[StreamCheck]) -> list[sql.Identifier]:
    """What they read that a replay might swap."""
    # Sorted as the swap locks them: each would wait for the other for ever.
    names = sorted({name for check in checks for name in check.tables()})
    return [sql.Identifier(schema, name) for schema, name in names]


def _asked(check: StreamCheck, read: Callable[[], T]) -> T:
    """What one check reads. Raises `_ReadFailed`, which names it."""
    try:
        return read()
    except Exception as error:
        raise _ReadFailed(check, error) from error


def _whole_slots(rows: Sequence[tuple[Slot, T]], limit: int) -> tuple[Sequence[tuple[Slot, T]], Slot]:
    """The rows whose slot was surely read as a whole, and up to where all rows are known."""
    if len(rows) < limit:
        return rows, END
    whole = len(rows) - 1
    while whole and rows[whole - 1][0] == rows[-1][0]:
        whole -= 1
    kept = rows[:whole] or rows
    return kept, kept[-1][0]


def _within(rows: Sequence[tuple[Slot, T]], until: Slot) -> Sequence[tuple[Slot, T]]:
    """The rows up to a slot, and the whole stream's row of the stream that it cuts off."""
    if not rows or rows[-1][0] <= until:
        return rows
    peek = Slot(until.stream_id, ANY_VERSION)
    return [row for row in rows if row[0] <= until or row[0] == peek]


def _decode(rows: Sequence[tuple[Slot, Any]], *, registry: EventRegistry, using: str) -> list[Stored]:
    """The events, with more than one position where the log holds one more than once."""
    first: dict[int, Any] = {}  # by the event's insertion id
    again: dict[int, tuple[int, ...]] = {}
    for _, columns in rows:
        if first.setdefault(columns[10], columns) is not columns:
            again[columns[10]] = (*again.get(columns[10], ()), columns[0])
    events = [EventRow(*columns[:10]) for columns in first.values()]
    decoded = decode_each(events, registry=registry, using=using)
    return [
        Stored(row, recorded, unreadable, row.position, again.get(columns[10], ()), *columns[11:])
        for row, columns, (recorded, unreadable) in zip(events, first.values(), decoded, strict=True)
    ]


def decode_each(
    rows: Sequence[EventRow], *, registry: EventRegistry, using: str
) -> list[tuple[RecordedEvent[Any] | None, str]]:
    """Each event, or why it cannot be read; an error of the database or of the settings is raised."""
    try:
        return [(recorded, "") for recorded in decode_rows(rows, registry=registry, using=using)]
    except Exception as error:
        if isinstance(error, DatabaseError | InterfaceError | ImproperlyConfigured):  # nothing the event could help
            raise
        if len(rows) == 1:
            return [(None, f"{type(error).__name__}: {error}".rstrip(": "))]
    half = len(rows) // 2
    return [
        *decode_each(rows[:half], registry=registry, using=using),
        *decode_each(rows[half:], registry=registry, using=using),
    ]


def _segments(stored: Sequence[Stored], span: Span, unfinished: Segment | None) -> list[Segment]:
    """The events by stream; a stream that was cut off before comes first, even when nothing of it is left."""
    grouped: dict[UUID, list[Stored]] = {} if unfinished is None else {unfinished.stream_id: []}
    for event in stored:
        grouped.setdefault(event.row.stream_id, []).append(event)
    return [
        Segment(
            stream_id=stream_id,
            stream_type=events[0].row.stream_type if events else unfinished.stream_type if unfinished else "",
            events=events,
            begins=unfinished is None or stream_id != unfinished.stream_id,
            ends=span.until >= Slot(stream_id, ANY_VERSION),
        )
        for stream_id, events in grouped.items()
    ]
