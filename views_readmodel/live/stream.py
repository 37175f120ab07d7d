"""The stream itself: `GET /live/changes`, server-sent events over ASGI.

`changes` carries `{"changes": [[type, id, version], …]}`, or null when anything may have changed; `tick` comes every
few seconds, so that a page can tell quiet from broken. Ids of events let a browser that comes back have what it missed.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from random import uniform
from time import monotonic
from typing import Any, Final

import msgspec
from django.core.exceptions import DisallowedHost
from django.db import Error
from django.http import HttpRequest

from eventstore.rest.scopes import request_of
from views_readmodel.live.hub import Batch, Hub, Waiting
from views_readmodel.live.listener import Listener, NotSignedIn, PasswordIsGiven, listener_of

PATH: Final = "/live/changes"
TICK_SECONDS: Final = 5.0
LIFE_SECONDS: Final = (50.0, 70.0)
"""After that the browser asks anew, and is checked anew; not all of them at once."""
MOST_LISTENERS: Final = 1_000
"""Of one process: clearly fewer than the connections it takes, so that streams alone never keep anybody out."""
MOST_LISTENERS_OF_ONE: Final = 20
"""Of one person: each browser has one, whatever the number of its tabs. Who opens more, asks instead of listening."""

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
_RETRY_SECONDS: Final = 10
_RETRY: Final = b"retry: 1000\n\n"  # milliseconds


WaitSeconds = Callable[[HttpRequest, str | None], int]
"""Counts a stream that a person (None: somebody who is not signed in) asks for: 0, or the seconds to wait."""


class Refused(Exception):
    """There is no stream for this request; why is the status."""

    def __init__(self, status: int, *, retry_seconds: int = 0) -> None:
        super().__init__(status)
        self.status = status
        self.retry_seconds = retry_seconds


class LiveChanges:
    """The ASGI application of the stream."""

    def __init__(
        self, *, wait_seconds: WaitSeconds = lambda _request, _person: 0, most_listeners: int = MOST_LISTENERS
    ) -> None:
        self.hub = Hub()
        self._wait_seconds = wait_seconds
        self._most_listeners = most_listeners
        self._asking = 0
        self._of_person: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="live-session")

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Streams to one listener until it goes, its time is over, or the server stops."""
        try:
            listener = await self._admit(scope)
        except Refused as refused:
            await _refuse(send, refused)
            return
        self._of_person[listener.person] += 1
        try:
            async with self.hub.listening(seen=self._seen(scope)) as waiting:
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                await _until_gone(receive, self._stream(waiting, listener.types, send))
            await send({"type": "http.response.body", "body": b""})
        finally:
            self._of_person[listener.person] -= 1
            if not self._of_person[listener.person]:
                del self._of_person[listener.person]

    async def _admit(self, scope: Mapping[str, Any]) -> Listener:
        """Who listens. Raises `Refused`."""
        if scope["method"] != "GET":
            raise Refused(405)
        if self.hub.listeners + self._asking >= self._most_listeners:
            raise Refused(503, retry_seconds=_RETRY_SECONDS)
        self._asking += 1
        try:
            loop = asyncio.get_running_loop()
            listener = await loop.run_in_executor(self._threads, self._look, request_of(scope))
        finally:
            self._asking -= 1
        if self._of_person[listener.person] >= MOST_LISTENERS_OF_ONE:
            raise Refused(429, retry_seconds=_RETRY_SECONDS)
        return listener

    def _look(self, request: HttpRequest) -> Listener:
        """Finds out who it is, and counts it; in a thread. Raises `Refused`."""
        try:
            listener = listener_of(request)
        except NotSignedIn:
            seconds = self._wait_seconds(request, None)
            raise Refused(429 if seconds else 401, retry_seconds=seconds) from None
        except PasswordIsGiven:
            seconds = self._wait_seconds(request, None)
            raise Refused(429 if seconds else 403, retry_seconds=seconds) from None
        except DisallowedHost:
            raise Refused(400) from None
        except Error:
            raise Refused(503, retry_seconds=_RETRY_SECONDS) from None
        if seconds := self._wait_seconds(request, listener.person):
            raise Refused(429, retry_seconds=seconds)
        return listener

    def _seen(self, scope: Mapping[str, Any]) -> int | None:
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"last-event-id"]
        found = _LAST_ID.fullmatch(given[-1]) if given else None
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


async def _refuse(send: Send, refused: Refused) -> None:
    headers = [(b"cache-control", b"no-store"), (b"content-length", b"0")]
    if refused.retry_seconds:
        headers.append((b"retry-after", str(refused.retry_seconds).encode()))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


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
