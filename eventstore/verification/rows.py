"""Checks read models: every column of every row is what the projection's own functions make of the stream.

A row and its checkpoint move in one transaction, so in one moment the rows of a stream show its events up to the
checkpoint's position and no further: nothing has to stand still for this to be exact. A stream that a projection has
parked shows its events up to the first parked one.

Invariant: a value that comes from a sealed field is never shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from psycopg import sql

from eventstore.buckets import BUCKETS, bucket_of
from eventstore.events import RecordedEvent
from eventstore.subscriptions.registry import Projection
from eventstore.tables import Row, Table, made_from, tables_made
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, shown
from eventstore.verification.reading import one_moment
from eventstore.verification.walking import (
    ANY_VERSION,
    Chunk,
    Found,
    Segment,
    Slot,
    Span,
    Stored,
    StreamCheck,
)

PERSONAL: Final = "(personal)"
"""Stands for a value that must not be shown."""

# How far the projection has come, by range of buckets.
_SELECT_CHECKPOINTS = """
SELECT bucket_low, bucket_high, position, projection_version FROM eventstore_checkpoint WHERE subscription = %s
"""

# From which position on a stream's events are parked.
_SELECT_PARKED = """
SELECT k.key, min(e.position)
FROM eventstore_parked_key k JOIN eventstore_parked_event e ON e.parked_key_id = k.id
WHERE k.subscription = %s AND k.key BETWEEN %s AND %s
GROUP BY k.key
"""

# The columns of a table, and whether the database itself derives them; none when there is no such table.
_SELECT_COLUMNS = """
SELECT a.attname, a.attgenerated <> ''
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class t ON t.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = %s AND t.relname = %s AND t.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

# The indexes of a table that are in use; the columns of those that keep them apart in all rows, at once.
_SELECT_INDEXES = """
SELECT x.relname, CASE WHEN i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL THEN ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, ordinal)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum
    ORDER BY k.ordinal
) END
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = %s AND t.relname = %s AND i.indisvalid AND i.indisready
"""

# An index that a projection declares by name.
_DECLARED_INDEX: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+) ON (\w+)")

# The last stream of which there is a row.
_SELECT_LAST = "SELECT {stream} FROM {table} ORDER BY {stream} DESC LIMIT 1"

# The rows of whole streams, with that of the stream where the span begins unless it ended there.
_SELECT_KEPT = """
SELECT {columns} FROM {table}
WHERE {stream} >= %s AND ({stream} > %s OR %s) AND {stream} <= %s
ORDER BY {stream} LIMIT %s
"""

# The rows of a span of streams and versions.
_SELECT_ADDED = """
SELECT {columns} FROM {table}
WHERE ({stream}, {version}) > (%s, %s) AND ({stream}, {version}) <= (%s, %s)
ORDER BY {stream}, {version} LIMIT %s
"""

R = TypeVar("R", bound=Row)


class Standing(NamedTuple):
    """How far a projection had come in the moment of a chunk."""

    positions: Sequence[int]  # by bucket
    parked: Mapping[UUID, int]  # stream -> its first parked position
    versions: frozenset[int | None]  # of the projection whose tables these are; another than ours until a replay

    def limit(self, stream_id: UUID) -> int:
        """The last position that the stream's rows show."""
        reached = self.positions[bucket_of(stream_id)]
        parked = self.parked.get(stream_id)
        return reached if parked is None else min(reached, parked - 1)


class RowsCheck(StreamCheck, Generic[R]):
    """What the checks of both shapes of table share."""

    unit = "rows"

    def __init__(self, *, projection: Projection, table: Table[R], statement: str) -> None:
        super().__init__()
        self.name = f"{projection.schema}.{table.name}"
        self.proves = f"Each row of the read model {table.name} is what the events make of it, in every column."
        self._projection = projection
        self._table = table
        self._personal: frozenset[str] = frozenset()
        self._exists = False
        names = {
            "columns": sql.SQL(", ").join(map(sql.Identifier, table.columns)),
            "table": sql.Identifier(projection.schema, table.name),
            "stream": sql.Identifier(table.key[0]),
            "version": sql.Identifier(table.key[-1]),
        }
        self._statement = sql.SQL(statement).format(**names)
        self._select_last = sql.SQL(_SELECT_LAST).format(**names)

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Compares the table's columns and indexes with those that the projection declares."""
        types = [scope.registry.type_of(cls) for cls in self._projection.handles]
        self._personal = frozenset(field for known in types for field in known.sealed)
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_COLUMNS, [self._projection.schema, self._table.name])
            columns: dict[str, bool] = dict(cursor.fetchall())
            cursor.execute(_SELECT_INDEXES, [self._projection.schema, self._table.name])
            indexes: dict[str, list[str] | None] = dict(cursor.fetchall())
            made = tables_made(cursor, self._projection, schema=self._projection.schema).get(self._table.name)
        self._exists = columns.keys() >= set(self._table.columns)
        declared = made_from(self._projection)
        if made in (None, declared):
            yield from self._column_differences(columns)
            yield from self._index_differences(indexes)
        else:
            self.leave_out(
                f"its columns and indexes: the table was made from {made} of {self._projection.id}, and this program's"
                f" is {declared}: replay it, or ask the program that made it"
            )

    def _column_differences(self, columns: Mapping[str, bool]) -> Iterator[Difference]:
        kept = set(self._table.columns)
        for column in sorted(kept - columns.keys()):
            yield Difference(field=f"column {column}", expected=PRESENT, actual=MISSING)
        for column in sorted(name for name, generated in columns.items() if name not in kept and not generated):
            yield Difference(field=f"column {column}", expected="kept from events, or generated", actual="neither")

    def _index_differences(self, indexes: Mapping[str, Sequence[str] | None]) -> Iterator[Difference]:
        if not self._exists:
            return
        if list(self._table.key) not in indexes.values():
            yield Difference(field=f"unique index on ({', '.join(self._table.key)})", expected=PRESENT, actual=MISSING)
        for index, table in _DECLARED_INDEX.findall(self._projection.ddl):
            if table == self._table.name and index not in indexes:
                yield Difference(field=f"index {index}", expected=PRESENT, actual=MISSING)

    def tables(self) -> Sequence[tuple[str, str]]:
        """The one table."""
        return [(self._projection.schema, self._table.name)] if self._exists else []

    def last_stream(self, cursor: Any) -> UUID | None:
        """The last that has a row."""
        if not self._exists:
            return None
        cursor.execute(self._select_last)
        return next((stream_id for (stream_id,) in cursor.fetchall()), None)

    def read(self, cursor: Any, span: Span, limit: int) -> Found:
        """The table's rows, and how far they have come."""
        if not self._exists:
            return Found()
        standing = self._standing(cursor, span)
        cursor.execute(self._statement, self._parameters(span, limit))
        rows = [self._table.row_of(row) for row in cursor.fetchall()]
        return Found([(self._slot(row), row) for row in rows], standing)

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk."""
        if not self._exists:
            return
        standing: Standing = found.context
        if not standing.versions <= {self._projection.version}:
            versions = " and ".join(sorted(map(shown, standing.versions)))
            self.leave_out(
                f"its rows are those of version {versions} of {self._projection.id}, and this program's are of version"
                f" {self._projection.version}: replay it, or ask the program that made them"
            )
            self.counts["rows of another version of the projection, not compared"] += len(found.rows)
            return
        for stream_id in standing.parked:
            position = standing.parked[stream_id]
            if any(segment.stream_id == stream_id and segment.ends for segment in chunk.segments):
                self.remark("streams that wait behind a parked event", f"{stream_id} from position {position} on")
        rows = dict(found.rows)
        if len(rows) < len(found.rows):
            yield from _repeated(chunk, found.rows)
        yield from self._compare_rows(chunk, rows, standing)

    def _standing(self, cursor: Any, span: Span) -> Standing:
        positions, versions = [0] * BUCKETS, set()
        cursor.execute(_SELECT_CHECKPOINTS, [self._projection.id])
        for low, high, position, version in cursor.fetchall():
            versions.add(version)
            positions[low : high + 1] = [position] * (high + 1 - low)
        cursor.execute(_SELECT_PARKED, [self._projection.id, span.after.stream_id, span.until.stream_id])
        return Standing(positions, dict(cursor.fetchall()), frozenset(versions))

    def _handled(self, event: Stored) -> RecordedEvent[Any] | None:
        recorded = event.recorded
        return recorded if recorded is not None and type(recorded.data) in self._projection.handles else None

    def _row_differences(self, stream: str, expected: R | None, actual: R | None) -> Iterator[Difference]:
        version = getattr(expected or actual, self._table.key[-1]) if len(self._table.key) > 1 else None
        if expected is None or actual is None:
            yield Difference(
                stream=stream,
                version=version,
                field="row",
                expected=MISSING if expected is None else PRESENT,
                actual=MISSING if actual is None else PRESENT,
            )
            return
        for column in self._table.columns:
            wanted, is_ = getattr(expected, column), getattr(actual, column)
            if wanted != is_:
                yield Difference(
                    stream=stream,
                    version=version,
                    field=column,
                    expected=self._shown(column, wanted),
                    actual=self._shown(column, is_),
                )

    def _shown(self, column: str, value: object) -> str:
        return PERSONAL if column in self._personal else shown(value)

    def _parameters(self, span: Span, limit: int) -> list[Any]:
        raise NotImplementedError

    def _slot(self, row: R) -> Slot:
        raise NotImplementedError

    def _compare_rows(self, chunk: Chunk, rows: dict[Slot, R], standing: Standing) -> Iterator[Difference]:
        raise NotImplementedError


def _repeated(chunk: Chunk, rows: Sequence[tuple[Slot, Any]]) -> Iterator[Difference]:
    """Keys that more than one row has, whatever is in them: no reader can tell which is meant."""
    names = {segment.stream_id: segment.name for segment in chunk.segments}
    for slot, count in Counter(slot for slot, _ in rows).items():
        if count > 1 and slot <= chunk.span.until:  # the row of a stream that was cut off is read again
            yield Difference(
                stream=names.get(slot.stream_id, str(slot.stream_id)),
                version=None if slot.version == ANY_VERSION else slot.version,
                field="rows of this key",
                expected="one",
                actual=str(count),
            )


class _Kept(Generic[R]):
    """The row that a stream should have, as far as its events were seen."""

    def __init__(self) -> None:
        self.row: R | None = None
        self.last_position = 0
        self.judged = False
        self.doubtful = False


class KeptRowsCheck(RowsCheck[R]):
    """A table with one row a stream, which each event takes further."""

    def __init__(
        self,
        *,
        projection: Projection,
        table: Table[R],
        evolve: Callable[[R | None, RecordedEvent[Any]], R],
    ) -> None:
        super().__init__(projection=projection, table=table, statement=_SELECT_KEPT)
        self._evolve = evolve
        self._kept: _Kept[R] = _Kept()

    def _parameters(self, span: Span, limit: int) -> list[Any]:
        goes_on = span.after.version != ANY_VERSION
        return [span.after.stream_id, span.after.stream_id, goes_on, span.until.stream_id, limit]

    def _slot(self, row: R) -> Slot:
        return Slot(getattr(row, self._table.key[0]), ANY_VERSION)

    def _compare_rows(self, chunk: Chunk, rows: dict[Slot, R], standing: Standing) -> Iterator[Difference]:
        for segment in chunk.segments:
            if segment.begins:
                self._kept = _Kept()
            slot = Slot(segment.stream_id, ANY_VERSION)
            actual = rows.get(slot)
            beyond = self._take(segment, standing.limit(segment.stream_id))
            # A stream that was cut off is judged in the moment in which its row falls behind its events.
            if not self._kept.judged and (beyond or segment.ends):
                self._kept.judged = True
                yield from self._judge(segment, actual)
            if segment.ends:
                rows.pop(slot, None)
        for slot, row in rows.items():
            if slot.stream_id != chunk.cut_off:
                self.examined += 1
                yield from self._row_differences(str(slot.stream_id), None, row)

    def _take(self, segment: Segment, limit: int) -> bool:
        """Takes the row further, up to a position; answers whether there are events beyond it."""
        kept = self._kept
        kept.doubtful |= kept.last_position > limit  # the projection was set back while a long stream was read
        for event in segment.events:
            if event.position is None or event.position > limit:
                return True
            if kept.judged or kept.doubtful:
                continue
            kept.last_position = event.position
            recorded = self._handled(event)
            kept.doubtful |= event.recorded is None
            if recorded is not None:
                try:
                    kept.row = self._evolve(kept.row, recorded)
                except Exception:  # noqa: BLE001 - the history itself is wrong, which another check names
                    kept.doubtful = True
        return False

    def _judge(self, segment: Segment, actual: R | None) -> Iterator[Difference]:
        if self._kept.doubtful:
            self.remark("rows that could not be compared", segment.name)
            return
        self.examined += actual is not None
        if actual != self._kept.row:
            yield from self._row_differences(segment.name, self._kept.row, actual)


class AddedRowsCheck(RowsCheck[R]):
    """A table to which an event may add a row, of the key (stream, version)."""

    def __init__(
        self,
        *,
        projection: Projection,
        table: Table[R],
        rows_of: Callable[[RecordedEvent[Any]], Sequence[R]],
    ) -> None:
        super().__init__(projection=projection, table=table, statement=_SELECT_ADDED)
        self._rows_of = rows_of

    def _parameters(self, span: Span, limit: int) -> list[Any]:
        return [*span.after, *span.until, limit]

    def _slot(self, row: R) -> Slot:
        stream, version = self._table.key
        return Slot(getattr(row, stream), getattr(row, version))

    def _compare_rows(self, chunk: Chunk, rows: dict[Slot, R], standing: Standing) -> Iterator[Difference]:
        self.examined += len(rows)
        for segment in chunk.segments:
            limit = standing.limit(segment.stream_id)
            for event in segment.events:
                for expected in self._expected(segment, event, limit):
                    actual = rows.pop(self._slot(expected), None)
                    if actual != expected:
                        yield from self._row_differences(segment.name, expected, actual)
        names = {segment.stream_id: segment.name for segment in chunk.segments}
        for slot, row in rows.items():
            stream = names.get(slot.stream_id, str(slot.stream_id))
            yield from self._row_differences(stream, None, row)

    def _expected(self, segment: Segment, event: Stored, limit: int) -> Sequence[R]:
        recorded = self._handled(event)
        if recorded is None or event.position is None or event.position > limit:
            return ()
        try:
            return self._rows_of(recorded)
        except Exception:  # noqa: BLE001 - the history itself is wrong, which another check names
            self.remark("rows that could not be compared", segment.name)
            return ()
