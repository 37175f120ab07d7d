"""The hub of live updates: everybody hears, nobody is waited for, nothing is missed, nothing is asked for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from django.db import OperationalError

from views_readmodel.live import hub as hub_module
from views_readmodel.live.changes import Change, Positions, Range
from views_readmodel.live.hub import MOST_WAITING, Batch, Hub, Waiting

WAIT_SECONDS = 5.0
ALL = Range("views.accounts", 0, 255)


class Log:
    """Stands for the database: where the projections are, and what changed on the way there."""

    def __init__(self) -> None:
        self.position = 0
        self.looks = 0
        self.away = False
        self.changes: list[Change] | None = []

    def positions(self) -> Positions:
        """Where they are."""
        self.looks += 1
        if self.away:
            raise OperationalError("the connection is closed")
        return {ALL: self.position}

    def changes_between(self, _before: Positions, _after: Positions) -> list[Change] | None:
        """What changed."""
        return self.changes

    def move(self, *changes: Change) -> None:
        """Some streams change."""
        self.changes = list(changes)
        self.position += len(changes)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()
    monkeypatch.setattr(hub_module, "positions", found.positions)
    monkeypatch.setattr(hub_module, "changes_between", found.changes_between)
    monkeypatch.setattr(hub_module, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(hub_module, "TROUBLE_SECONDS", 0.001)
    monkeypatch.setattr(hub_module, "_hang_up", lambda: None)
    return found


def _run(story: Callable[[Hub], Awaitable[None]]) -> None:
    async def within() -> None:
        hub = Hub()
        try:
            await asyncio.wait_for(story(hub), WAIT_SECONDS)
        finally:
            hub.stop()

    asyncio.run(within())


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def _next(waiting: Waiting) -> Batch:
    batch = await waiting.get()
    assert batch is not None
    return batch


def _change() -> Change:
    return Change("account", uuid4(), 3)


def test_all_listeners_hear_of_a_change(log: Log) -> None:
    async def story(hub: Hub) -> None:
        async with hub.listening(seen=None) as first, hub.listening(seen=None) as second:
            await _until(lambda: hub.looked_at > 0)
            log.move(change := _change())
            for waiting in (first, second):
                batch = await _next(waiting)
                while batch.changes is None:  # what was before they came is not known
                    batch = await _next(waiting)
                assert batch.changes == [change]

    _run(story)


def test_whoever_comes_back_hears_what_they_missed_and_no_more(log: Log) -> None:
    async def story(hub: Hub) -> None:
        async with hub.listening(seen=None) as waiting:
            await _until(lambda: hub.looked_at > 0)
            log.move(_change())
            while (seen := await _next(waiting)).changes is None:
                pass
            log.move(missed := _change())
            await _next(waiting)
            log.move(missed_too := _change())
            await _next(waiting)
            async with hub.listening(seen=seen.number) as back:
                assert (await _next(back)).changes == [missed, missed_too]

    _run(story)


def test_a_slow_listener_holds_nobody_up_and_is_told_that_anything_may_have_changed(log: Log) -> None:
    async def story(hub: Hub) -> None:
        async with hub.listening(seen=None) as slow, hub.listening(seen=None) as quick:
            await _until(lambda: hub.looked_at > 0)
            for _ in range(MOST_WAITING + 5):
                log.move(_change())
                last = await _next(quick)
            batches = [await _next(slow)]
            while not slow.empty():
                batches.append(await _next(slow))
            assert None in [batch.changes for batch in batches]
            assert batches[-1].number >= last.number

    _run(story)


def test_a_database_that_was_away_leaves_everything_open(log: Log) -> None:
    async def story(hub: Hub) -> None:
        async with hub.listening(seen=None) as waiting:
            await _until(lambda: hub.looked_at > 0)
            log.move(_change())
            while (await _next(waiting)).changes is None:
                pass
            log.away = True
            looks = log.looks
            await _until(lambda: log.looks > looks + 2)
            log.away = False
            assert (await _next(waiting)).changes is None

    _run(story)


def test_nobody_looks_when_nobody_listens(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "KEPT_SECONDS", 0.0)

    async def story(hub: Hub) -> None:
        async with hub.listening(seen=None):
            await _until(lambda: log.looks > 2)
        await _until(lambda: hub._watcher is None)
        looks = log.looks
        for _ in range(100):
            await asyncio.sleep(0)
        assert log.looks == looks
        async with hub.listening(seen=None) as waiting:
            assert (await _next(waiting)).changes is None  # nobody knows what happened meanwhile

    _run(story)


def test_a_stop_ends_every_stream(log: Log) -> None:
    async def story(hub: Hub) -> None:
        async with hub.listening(seen=None) as waiting:
            await _until(lambda: hub.looked_at > 0)
            hub.stop()
            assert await waiting.get() is None
            async with hub.listening(seen=None) as late:
                assert await late.get() is None

    _run(story)
