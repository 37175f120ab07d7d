"""Reading what was just written: waiting for a version, and for an end.

Read models follow the log with a short delay. A reader names the version that it has seen a write answer with, and
waits until the read model shows it; or it says `Prefer: wait=SECONDS` (RFC 7240). Waiting holds no transaction open,
but it holds a thread of the server: only so many may wait at one time, whoever comes beyond them is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from threading import BoundedSemaphore
from time import monotonic, sleep
from typing import Final, TypeVar

from eventstore.conf import store_settings

T = TypeVar("T")

MAX_WAIT_SECONDS: Final = 5.0
"""How long a reader waits for a version."""

MAX_PREFERRED_WAIT_SECONDS: Final = 10
"""How long `Prefer: wait` is honoured at most; more would tie up the server when nobody dispatches."""

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

    Raises `TooManyWaiting` when it is not enough at once and all places to wait are taken (`MOST_WAITING`).
    """
    found = read()
    if enough(found) or seconds <= 0:
        return found
    places = _places(store_settings().MOST_WAITING)
    if not places.acquire(blocking=False):
        raise TooManyWaiting
    try:
        return _read_on(read, enough, deadline=monotonic() + seconds)
    finally:
        places.release()


@cache  # the setting is the same for as long as a process serves
def _places(most: int) -> BoundedSemaphore:
    return BoundedSemaphore(most)


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
