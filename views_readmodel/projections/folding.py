"""Applies a batch of events to a projection's tables. Only projections import this module.

Two shapes of table suffice: one row a stream, which each event takes further, and rows that are only added. Both leave
an event that was handled before without effect, so that a batch may come twice, in part or as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from eventstore.events import RecordedEvent
from eventstore.tables import Row, Table, Tables

R = TypeVar("R", bound=Row)
EvolveRow = Callable[[R | None, RecordedEvent[Any]], R]


def fold_into(tables: Tables, table: Table[R], evolve_row: EvolveRow[R], events: Sequence[RecordedEvent[Any]]) -> None:
    """Takes the row of each event's stream further; a row that several events touch is written once."""
    before = tables.fetch(table, {recorded.stream_id for recorded in events})
    after: dict[UUID, R] = dict(before)
    for recorded in events:
        after[recorded.stream_id] = evolve_row(after.get(recorded.stream_id), recorded)
    tables.write(table, [row for stream_id, row in after.items() if row is not before.get(stream_id)])


def add_to(tables: Tables, table: Table[R], rows: Iterable[R]) -> None:
    """Adds rows; one that is there already, in the table or twice in the batch, is the same row."""
    tables.write(table, list({table.key_of(row): row for row in rows}.values()))
