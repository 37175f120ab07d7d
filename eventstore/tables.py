"""What a projection reads and writes its rows with, in the live tables and in a replay's shadow of them alike.

Invariants: table names are unqualified, and a transaction-local search path says which schema they are in; a batch
costs one statement to read and one to write; rows are written in the order of their keys.
Projections import `Table`, `Row` and `Tables`; whoever prepares a database calls `ensure_tables`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
import structlog
from django.db import connections, transaction
from psycopg import sql

from eventstore.subscriptions.registry import Projection, SubscriptionRegistry
from eventstore.subscriptions.registry import subscriptions as default_subscriptions

_log = structlog.get_logger(__name__)

ROWS_PER_STATEMENT: Final = 2_000
"""Rows go to the database in one JSON array a statement. On 2,000 rows that wrote 77,000 a second, COPY into a stage
and a merge 57,000, and an array a column 44,000; one with more rows only takes more memory."""

ADVISORY_CLASS: Final = 0x4556_5354
"""The first half of the event store's two-part advisory locks; streams use the other, one-part kind."""
_ENSURE_TABLES_LOCK: Final = 1

# Which schema unqualified names mean, until the transaction ends.
_SET_SEARCH_PATH = "SELECT set_config('search_path', quote_ident(%s) || ', public, pg_temp', true)"

# The rows of these keys.
_FETCH = """
SELECT {columns} FROM json_to_recordset(%s) AS wanted ({key_types}) JOIN {table} AS found USING ({key})
"""

# Rows that are not there yet.
_INSERT = """
INSERT INTO {table} ({columns}) SELECT {columns} FROM json_to_recordset(%s) AS row ({types})
ON CONFLICT ({key}) DO NOTHING
"""

# Rows as they are from now on; what is there already and as new stays.
_UPSERT = """
INSERT INTO {table} AS present ({columns}) SELECT {columns} FROM json_to_recordset(%s) AS row ({types})
ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE present.{version} < excluded.{version}
"""

# Two processes that make tables take turns.
_LOCK = "SELECT pg_advisory_xact_lock(%s, %s)"

_SCHEMA_EXISTS = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s"
_CREATE_SCHEMA = "CREATE SCHEMA {schema}"
_DROP_TABLE = "DROP TABLE IF EXISTS {table}"

# The tables in a schema that were made for a projection, and from what.
_SELECT_MADE_FOR = """
SELECT c.relname, split_part(d.description, ' ', 2)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
WHERE n.nspname = %s AND c.relkind = 'r' AND split_part(d.description, ' ', 1) = %s
ORDER BY c.relname
"""

# Marks a table as a projection's.
_MARK = "COMMENT ON TABLE {table} IS {mark}"

# New tables are empty: whoever had come further begins anew.
_BEGIN_ANEW = """
UPDATE eventstore_checkpoint SET position = 0, projection_version = %s, careful_until = NULL
WHERE subscription = %s AND (position > 0 OR projection_version <> %s)
"""

_TYPES: Final[dict[Any, str]] = {
    UUID: "uuid",
    str: "text",
    int: "bigint",
    bool: "boolean",
    datetime: "timestamptz",
    date: "date",
    Decimal: "numeric",
    dict: "jsonb",
}


class Row(msgspec.Struct, frozen=True):
    """The base of a read model's rows: immutable; the fields are the columns, in the same order."""


R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """One table of a projection, as the projection sees it.

    `key` are the columns of its primary key. `version` is the column that grows with every change of a row: an upsert
    never puts an older row in the place of a newer one. Without it rows are only ever added. Columns in `fixed` keep
    the value they were inserted with, so that what the database derives from them alone is not derived anew each time.
    `key_of` is a row's key: the value of its column, or a tuple of several.
    """

    def __init__(
        self,
        name: str,
        row: type[R],
        *,
        key: tuple[str, ...],
        version: str | None = None,
        fixed: tuple[str, ...] = (),
    ) -> None:
        self.name: Final = name
        self.row: Final = row
        self.key: Final = key
        self.columns: Final = row.__struct_fields__
        types_of = _column_types(row)
        self.key_of: Final[Callable[[R], Any]] = attrgetter(*key)
        # A UUID compares as its number does, only slower.
        self.order: Final = attrgetter(*(f"{column}.int" if types_of[column] == "uuid" else column for column in key))
        self._json_columns: Final = [index for index, type_ in enumerate(types_of.values()) if type_ == "jsonb"]
        names = self._names(version, kept=key + fixed)
        self.fetch: Final = sql.SQL(_FETCH).format(**names)
        self.write: Final = sql.SQL(_INSERT if version is None else _UPSERT).format(**names)

    def _names(self, version: str | None, *, kept: tuple[str, ...]) -> dict[str, sql.Composable]:
        types_of = _column_types(self.row)
        changes = [column for column in self.columns if column not in kept]
        return {
            "table": sql.Identifier(self.name),
            "columns": sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            "types": _definitions(types_of),
            "key": sql.SQL(", ").join(map(sql.Identifier, self.key)),
            "key_types": _definitions({column: types_of[column] for column in self.key}),
            "version": sql.Identifier(version or ""),
            "changes": sql.SQL(", ").join(
                sql.SQL("{column} = excluded.{column}").format(column=sql.Identifier(column)) for column in changes
            ),
        }

    def row_of(self, values: Sequence[Any]) -> R:
        """The row from its columns, where jsonb comes as text."""
        decoded = list(values)
        for index in self._json_columns:
            if decoded[index] is not None:
                decoded[index] = msgspec.json.decode(decoded[index])
        return self.row(*decoded)


class Tables:
    """A projection's tables within the open transaction."""

    def __init__(self, cursor: Any, *, schema: str) -> None:
        self._cursor = cursor
        use_schema(cursor, schema)

    @classmethod
    def live(cls, cursor: Any, projection: Projection) -> Tables:
        """The tables that are read from."""
        return cls(cursor, schema=projection.schema)

    @classmethod
    def shadow(cls, cursor: Any, projection: Projection) -> Tables:
        """The tables that a replay builds beside them."""
        return cls(cursor, schema=shadow_schema(projection))

    def fetch(self, table: Table[R], keys: Collection[Any]) -> dict[Any, R]:
        """The rows of these keys that are there, by key."""
        if not keys:
            return {}
        parts = ((key if isinstance(key, tuple) else (key,)) for key in keys)
        wanted = [dict(zip(table.key, part, strict=True)) for part in parts]
        self._cursor.execute(table.fetch, [_json(wanted)])
        rows = (table.row_of(values) for values in self._cursor.fetchall())
        return {table.key_of(row): row for row in rows}

    def write(self, table: Table[R], rows: Collection[R]) -> None:
        """Adds the rows; where the table has a version, a row that is there and older is replaced.

        At most one row of each key.
        """
        # Sorted: two transactions that write the same rows in different orders would wait for each other for ever.
        waiting = sorted(rows, key=table.order)
        for start in range(0, len(waiting), ROWS_PER_STATEMENT):
            self._cursor.execute(table.write, [_json(waiting[start : start + ROWS_PER_STATEMENT])])


def shadow_schema(projection: Projection) -> str:
    """Where a replay builds the projection's tables."""
    return f"{projection.schema}_shadow"


def old_schema(projection: Projection) -> str:
    """Where the tables that a replay has replaced wait to be dropped."""
    return f"{projection.schema}_old"


def use_schema(cursor: Any, schema: str) -> None:
    """Lets unqualified names mean this schema, and the event store's own tables, until the transaction ends."""
    cursor.execute(_SET_SEARCH_PATH, [schema])


def made_from(projection: Projection) -> str:
    """What the projection's tables are made from, shortened: its version and its DDL."""
    return f"{projection.version}:{sha256(projection.ddl.encode()).hexdigest()[:16]}"


def tables_made(cursor: Any, projection: Projection, *, schema: str) -> dict[str, str]:
    """The projection's tables in a schema, those of other versions of it included, and what they were made from."""
    cursor.execute(_SELECT_MADE_FOR, [schema, projection.id])
    return dict(cursor.fetchall())


def create_tables(cursor: Any, projection: Projection, *, schema: str) -> None:
    """Makes the projection's tables, empty."""
    ensure_schema(cursor, schema)
    use_schema(cursor, schema)
    cursor.execute(projection.ddl)
    for table in projection.tables:
        mark = sql.Literal(f"{projection.id} {made_from(projection)}")
        cursor.execute(sql.SQL(_MARK).format(table=sql.Identifier(schema, table), mark=mark))


def drop_tables(cursor: Any, projection: Projection, *, schema: str) -> None:
    """Drops the projection's tables, those of other versions of it included."""
    for table in tables_made(cursor, projection, schema=schema):
        cursor.execute(sql.SQL(_DROP_TABLE).format(table=sql.Identifier(schema, table)))


def ensure_tables(*, using: str = "default", registry: SubscriptionRegistry = default_subscriptions) -> list[str]:
    """Makes the live tables that are missing, as the connected role; answers with the projections that had none.

    Harmless when repeated, and when two processes do it at once. Tables of another version are left alone: a replay
    builds the new ones beside them. A projection whose tables were lost is filled again from the log's beginning.
    """
    made = []
    for projection in registry.projections():
        with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
            if tables_made(cursor, projection, schema=projection.schema):
                continue
            cursor.execute(_LOCK, [ADVISORY_CLASS, _ENSURE_TABLES_LOCK])
            if tables_made(cursor, projection, schema=projection.schema):
                continue
            cursor.execute(_BEGIN_ANEW, [projection.version, projection.id, projection.version])
            for schema in (projection.schema, shadow_schema(projection), old_schema(projection)):
                ensure_schema(cursor, schema)
            create_tables(cursor, projection, schema=projection.schema)
            made.append(projection.id)
            _log.info("eventstore.tables_made", projection=projection.id, version=projection.version)
    return made


def ensure_schema(cursor: Any, schema: str) -> None:
    """Makes the schema when it is missing, which needs the right to create one in the database."""
    cursor.execute(_SCHEMA_EXISTS, [schema])
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL(_CREATE_SCHEMA).format(schema=sql.Identifier(schema)))


def _json(rows: Sequence[Any]) -> str:
    return msgspec.json.encode(rows).decode()


def _definitions(types_of: Mapping[str, str]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type_)) for column, type_ in types_of.items()
    )


def _column_types(row: type[Row]) -> dict[str, str]:
    """The database types of a row's fields. Raises TypeError for a field that no column can hold."""
    hints = get_type_hints(row)
    return {field: _column_type(f"{row.__qualname__}.{field}", hints[field]) for field in row.__struct_fields__}


def _column_type(field: str, hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = [part for part in get_args(hint) if part is not type(None)]
    found = _TYPES.get(get_origin(hint) or hint)
    if found is None:
        raise TypeError(f"{field}: no column type for {hint!r}")
    return found
