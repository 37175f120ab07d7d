"""Wake-ups by Celery: `EVENTSTORE = {"WAKE": "eventstore.celery_wakeup.wake"}`.

A mark in Django's cache says that a wake-up is under way, so that a thousand commits send one. Whoever takes the
wake-up clears the mark *before* it reads. When the broker is away a breaker keeps commits from waiting for it.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import Final

import structlog
from celery import current_app
from django.core.cache import cache

_log = structlog.get_logger(__name__)

QUEUE: Final = "eventstore"
DISPATCH_TASK: Final = "eventstore.dispatch"

MARK_SECONDS: Final = 5
"""How long a mark counts: a wake-up that was lost with its worker is sent again after that."""
BREAKER_SECONDS: Final = 2.0
"""How long nothing is sent after the broker could not be reached; the sweep finds what was committed meanwhile."""

_KEY = "eventstore:woken:{}"


class Breaker:
    """Stops trying for a while after a failure: only one commit in that time waits for a broker that is away."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._closed_from = 0.0
        self._lock = Lock()

    def is_open(self) -> bool:
        """Whether nothing should be tried now. Lets one caller through when the time is over."""
        with self._lock:
            now = time.monotonic()
            if now < self._closed_from:
                return True
            if self._closed_from:  # the first after the pause tries for all
                self._closed_from = now + self._seconds
            return False

    def is_trying(self) -> bool:
        """Whether the last attempt failed, so that nobody knows what became of it."""
        with self._lock:
            return self._closed_from > 0.0

    def failed(self) -> None:
        """The broker could not be reached."""
        with self._lock:
            self._closed_from = time.monotonic() + self._seconds

    def succeeded(self) -> None:
        """The broker was reached."""
        with self._lock:
            self._closed_from = 0.0


breaker: Final = Breaker(seconds=BREAKER_SECONDS)


def wake(using: str) -> None:
    """Sends a wake-up unless one is under way. Raises what the broker's client raises, after at most half a second."""
    if breaker.is_open():
        return
    try:
        # A mark that was set when the broker could not be reached says nothing: its wake-up may never have been sent.
        if cache.add(_KEY.format(using), 1, timeout=MARK_SECONDS) or breaker.is_trying():
            current_app.send_task(DISPATCH_TASK, kwargs={"using": using}, queue=QUEUE, retry=False, ignore_result=True)
    except Exception:
        breaker.failed()
        raise
    breaker.succeeded()


def clear_mark(using: str) -> None:
    """From now on a commit sends a wake-up again. Called before reading; when the cache is away, the mark expires."""
    try:
        cache.delete(_KEY.format(using))
    except Exception as error:  # noqa: BLE001 - whatever the cache's client raises: handling goes on without it
        _log.warning("eventstore.mark_not_cleared", error=repr(error))
