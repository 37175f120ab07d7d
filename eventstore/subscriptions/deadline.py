"""A limit on how long a handler may go on, so that one that hangs is known by name and parked like one that fails.

Invariant: only a handler that computes, sleeps or waits for something beside the database is interrupted. A statement
under way is the server's affair, which has limits of its own: what is slow there says nothing about the event.

Handlers run in the main thread of a worker's process, which is where Python lets a signal interrupt them. In any other
thread there is no such limit; there the server's `idle_in_transaction_session_timeout` ends the transaction, and the
stamp of the attempt tells (docs/adr/0020-handlers-have-a-deadline.md). Imported by `handling` alone.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from django.db import connections
from psycopg.pq import TransactionStatus

AGAIN_SECONDS: Final = 1.0
"""When a handler is interrupted once more that has caught the first interruption, or stood in a statement then."""


class HandlerTooSlow(Exception):
    """The handler did not come to an end in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the handler was interrupted after {seconds:g} s")


class _Interruption(BaseException):
    """Passes a handler that catches every exception."""


@contextmanager
def within(seconds: float, *, using: str) -> Iterator[None]:
    """Gives what is inside so many seconds. Raises `HandlerTooSlow`; the connection should then not be used again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not over and not _in_statement(using):
            raise _Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
            yield
        finally:
            over = True
    except _Interruption:
        raise HandlerTooSlow(seconds) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_statement(using: str) -> bool:
    """Whether the server is at work for us."""
    connection: Any = connections[using].connection
    return connection is not None and connection.pgconn.transaction_status == TransactionStatus.ACTIVE
