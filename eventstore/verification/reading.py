"""Short transactions that see one moment: what the checks read with.

Invariant: none is open while somebody computes for long, so that a check holds back neither the clean-up of dead rows
nor a replay that swaps tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from psycopg import sql
from psycopg.types.datetime import TimestamptzLoader

# One snapshot for the whole transaction, taken with its first query.
_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# Keeps a table from being swapped for another. A name is looked up as it is now, whatever the snapshot sees, so this
# must come before the snapshot (https://www.postgresql.org/docs/current/sql-lock.html).
_HOLD_TABLE = "LOCK TABLE {table} IN ACCESS SHARE MODE"


@contextmanager
def one_moment(*, using: str, tables: Sequence[sql.Identifier] = ()) -> Iterator[Any]:
    """A cursor whose queries all see the same moment; `tables` are those that a replay might swap."""
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_ONE_SNAPSHOT)
        # Django's loader of times is written in Python, and would take a third of the time that a check takes.
        cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
        for table in tables:
            cursor.execute(sql.SQL(_HOLD_TABLE).format(table=table))
        yield cursor
