"""The hub: one look at the database every moment for all listeners of a process, none while nobody listens.

Invariants: everything in here but the look itself runs on the event loop; a listener that reads too slowly loses the
list and is told that everything may have changed; one that comes back gets what it missed. Used by `stream`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from django.db import Error, connection

from views_readmodel.live.changes import Change, Positions, changes_between, positions

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.2
TROUBLE_SECONDS: Final = 2.0
"""How long to leave the database alone when it did not answer."""
KEPT_SECONDS: Final = 15.0
"""How long changes are kept for listeners that come back, or that are just opening their page."""
MOST_WAITING: Final = 64
"""Batches that a slow listener may be behind."""


class Batch(NamedTuple):
    """What one look has found. None: anything may have changed."""

    number: int
    at: float  # monotonic seconds
    changes: list[Change] | None


Waiting = asyncio.Queue[Batch | None]  # None: the server stops


class Hub:
    """All listeners of this process."""

    def __init__(self) -> None:
        self.epoch = uuid4().hex[:8]  # numbers of batches mean nothing to another process
        self._listeners: set[Waiting] = set()
        self._kept: deque[Batch] = deque()
        self._number = 0
        self.looked_at = 0.0  # monotonic seconds of the last look that the database answered
        self._watcher: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live")
        self._stopping = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    @asynccontextmanager
    async def listening(self, *, seen: int | None) -> AsyncIterator[Waiting]:
        """A queue of batches for one listener; `seen` is the number of the last one it had from this process."""
        waiting: Waiting = asyncio.Queue(maxsize=MOST_WAITING)
        if self._stopping:
            waiting.put_nowait(None)
        if missed := self._missed(seen):
            waiting.put_nowait(_merged(missed))
        self._listeners.add(waiting)
        if self._watcher is None and not self._stopping:
            self._watcher = asyncio.create_task(self._watch())
        try:
            yield waiting
        finally:
            self._listeners.discard(waiting)

    def stop(self) -> None:
        """Ends every stream; the server is about to stop."""
        self._stopping = True
        for waiting in self._listeners:
            _replace(waiting, None)

    def _missed(self, seen: int | None) -> list[Batch]:
        """What a listener has not had; that anything may have changed when nobody was looking meanwhile."""
        if self._watcher is None or (seen is not None and self._kept and seen < self._kept[0].number - 1):
            return [Batch(self._number, monotonic(), None)]
        return [batch for batch in self._kept if batch.number > (seen or 0)]

    async def _watch(self) -> None:
        """Looks again and again, until nobody listens any more."""
        try:
            before: Positions | None = None
            idle_since = monotonic()
            while not self._stopping and (self._listeners or monotonic() - idle_since < KEPT_SECONDS):
                if self._listeners:
                    idle_since = monotonic()
                before = await self._look(before)
                await asyncio.sleep(LOOK_SECONDS if before is not None else TROUBLE_SECONDS)
        finally:
            self._watcher = None
            self._kept.clear()
            self._thread.submit(_hang_up)

    async def _look(self, before: Positions | None) -> Positions | None:
        """One look. None when the database did not answer; afterwards anything may have changed."""
        loop = asyncio.get_running_loop()
        try:
            after = await loop.run_in_executor(self._thread, positions)
            if before is None:
                self._tell(None)
            elif before != after:
                self._tell(await loop.run_in_executor(self._thread, changes_between, before, after))
        except Error as error:
            logger.warning("Live updates cannot look: %s", type(error).__name__)
            self._thread.submit(_hang_up)
            return None
        self.looked_at = monotonic()
        return after

    def _tell(self, changes: list[Change] | None) -> None:
        self._number += 1
        batch = Batch(self._number, monotonic(), changes)
        self._kept.append(batch)
        while self._kept[0].at < batch.at - KEPT_SECONDS:
            self._kept.popleft()
        for waiting in self._listeners:
            if waiting.full():
                _replace(waiting, Batch(batch.number, batch.at, None))
            else:
                waiting.put_nowait(batch)


def _merged(batches: list[Batch]) -> Batch:
    """One batch that tells what several did."""
    last = batches[-1]
    found: dict[tuple[str, UUID], Change] = {}
    for batch in batches:
        if batch.changes is None:
            return Batch(last.number, last.at, None)
        found |= {(change.stream_type, change.stream_id): change for change in batch.changes}
    return Batch(last.number, last.at, list(found.values()))


def _hang_up() -> None:
    """Closes the database connection of the thread that this runs in."""
    connection.close()


def _replace(waiting: Waiting, batch: Batch | None) -> None:
    """Everything that waits gives way to one batch."""
    while not waiting.empty():
        waiting.get_nowait()
    waiting.put_nowait(batch)
