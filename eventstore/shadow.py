"""A replay's shadow: the tables that it builds beside the live ones, how far they have come, and who builds them.

The shadow's checkpoint is a row like any other, named "<projection>@shadow" and never dispatched. Whoever builds it
has a lease on it, renewed in every transaction, so that a replay that was killed can be resumed and two never mix:
each transaction locks the row and sees whether the lease is still its own. Only `replay` imports this module, and the
checks of what is parked and of the checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connections, transaction
from msgspec.structs import replace
from psycopg import sql

from eventstore.exclusion import LEASE_SECONDS, hold_off_migrations
from eventstore.ids import new_id
from eventstore.subscriptions.registry import Follows, Projection, Subscription, SubscriptionRegistry
from eventstore.tables import create_tables, drop_tables, made_from, shadow_schema, tables_made

_PAUSE_SECONDS: Final = 0.05
_SHADOW: Final = "@shadow"

# Whatever the server's default is: a later statement must see what was committed since the transaction began.
_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"

# A shadow's checkpoint; two processes may do this at once.
_INSERT = """
INSERT INTO eventstore_checkpoint
    (subscription, follows, bucket_low, bucket_high, position, projection_version, status)
VALUES (%s, %s, 0, 255, 0, %s, 'replaying')
ON CONFLICT (subscription, bucket_low) DO NOTHING
"""

# The right to go on building, and whether somebody has a lease. One that ends later than a lease does was given before
# the clock was set back.
_LOCK = """
SELECT position, held_reason, held_until, coalesce(
    held_until BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => %s), false
)
FROM eventstore_checkpoint WHERE subscription = %s FOR UPDATE
"""

# How far the shadow has come; renews the lease.
_MOVE = """
UPDATE eventstore_checkpoint
SET position = %s, projection_version = %s, held_reason = %s, heartbeat_at = clock_timestamp(),
    held_until = clock_timestamp() + make_interval(secs => %s)
WHERE subscription = %s
"""

# Ends the lease, so that the next does not wait for it to run out.
_RELEASE = "UPDATE eventstore_checkpoint SET held_until = NULL WHERE subscription = %s AND held_reason = %s"

# How far a shadow has come, and whether somebody is building it.
_SELECT = """
SELECT position, coalesce(
    held_until BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => %s), false
)
FROM eventstore_checkpoint WHERE subscription = %s
"""

_DELETE = "DELETE FROM eventstore_checkpoint WHERE subscription = %s"

# A vacuum of the shadow, busy with all that was just written, would hold up the swap.
_DO_NOT_VACUUM = "ALTER TABLE {table} SET (autovacuum_enabled = false)"

# What could not be handled while building.
_DELETE_PARKED_EVENTS = "DELETE FROM eventstore_parked_event WHERE subscription = %s"
_DELETE_PARKED_KEYS = "DELETE FROM eventstore_parked_key WHERE subscription = %s"


class ReplayInProgress(Exception):
    """Another process is replaying this projection."""


class _Found(NamedTuple):
    position: int
    holder: str
    held_until: datetime | None
    held: bool


class Shadow:
    """The shadow of one projection, as one process builds it."""

    def __init__(self, projection: Projection, *, using: str) -> None:
        self.projection: Final = projection
        self.subscription: Final = replace(projection, id=shadow_id(projection))
        self._using = using
        self._holder = f"replay {new_id()}"

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A short transaction, beside which nobody migrates. Raises `MigrationRunning`."""
        with transaction.atomic(using=self._using, durable=True), connections[self._using].cursor() as cursor:
            cursor.execute(_READ_COMMITTED)
            hold_off_migrations(cursor)
            yield cursor

    def claim(self, *, restart: bool = False) -> int:
        """Takes the right to build, and answers with the position to go on from: where an interrupted replay stands.

        That is 0 for a new one, or with `restart`. Raises `ReplayInProgress` when another process shows that it lives;
        one that was killed is waited out.
        """
        first_seen: datetime | None = None
        while True:
            with self.transaction() as cursor:
                cursor.execute(_INSERT, [self.subscription.id, Follows.STREAM, self.projection.version])
                found = self._lock(cursor)
                if not found.held:
                    return self._take(cursor, found, restart=restart)
            first_seen = first_seen or found.held_until
            if found.held_until != first_seen:
                raise ReplayInProgress(
                    f"{self.projection.id} is being replayed by another process, see its progress there"
                )
            time.sleep(_PAUSE_SECONDS)

    def lock(self, cursor: Any) -> int:
        """Locks the shadow until the transaction ends; answers with its position. Raises `ReplayInProgress`."""
        found = self._lock(cursor)
        if found.holder != self._holder:
            raise ReplayInProgress(f"another process has taken over the replay of {self.projection.id}")
        return found.position

    def move(self, cursor: Any, position: int) -> None:
        """Everything up to the position is in the shadow, or parked."""
        values = [position, self.projection.version, self._holder, LEASE_SECONDS, self.subscription.id]
        cursor.execute(_MOVE, values)

    def release(self) -> None:
        """Lets another process go on from here at once."""
        with connections[self._using].cursor() as cursor:
            cursor.execute(_RELEASE, [self.subscription.id, self._holder])

    def forget(self, cursor: Any) -> None:
        """There is no shadow any more: its tables have become the live ones."""
        cursor.execute(_DELETE, [self.subscription.id])

    def _lock(self, cursor: Any) -> _Found:
        cursor.execute(_LOCK, [LEASE_SECONDS, self.subscription.id])
        found = cursor.fetchone()
        if found is None:
            raise ReplayInProgress(f"another process has finished the replay of {self.projection.id}")
        return _Found(*found)

    def _take(self, cursor: Any, found: _Found, *, restart: bool) -> int:
        position = 0 if restart or not can_be_resumed(cursor, self.projection) else found.position
        if position == 0:
            self._begin_anew(cursor)
        self.move(cursor, position)
        return position

    def _begin_anew(self, cursor: Any) -> None:
        drop_tables(cursor, self.projection, schema=shadow_schema(self.projection))
        create_tables(cursor, self.projection, schema=shadow_schema(self.projection))
        for table in self.projection.tables:
            name = sql.Identifier(shadow_schema(self.projection), table)
            cursor.execute(sql.SQL(_DO_NOT_VACUUM).format(table=name))
        cursor.execute(_DELETE_PARKED_EVENTS, [self.subscription.id])
        cursor.execute(_DELETE_PARKED_KEYS, [self.subscription.id])


def shadow_id(projection: Projection) -> str:
    """What the shadow's checkpoint and its parked keys are filed under."""
    return f"{projection.id}{_SHADOW}"


def is_shadow(id: str) -> bool:
    """Whether this is what a shadow is filed under."""
    return id.endswith(_SHADOW)


def subscription_of(id: str, registry: SubscriptionRegistry) -> Subscription | None:
    """The subscription, or the projection whose shadow has this id; None when this program knows neither."""
    return registry.get(id.removesuffix(_SHADOW))


def can_be_resumed(cursor: Any, projection: Projection) -> bool:
    """Whether the shadow's tables are there and made from what the program has today."""
    made = tables_made(cursor, projection, schema=shadow_schema(projection))
    return made == dict.fromkeys(projection.tables, made_from(projection))


def progress_of(projection: Projection, *, using: str) -> tuple[int, bool] | None:
    """The position that an earlier replay has reached and whether it is running, or None when there is none."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT, [LEASE_SECONDS, shadow_id(projection)])
        found = cursor.fetchone()
        if found is None:
            return None
        return found[0] if can_be_resumed(cursor, projection) else 0, found[1]
