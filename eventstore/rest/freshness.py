"""Reading what was just written: waiting for a version, and for an end.

Read models follow the log with a short delay. A reader names the version that it has seen a write answer with, and
waits until the read model shows it; or it says `Prefer: wait=SECONDS` (RFC 7240). Waiting holds no transaction open,
but it holds a thread of the server: only so many may wait at one time, half of them for the same principal at most, and
whoever comes beyond that is told at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from time import monotonic, sleep
from typing import Final, TypeVar

from eventstore.conf import store_settings

T = TypeVar("T")

MAX_WAIT_SECONDS: Final = 5.0
"""How long a reader waits for a version."""

MAX_PREFERRED_WAIT_SECONDS: Final = 10
"""How long `Prefer: wait` is honoured at most; more would tie up the server when nobody dispatches."""

_principal: Final[ContextVar[str | None]] = ContextVar("principal", default=None)
"""Who asks, in the thread that answers: a member of the staff by page or API, or a program. None: nobody is counted."""

_FIRST_PAUSE_SECONDS: Final = 0.004
_LONGEST_PAUSE_SECONDS: Final = 0.05
_WAIT: Final = re.compile(r'\s*wait\s*=\s*"?(\d{1,6})"?\s*(;.*)?', re.ASCII | re.IGNORECASE)


class NotYetVisible(Exception):
    """What was written is not visible here yet; ask again in a moment."""

    code = "not_yet_visible"


class TooManyWaiting(NotYetVisible):
    """It is not visible here yet, and too many others are waiting; ask again in a moment."""


def read_until(read: Callable[[], T], *, enough: Callable[[T], bool], seconds: float = MAX_WAIT_SECONDS) -> T:
    """Reads again and again until it is `enough`, or for so many seconds; answers with what was read last.

    Raises `TooManyWaiting` when it is not enough at once and all places to wait are taken (`MOST_WAITING`), or half of
    them by whoever asks (`asking_as`).
    """
    found = read()
    if enough(found) or seconds <= 0:
        return found
    with _places(store_settings().MOST_WAITING).taken_by(_principal.get()):
        return _read_on(read, enough, deadline=monotonic() + seconds)


@contextmanager
def asking_as() -> Iterator[Callable[[str], object]]:
    """While one request is answered: what is given to the function is the principal, whose places are counted."""
    before = _principal.set(None)
    try:
        yield _principal.set
    finally:
        _principal.reset(before)


class _Places:
    """The places to wait, and who has how many of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._lock = Lock()
        self._taken = 0
        self._taken_by: Counter[str] = Counter()

    @contextmanager
    def taken_by(self, principal: str | None) -> Iterator[None]:
        """One of them. Raises `TooManyWaiting`."""
        with self._lock:
            if self._taken >= self._most or (principal and self._taken_by[principal] >= self._most_of_one):
                raise TooManyWaiting
            self._count(principal, 1)
        try:
            yield
        finally:
            with self._lock:
                self._count(principal, -1)

    def _count(self, principal: str | None, number: int) -> None:
        self._taken += number
        if principal:
            self._taken_by[principal] += number
            if not self._taken_by[principal]:
                del self._taken_by[principal]


@cache  # the setting is the same for as long as a process serves
def _places(most: int) -> _Places:
    return _Places(most)


def _read_on(read: Callable[[], T], enough: Callable[[T], bool], *, deadline: float) -> T:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        found = read()
        remaining = deadline - monotonic()
        if enough(found) or remaining <= 0:
            return found
        sleep(min(pause, remaining))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def preferred_wait(prefer: str) -> int | None:
    """The seconds of a `wait` in a `Prefer` header, or None; the first one counts, what is ill-formed is ignored."""
    for preference in prefer.split(","):
        found = _WAIT.fullmatch(preference)
        if found is not None:
            return int(found[1])
    return None
