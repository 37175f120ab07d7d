"""A limit on how long a handler may go on, so that one that hangs is known by name and parked like one that fails.

Invariant: only a handler that computes, sleeps or waits for something beside the database is interrupted. A statement
under way is the server's affair, which has limits of its own: what is slow there says nothing about the event.

Handlers run in the main thread of a worker's process, where a signal interrupts whatever they are at. Elsewhere, as
where sweeps in need run, they are interrupted between two steps of Python, which a long sleep puts off. What nothing
here reaches, the limits of server and worker end (docs/adr/0020-handlers-have-a-deadline.md). Imported by `handling`
alone.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
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
    limit = _Alarm if threading.current_thread() is threading.main_thread() else _Watcher
    try:
        with limit(seconds, connections[using]):
            yield
    except _Interruption:
        raise HandlerTooSlow(seconds) from None


class _Alarm(AbstractContextManager[None]):
    """Has the system's timer interrupt the main thread."""

    def __init__(self, seconds: float, connection: Any) -> None:
        self._seconds = seconds
        self._connection = connection
        self._over = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        signal.setitimer(signal.ITIMER_REAL, self._seconds, AGAIN_SECONDS)

    def __exit__(self, *_: object) -> None:
        try:
            self._over = True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._over and not _in_statement(self._connection):
            raise _Interruption


class _Watcher(AbstractContextManager[None]):
    """Has another thread interrupt this one, as far as Python does that."""

    def __init__(self, seconds: float, connection: Any) -> None:
        self._seconds = seconds
        self._connection = connection
        self._over = threading.Event()
        self._lock = threading.Lock()  # whoever leaves is not interrupted after that
        self._watched = threading.get_ident()
        self._thrown = False

    def __enter__(self) -> None:
        threading.Thread(target=self._watch, name="deadline", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
        finally:
            self._leave()
        if self._thrown:
            _take_what_is_on_its_way()

    def _leave(self) -> None:
        with self._lock:
            self._over.set()

    def _watch(self) -> None:
        seconds = self._seconds
        while not self._over.wait(seconds):
            seconds = AGAIN_SECONDS
            with self._lock:
                if not self._over.is_set() and not _in_statement(self._connection):
                    self._thrown = True
                    _throw(self._watched, _Interruption)


def _throw(thread: int, exception: type[BaseException]) -> None:
    """Has a thread raise an exception at its next step.

    It cannot be taken back: with none in its place the interpreter goes on looking for it for ever.
    """
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))


def _take_what_is_on_its_way() -> None:
    """An interruption that has not arrived yet does so within these steps, and not in what comes next."""
    with suppress(_Interruption):
        for _ in range(100):
            pass


def _in_statement(connection: Any) -> bool:
    """Whether the server is at work for us."""
    session = connection.connection
    return session is not None and session.pgconn.transaction_status == TransactionStatus.ACTIVE
