"""Reads the log in the order of its positions, for subscriptions, replays and checks alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from eventstore.buckets import BUCKETS
from eventstore.registry import EventRegistry, UnknownEventType
from eventstore.rows import EventRow

# The next log entries in a range of stream buckets, with their events. Types that are known and not wanted stay in the
# database (their columns are null); an unknown one is read, so that it is noticed. `+ 0` has the planner go by the
# primary key: by an index on the bucket it would read what is left of the log, or all of it, for each batch.
_READ_BY_STREAM = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM (
    SELECT position, event_id FROM eventstore_log
    WHERE position > %s AND position <= %s AND stream_bucket + 0 BETWEEN %s AND %s
    ORDER BY position LIMIT %s
) AS l
LEFT JOIN eventstore_event e ON e.id = l.event_id AND e.event_type <> ALL(%s)
ORDER BY l.position
"""

# The same by the bucket of the aggregate that the saga's next step will touch.
_READ_BY_ROUTE = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM (
    SELECT position, event_id FROM eventstore_log
    WHERE position > %s AND position <= %s AND route_bucket + 0 BETWEEN %s AND %s
    ORDER BY position LIMIT %s
) AS l
LEFT JOIN eventstore_event e ON e.id = l.event_id AND e.event_type <> ALL(%s)
ORDER BY l.position
"""

_READ = {"stream": _READ_BY_STREAM, "route": _READ_BY_ROUTE}

# Where the log ends now.
_HEAD = "SELECT position FROM eventstore_sequencer WHERE id = 1"

# The event at one position.
_READ_ONE = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position = %s
"""

# The events at some positions.
_READ_AT = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position = ANY(%s) ORDER BY l.position
"""

LEAST_SPAN: Final = 1_000
"""Positions that a read looks at, at least: a small batch, too, finds the event that a large one failed on."""


class Range(NamedTuple):
    """Which part of the log is followed."""

    follows: str  # "stream" or "route"
    low: int  # first bucket
    high: int  # last bucket


class Window(NamedTuple):
    """What one read came to."""

    rows: list[EventRow]
    until: int  # everything in range up to this position was read
    entries: int  # how many log entries that were, the unwanted included


def head_position(cursor: Any) -> int:
    """The last position of the log, 0 when it is empty."""
    cursor.execute(_HEAD)
    return int(cursor.fetchone()[0])


def read_one(cursor: Any, position: int) -> EventRow:
    """The event at a position that is in the log."""
    cursor.execute(_READ_ONE, [position])
    return EventRow(*cursor.fetchone())


def read_at(cursor: Any, positions: Sequence[int]) -> list[EventRow]:
    """The events at positions that are in the log, in its order. Raises LookupError when one is not."""
    cursor.execute(_READ_AT, [list(positions)])
    found = [EventRow(*row) for row in cursor.fetchall()]
    if len(found) != len(positions):  # whoever goes by these rows must not take what is missing for done
        raise LookupError(f"{len(positions) - len(found)} of {len(positions)} positions have no event in the log")
    return found


def read_window(
    cursor: Any, range_: Range, *, after: int, limit: int, unwanted: Sequence[str], until: int | None = None
) -> Window:
    """The wanted of the next entries after a position: `limit` at most, none beyond `until` (by default the head)."""
    end = head_position(cursor) if until is None else until
    # The log has no gaps, so a span of positions bounds the cost whatever the planner makes of old statistics: it may
    # fetch and sort all of the span. Twice the span in which `limit` entries are expected, for buckets vary.
    expected = limit * BUCKETS // (range_.high - range_.low + 1)
    end = min(end, after + max(2 * expected, LEAST_SPAN))
    if end <= after:
        return Window([], after, 0)
    cursor.execute(_READ[range_.follows], [after, end, range_.low, range_.high, limit, list(unwanted)])
    found = cursor.fetchall()
    rows = [EventRow(*row) for row in found if row[1] is not None]
    return Window(rows, found[-1][0] if len(found) == limit else end, len(found))


def known_prefix(window: Window, registry: EventRegistry) -> Window:
    """The window up to the first event that no code knows. Raises `UnknownEventType` when that is the first."""
    for index, row in enumerate(window.rows):
        try:
            registry.named(row.event_type, row.schema_version)
        except UnknownEventType:
            if index == 0:
                raise
            known = window.rows[:index]
            return Window(known, known[-1].position or 0, len(known))
    return window
