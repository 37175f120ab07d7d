"""What has changed in the read models since the last look: one cheap query when nothing has.

A projection's checkpoint moves in the transaction that writes its tables, so whatever lies before it can be seen. The
events between two looks name the streams that changed. Used by the hub, from one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from uuid import UUID

from django.db import connection

from eventstore.subscriptions.registry import subscriptions

MOST_POSITIONS: Final = 2_000
"""After a longer way than this nobody wants a list: everything may have changed."""

# How far the projections have come in each range of buckets; not those that a replay is building beside them.
_POSITIONS: Final = """
SELECT subscription, bucket_low, bucket_high, position
FROM eventstore_checkpoint
WHERE subscription = ANY(%s) AND status <> 'replaying'
"""

# The streams that have events in a piece of the log, with the newest version there.
_STREAMS: Final = """
SELECT e.stream_type, e.stream_id, max(e.version)
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position > %s AND l.position <= %s AND l.stream_bucket BETWEEN %s AND %s
GROUP BY e.stream_type, e.stream_id
"""


class Range(NamedTuple):
    """A projection's checkpoint: which buckets of the log it has handled."""

    projection: str
    low: int
    high: int


class Change(NamedTuple):
    """A stream whose read model has changed, and the version that it shows at least."""

    stream_type: str
    stream_id: UUID
    version: int


Positions = Mapping[Range, int]


def positions() -> dict[Range, int]:
    """How far the projections have come."""
    projections = [projection.id for projection in subscriptions.projections()]
    with connection.cursor() as cursor:
        cursor.execute(_POSITIONS, [projections])
        return {Range(*row[:3]): row[3] for row in cursor.fetchall()}


def changes_between(before: Positions, after: Positions) -> list[Change] | None:
    """What can be seen now that could not before; None: too much to tell, or a projection was rebuilt."""
    if before.keys() != after.keys():
        return None
    spans = {(range_.low, range_.high, before[range_], after[range_]) for range_ in after}
    moved = [span for span in spans if span[2] != span[3]]
    if any(until < since or until - since > MOST_POSITIONS for _, _, since, until in moved):
        return None
    found: dict[tuple[str, UUID], int] = {}
    with connection.cursor() as cursor:
        for low, high, since, until in sorted(moved):
            cursor.execute(_STREAMS, [since, until, low, high])
            for stream_type, stream_id, version in cursor.fetchall():
                found[stream_type, stream_id] = max(version, found.get((stream_type, stream_id), 0))
    return [Change(stream_type, stream_id, version) for (stream_type, stream_id), version in found.items()]
