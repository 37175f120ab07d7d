"""Wake-ups by Celery: `EVENTSTORE = {"WAKE": "eventstore.celery_wakeup.wake"}`.

Invariant: who commits never talks to the broker. `wake` leaves a note for a thread of this process, which sends; while
the broker is away it tries every two seconds and keeps the note, so that the first thing the broker hears when it is
back is that there is something to do (docs/adr/0016-wake-ups-leave-the-request.md).

A mark in Django's cache says that a wake-up is under way, so that a thousand commits send one. Whoever takes the
wake-up clears the mark *before* it reads.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Final

import structlog
from celery import current_app
from django.core.cache import cache

_log = structlog.get_logger(__name__)

QUEUE: Final = "eventstore"
DISPATCH_TASK: Final = "eventstore.dispatch"

MARK_SECONDS: Final = 5
"""How long a mark counts: a wake-up that was lost with its worker is sent again after that."""
RETRY_SECONDS: Final = 2.0
"""How long nothing is sent after the broker could not be reached; a sweep finds what was committed meanwhile."""
LAST_WORDS_SECONDS: Final = 0.3
"""How long a process that ends waits for its last wake-up to leave."""

_KEY = "eventstore:woken:{}"


class Sender:
    """Sends this process's wake-ups, from a thread that begins with the first of them."""

    def __init__(self, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._retry_seconds = retry_seconds
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forgets all. After a fork: the lock may be held by a thread that only the other process has."""
        self._changed = threading.Condition()
        self._wanted: set[str] = set()
        self._sending = False
        self._away = False
        self._begun = False

    @property
    def is_away(self) -> bool:
        """Whether the broker could not be reached when that was last tried."""
        return self._away

    def want(self, using: str) -> None:
        """Leaves a note; answers at once."""
        with self._changed:
            if using in self._wanted:
                return
            self._wanted.add(using)
            self._changed.notify_all()
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._run, name="wake-ups", daemon=True).start()

    def wait_until_tried(self, *, seconds: float) -> bool:
        """Waits until nothing is left to send, or it is known that the broker is away; answers whether all left."""
        with self._changed:
            self._changed.wait_for(lambda: self._away or not (self._wanted or self._sending), seconds)
            return not (self._wanted or self._sending)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted)
                using = self._wanted.pop()
                self._sending = True
            error = self._try(using)
            with self._changed:
                self._sending = False
                if error is not None:
                    self._wanted.add(using)
                self._tell(error)
                self._away = error is not None
                self._changed.notify_all()
            if error is not None:
                time.sleep(self._retry_seconds)

    def _try(self, using: str) -> Exception | None:
        try:
            # A mark from before the broker went away says nothing: its wake-up may have gone with it.
            send(using, whatever_the_mark=self._away)
        except Exception as error:  # noqa: BLE001 - whatever the clients raise: it is tried again
            return error
        return None

    def _tell(self, error: Exception | None) -> None:
        """Says in the log when the broker goes, and when it is back; not at each try."""
        if error is not None and not self._away:
            _log.warning("eventstore.broker_away", error=repr(error))
        if error is None and self._away:
            _log.warning("eventstore.broker_back")


sender: Final = Sender()


def _after_fork() -> None:
    sender.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(sender.wait_until_tried, seconds=LAST_WORDS_SECONDS)


def wake(using: str) -> None:
    """Has a wake-up sent; answers at once, whatever has become of the broker."""
    sender.want(using)


def is_broker_away() -> bool:
    """Whether this process could not reach the broker when it last had something to send."""
    return sender.is_away


def send(using: str, *, whatever_the_mark: bool = False) -> None:
    """Sends a wake-up unless one is under way. Raises what the clients raise, after at most half a second each."""
    if cache.add(_KEY.format(using), 1, timeout=MARK_SECONDS) or whatever_the_mark:
        current_app.send_task(DISPATCH_TASK, kwargs={"using": using}, queue=QUEUE, retry=False, ignore_result=True)


def clear_mark(using: str) -> None:
    """From now on a commit sends a wake-up again. Called before reading; when the cache is away, the mark expires."""
    try:
        cache.delete(_KEY.format(using))
    except Exception as error:  # noqa: BLE001 - whatever the cache's client raises: handling goes on without it
        _log.warning("eventstore.mark_not_cleared", error=repr(error))
