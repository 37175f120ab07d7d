"""How long a process that serves others waits for its database: each statement has an end there, and silence one here.

Invariant: whoever waits for a statement is told within `SILENCE_SECONDS` that there is no answer, whatever stands in
between: a peer that vanished is found out by probes (`config.settings.NETWORK_PATIENCE`), one that acknowledges and
says nothing, as a pooler that hangs, by nothing else. The connection is then closed, and what became of the statement
is unknown, as after any lost connection. Commands and migrations may take as long as they need.
Called by `config.asgi`, `config.wsgi`, `config.celery` and, for `dispatch`, by `manage.py`.
"""

from functools import partial
from typing import Any, Final

import psycopg
from django.db.backends.signals import connection_created

STATEMENT_SECONDS: Final = 25
"""What the server gives a statement. It ends before we turn away, so that it is not left at work for nobody."""

SILENCE_SECONDS: Final = 30
"""How long an answer, or the next part of one, may take to come."""


def limit_statements() -> None:
    """Has every connection of this process limited as it is opened."""
    connection_created.connect(_limit, dispatch_uid="config.statement_limits")


def _limit(*, connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql":
        session = connection.connection
        session.wait = partial(_wait, session)
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")


def _wait(session: Any, work: Any, *arguments: Any, timeout: float | None = None, **named: Any) -> Any:
    """Stands in the place of `psycopg.Connection.wait`, which waits for ever unless it is told a time."""
    limit = SILENCE_SECONDS if timeout is None else timeout
    try:
        return type(session).wait(session, work, *arguments, timeout=limit, **named)
    except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - it has no public name
        if timeout is not None:
            raise
        session.close()
        raise psycopg.OperationalError(f"no answer from the database for {limit} s") from error
