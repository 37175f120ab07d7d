"""The stream itself: `GET /live/changes`, server-sent events over ASGI.

`changes` carries `{"changes": [[type, id, version], …]}`, or null when anything may have changed; `tick` comes every
few seconds, so that a page can tell quiet from broken. Ids of events let a browser that comes back have what it missed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from random import uniform
from time import monotonic
from typing import Any, Final

import msgspec
from django.core.exceptions import DisallowedHost
from django.db import Error

from views_readmodel.live.hub import Batch, Hub, Waiting
from views_readmodel.live.listener import NotSignedIn, stream_types_of

PATH: Final = "/live/changes"
TICK_SECONDS: Final = 5.0
LIFE_SECONDS: Final = (50.0, 70.0)
"""After that the browser asks anew, and is checked anew; not all of them at once."""
MOST_LISTENERS: Final = 2_000

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_LAST_ID: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})", re.ASCII)
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # a proxy in front must pass events on as they come
    (b"x-content-type-options", b"nosniff"),
]
_TICK: Final = b"event: tick\ndata:\n\n"
_NOTHING: Final = b":\n\n"  # a comment: finds out whether somebody is there
_RETRY: Final = b"retry: 1000\n\n"  # milliseconds


class LiveChanges:
    """The ASGI application of the stream."""

    def __init__(self) -> None:
        self.hub = Hub()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="live-session")

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Streams to one listener until it goes, its time is over, or the server stops."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, types = await self._admit(scope["method"], headers)
        if status != 200:
            await send({"type": "http.response.start", "status": status, "headers": [(b"cache-control", b"no-store")]})
            await send({"type": "http.response.body", "body": b""})
            return
        async with self.hub.listening(seen=self._seen(headers)) as waiting:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await _until_gone(receive, self._stream(waiting, types, send))
        await send({"type": "http.response.body", "body": b""})

    async def _admit(self, method: str, headers: dict[str, str]) -> tuple[int, frozenset[str]]:
        if method != "GET":
            return 405, frozenset()
        if self.hub.listeners >= MOST_LISTENERS:
            return 503, frozenset()
        try:
            loop = asyncio.get_running_loop()
            return 200, await loop.run_in_executor(self._threads, stream_types_of, headers)
        except NotSignedIn:
            return 401, frozenset()
        except DisallowedHost:
            return 400, frozenset()
        except Error:
            return 503, frozenset()

    def _seen(self, headers: dict[str, str]) -> int | None:
        found = _LAST_ID.fullmatch(headers.get("last-event-id", ""))
        return int(found[2]) if found and found[1] == self.hub.epoch else None

    async def _stream(self, waiting: Waiting, types: frozenset[str], send: Send) -> None:
        ends_at = monotonic() + uniform(*LIFE_SECONDS)  # noqa: S311 - nothing to guess
        await send({"type": "http.response.body", "body": _RETRY + _TICK, "more_body": True})
        while monotonic() < ends_at:
            try:
                batch = await asyncio.wait_for(waiting.get(), TICK_SECONDS)
            except TimeoutError:
                # Without a look at the database this is not live: the page notices the silence, and asks by itself.
                body = _TICK if monotonic() - self.hub.looked_at < TICK_SECONDS else _NOTHING
            else:
                if batch is None:
                    return
                body = _event(self.hub.epoch, batch.number, _told(batch, types))
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive, streaming: Any) -> None:
    """Streams until done, or until the other side has gone."""
    stream = asyncio.ensure_future(streaming)
    gone = asyncio.ensure_future(_gone(receive))
    done, pending = await asyncio.wait({stream, gone}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    if stream in done:
        stream.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _told(batch: Batch, types: frozenset[str]) -> tuple[tuple[str, str, int], ...] | None:
    if batch.changes is None:
        return None
    return tuple(
        (change.stream_type, str(change.stream_id), change.version)
        for change in batch.changes
        if change.stream_type in types
    )


@lru_cache(maxsize=64)
def _event(epoch: str, number: int, changes: tuple[tuple[str, str, int], ...] | None) -> bytes:
    """The event as bytes; most listeners are told the same."""
    data = msgspec.json.encode({"changes": changes})
    return b"id: %s-%d\nevent: changes\ndata: %s\n\n" % (epoch.encode(), number, data)
