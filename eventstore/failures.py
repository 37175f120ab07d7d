"""What went wrong in the database, by its own names rather than by message text.

Tells apart what a repeat can cure (a lost connection, a deadlock, a full disk), what somebody must give back to the
database before anything succeeds (a right, a table), and what lies in the work itself.
"""

from __future__ import annotations

from typing import Final

import psycopg
from django.db import DatabaseError, InterfaceError, OperationalError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_RESTRICT_VIOLATION: Final = "23001"  # raised by the triggers on history
_UNIQUE_VIOLATION: Final = "23505"
_SERIALIZATION_FAILURE: Final = "40001"
_DEADLOCK_DETECTED: Final = "40P01"
_INSUFFICIENT_PRIVILEGE: Final = "42501"
_LOCK_NOT_AVAILABLE: Final = "55P03"
# Connection lost, transaction rolled back, resources short (disk full …), objects in use, operator intervention
# (shutdown, cancelled query), input/output error: none of them says anything about the event at hand.
_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})
# The server takes no changes now: it is a standby, or was told so.
_READ_ONLY_STATE: Final = "25006"
# A right, a table or a schema is gone.
_LACKING_STATES: Final = frozenset({_INSUFFICIENT_PRIVILEGE, "42P01", "3F000"})
# The transaction stood idle, or it or one statement of it went on, for longer than the server allows.
_TOO_LONG_STATES: Final = frozenset({"25P03", "25P04", "57014"})


def sqlstate_of(error: BaseException) -> str:
    """The SQLSTATE behind a database error, or "" when the server gave none (a lost connection).

    Django wraps the driver's errors, but not those that come in the middle of a COPY.
    """
    return getattr(error.__cause__, "sqlstate", None) or getattr(error, "sqlstate", None) or ""


def violated_constraint(error: DatabaseError) -> str | None:
    """The name of the unique constraint that refused, or None when it was something else."""
    if sqlstate_of(error) != _UNIQUE_VIOLATION:
        return None
    diagnostics = getattr(error.__cause__, "diag", None)
    return getattr(diagnostics, "constraint_name", None)


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a lock was not had within `lock_timeout`."""
    return sqlstate_of(error) == _LOCK_NOT_AVAILABLE


def is_refused_rewriting(error: BaseException) -> bool:
    """Whether the database refused to rewrite what is written for good: by a trigger, or for want of a right."""
    return sqlstate_of(error) in (_RESTRICT_VIOLATION, _INSUFFICIENT_PRIVILEGE)


def is_lost_race(error: BaseException) -> bool:
    """Whether the transaction was rolled back for another's sake, so that a restart is sure to be right."""
    return sqlstate_of(error) in (_SERIALIZATION_FAILURE, _DEADLOCK_DETECTED)


def took_too_long(error: BaseException) -> bool:
    """Whether the server ended the transaction, or a statement, because nothing, or not enough, came of it in time."""
    return sqlstate_of(error) in _TOO_LONG_STATES


def lacks_ground(error: BaseException) -> bool:
    """Whether a right, a table or a schema is not there: no event's fault but everybody's, until it is given back."""
    return sqlstate_of(error) in _LACKING_STATES


def is_passing(error: BaseException) -> bool:
    """Whether the same work may well succeed later, with nothing mended in the program or the data."""
    if isinstance(error, InterfaceError | psycopg.InterfaceError):
        return True
    if not isinstance(error, DatabaseError | psycopg.DatabaseError):
        return False
    state = sqlstate_of(error)
    if not state:
        return isinstance(error, OperationalError | psycopg.OperationalError)
    return state[:2] in _PASSING_CLASSES or state in _TOO_LONG_STATES or state == _READ_ONLY_STATE
