"""Turns a moment into a range of event ids, so that searching by time needs no index.

Ids grow with `recorded_at`, but for the length of a transaction and what two servers' clocks differ by. A binary
search over the primary key finds where a moment lies; `ALLOWANCE` at both ends covers the disorder, and the exact
time is compared within (docs/adr/0014-event-searches.md).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connections

ALLOWANCE: Final = timedelta(minutes=1)

# Nothing was recorded before or after them, and the calendar goes on by more than the allowance.
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)

# The first id from which on events were recorded at a moment or later: some twenty steps for a million events.
_SELECT_FIRST_ID = """
WITH RECURSIVE search (low, high) AS (
    SELECT COALESCE(min(id), 0), COALESCE(max(id), -1) + 1 FROM eventstore_event
    UNION ALL
    SELECT CASE WHEN probe.recorded_at < %s THEN probe.id + 1 ELSE search.low END,
        CASE WHEN probe.recorded_at < %s THEN search.high ELSE middle.id END
    FROM search
    CROSS JOIN LATERAL (SELECT (search.low + search.high) / 2 AS id) AS middle
    CROSS JOIN LATERAL (
        SELECT e.id, e.recorded_at FROM eventstore_event e WHERE e.id >= middle.id ORDER BY e.id LIMIT 1
    ) AS probe
    WHERE search.low < search.high
)
SELECT low FROM search WHERE low >= high LIMIT 1
"""


def first_id_since(moment: datetime, *, using: str) -> int:
    """No event before this id was recorded at the moment or later."""
    return _first_id(max(moment, _EARLIEST) - ALLOWANCE, using=using)


def first_id_after(moment: datetime, *, using: str) -> int:
    """No event from this id on was recorded before the moment."""
    return _first_id(min(moment, _LATEST) + ALLOWANCE, using=using)


def _first_id(moment: datetime, *, using: str) -> int:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_FIRST_ID, [moment, moment])
        return int(cursor.fetchone()[0])
