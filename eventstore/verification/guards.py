"""Checks that the database still defends history: the constraints and triggers that the migrations made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, StoreCheck
from eventstore.verification.reading import one_moment

UNIQUE_COLUMNS: Final = {
    "eventstore_event": (("id",), ("event_id",), ("stream_id", "version")),
    "eventstore_outbox": (("event_id",),),
    "eventstore_log": (("position",), ("event_id",)),
    "eventstore_sequencer": (("id",),),
    "eventstore_seal": (("last_position",), ("previous_hash",)),
    "eventstore_checkpoint": (("id",), ("subscription", "bucket_low")),
    "eventstore_parked_key": (("id",), ("subscription", "key")),
    "eventstore_parked_event": (("id",), ("subscription", "position")),
    "eventstore_snapshot": (("id",), ("stream_id", "version", "state_version")),
    "eventstore_idempotency_record": (("id",), ("principal", "key")),
}
"""What no two rows of a table may share."""

APPEND_ONLY: Final = ("eventstore_event", "eventstore_log", "eventstore_operation", "eventstore_seal")
"""Tables whose rows are never changed or removed."""

# The unique columns of each table, where a valid index sees to it.
_SELECT_UNIQUE = """
SELECT t.relname, ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, ordinal)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum
    ORDER BY k.ordinal
)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE t.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name))
    AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
"""

# Tables with a trigger before UPDATE, DELETE and TRUNCATE that fires whoever writes. The type is a bit mask: 2 before,
# 8 DELETE, 16 UPDATE, 32 TRUNCATE (src/include/catalog/pg_trigger.h).
_SELECT_DEFENDED = """
SELECT t.relname
FROM pg_catalog.pg_trigger g
JOIN pg_catalog.pg_class t ON t.oid = g.tgrelid
JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
WHERE t.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name))
    AND g.tgenabled = 'A' AND g.tgtype & (2 | 8 | 16 | 32) = (2 | 8 | 16 | 32) AND p.prosrc LIKE '%%RAISE EXCEPTION%%'
"""


class GuardsCheck(StoreCheck):
    """Reads the database's own catalogue."""

    name = "guards"
    unit = "indexes and triggers"
    proves = (
        "The database itself still refuses to rewrite history and to store an event, a version or a position twice."
    )

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_UNIQUE, [list(UNIQUE_COLUMNS)])
            unique = {(table, tuple(columns)) for table, columns in cursor.fetchall()}
            cursor.execute(_SELECT_DEFENDED, [list(APPEND_ONLY)])
            defended = {table for (table,) in cursor.fetchall()}
        wanted = [(table, columns) for table, keys in UNIQUE_COLUMNS.items() for columns in keys]
        self.examined = len(wanted) + len(APPEND_ONLY)
        for table, columns in wanted:
            if (table, columns) not in unique:
                field = f"unique index on {table} ({', '.join(columns)})"
                yield Difference(field=field, expected=PRESENT, actual=MISSING)
        for table in APPEND_ONLY:
            if table not in defended:
                field = f"trigger that keeps {table} append-only"
                yield Difference(field=field, expected=PRESENT, actual=MISSING)
