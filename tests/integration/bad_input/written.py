"""What is written, in every table of the database: to compare before and after what must write nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

_TABLES = """
SELECT format('%I.%I', schemaname, tablename)
FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
    AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT')
ORDER BY 1
"""

Written = dict[str, tuple[int, int]]


def written() -> Written:
    """Of each table the number of its rows, and the sum of the transactions that wrote them: an update changes that."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        tables = [name for (name,) in cursor.fetchall()]
        counts = (
            f"SELECT '{name}', count(*), COALESCE(sum(xmin::text::bigint), 0)::bigint FROM {name}" for name in tables
        )
        cursor.execute(" UNION ALL ".join(counts))
        return {name: (rows, transactions) for name, rows, transactions in cursor.fetchall()}


@contextmanager
def nothing_is_written(*, but: str = "") -> Iterator[None]:
    """Fails when anything in any table is different at the end, but in the one table that is named."""
    before = written()
    yield
    after = written()
    changed = {
        name: (before.get(name), after[name]) for name in after if before.get(name) != after[name] and name != but
    }
    assert not changed, f"written, before and after: {changed}"
