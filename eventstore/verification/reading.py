"""Short transactions that see one moment: what the checks read with.

Invariant: none is open while somebody computes for long, so that a check holds back neither the clean-up of dead rows
nor a replay that swaps tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from django.db import connections, transaction
from psycopg import sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from eventstore.verification.findings import EVER_AFTER, EVER_BEFORE

# One snapshot for the whole transaction, taken with its first query.
_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# Keeps a table from being swapped for another. A name is looked up as it is now, whatever the snapshot sees, so this
# must come before the snapshot (https://www.postgresql.org/docs/current/sql-lock.html).
_HOLD_TABLE = "LOCK TABLE {table} IN ACCESS SHARE MODE"

# psycopg's own: Django's is written in Python, and would take a third of the time that a check takes.
_TIMES = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT)


class _AnyTime(Loader):
    """Reads a time that Python cannot tell as one that no other is, so that a check names the row that has it."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        assert _TIMES is not None  # noqa: S101 - psycopg brings it
        self._load = _TIMES(oid, context).load

    def load(self, data: Buffer) -> datetime:
        """The time, or `EVER_AFTER` or `EVER_BEFORE`."""
        try:
            found: datetime = self._load(data)
        except psycopg.DataError:
            text = bytes(data)
            return EVER_BEFORE if text.startswith(b"-") or text.endswith(b"BC") else EVER_AFTER
        return found


@contextmanager
def one_moment(*, using: str, tables: Sequence[sql.Identifier] = ()) -> Iterator[Any]:
    """A cursor whose queries all see the same moment; `tables` are those that a replay might swap."""
    with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
        cursor.execute(_ONE_SNAPSHOT)
        cursor.adapters.register_loader("timestamptz", _AnyTime)
        for table in tables:
            cursor.execute(sql.SQL(_HOLD_TABLE).format(table=table))
        yield cursor
