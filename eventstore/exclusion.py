"""Migrations and replays exclude each other: neither changes tables under the other.

A replay is many short transactions, each of which holds a shared lock against migrations; between them its lease (see
`shadow`) says that it goes on. A migration that has something to do waits for no replay: it says which one runs, and
ends. `apps` connects the receivers.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

from django.core.management.base import CommandError
from django.db import connections

from eventstore.tables import ADVISORY_CLASS

LEASE_SECONDS: Final = 10.0
"""How long a replay may show no sign of life before another takes over. A batch takes a small part of it."""
_LOCK: Final = 2
_PATIENCE_SECONDS: Final = 15.0
"""How long a migration waits to learn whether a replay lives: longer than the lease of one that was killed."""
_PAUSE_SECONDS: Final = 0.1

# A replay's part of the exclusion, until its transaction ends.
_HOLD_OFF_MIGRATIONS = "SELECT pg_try_advisory_xact_lock_shared(%s, %s)"

# A migration's part. It spans many transactions, so the session holds it: whoever migrates must not do so through a
# pooler that changes sessions between transactions.
_HOLD_OFF_REPLAYS = "SELECT pg_try_advisory_lock(%s, %s)"
_LET_REPLAYS_GO_ON = "SELECT pg_advisory_unlock(%s, %s)"

# Whether the event store has its tables yet.
_HAS_TABLES = "SELECT to_regclass('eventstore_checkpoint') IS NOT NULL"

# The replays that have shown a sign of life, and until when it counts. One that counts for longer than any does was
# given before the clock was set back.
_SELECT_LEASES = """
SELECT subscription, held_until FROM eventstore_checkpoint
WHERE status = 'replaying'
    AND held_until BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => %s)
ORDER BY subscription
"""


class MigrationRunning(Exception):
    """The database is being migrated."""


def hold_off_migrations(cursor: Any) -> None:
    """Lets no migration begin until this transaction ends. Raises `MigrationRunning` when one has begun."""
    cursor.execute(_HOLD_OFF_MIGRATIONS, [ADVISORY_CLASS, _LOCK])
    if not cursor.fetchone()[0]:
        raise MigrationRunning("the database is being migrated: run this again when that is done")


def begin_migration(*, plan: list[Any], using: str, **_: Any) -> None:
    """Django's `pre_migrate`: lets no replay begin. Raises CommandError when one is running, or another migration."""
    if not plan:
        return
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with connections[using].cursor() as cursor:
        first_seen = _leases(cursor)
        while not _take(cursor):
            renewed = [name for name, lease in _leases(cursor).items() if lease != first_seen.get(name)]
            if renewed:
                raise CommandError(
                    f"{', '.join(renewed)} is being built: wait for the replay, or stop it, then migrate"
                )
            if time.monotonic() > deadline:
                raise CommandError("another migration is running: wait for it, then migrate")
            time.sleep(_PAUSE_SECONDS)


def end_migration(*, plan: list[Any], using: str, **_: Any) -> None:
    """Django's `post_migrate`: lets replays begin again. After a failure the end of the session does it."""
    if not plan:
        return
    with connections[using].cursor() as cursor:
        cursor.execute(_LET_REPLAYS_GO_ON, [ADVISORY_CLASS, _LOCK])


def _take(cursor: Any) -> bool:
    """Takes the lock if no replay runs. Looks first, or it would trip one up; looks again, for one may have begun."""
    if _leases(cursor):
        return False
    cursor.execute(_HOLD_OFF_REPLAYS, [ADVISORY_CLASS, _LOCK])
    if not cursor.fetchone()[0]:
        return False
    if not _leases(cursor):
        return True
    cursor.execute(_LET_REPLAYS_GO_ON, [ADVISORY_CLASS, _LOCK])
    return False


def _leases(cursor: Any) -> dict[str, datetime]:
    """The replays that have shown a sign of life, and until when it counts."""
    cursor.execute(_HAS_TABLES)
    if not cursor.fetchone()[0]:
        return {}
    cursor.execute(_SELECT_LEASES, [LEASE_SECONDS])
    return dict(cursor.fetchall())
