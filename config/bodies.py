"""The bodies of requests, read before a thread has anything to do with them, and before anybody has signed in.

Invariants: a body takes no more memory than its address may be told, no more time than somebody who means it needs, and
all of them together no more than a process can spare. Small ones are taken even when large ones have used that up, so
that nobody can keep others from working by beginning to say a lot. Imported by `config.bridge`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

MOST_BODY_BYTES: Final = 2_621_440
"""The largest body, where nothing smaller is said: what Django itself takes for a form."""
MOST_HELD_BYTES: Final = 64 * 1024 * 1024
"""Of all large bodies that a process holds at once, finished or not."""
SMALL_BYTES: Final = 16 * 1024
"""As much of a body always finds a place; what the connections hold of that, their number bounds."""
STALL_SECONDS: Final = 10.0
"""How long a client may say nothing in the middle of a body."""
BODY_SECONDS: Final = 30.0
"""How long a whole body may take, however steadily it comes."""
DISCARDED_BYTES: Final = 16 * 1024 * 1024
DISCARDING_SECONDS: Final = 5.0
"""How much of a refused body is heard out and thrown away: who is cut off while speaking may not hear the answer."""


class RequestTooLarge(Exception):
    """The request is larger than its address takes."""


class TooManyBodies(Exception):
    """Too much is being told at once."""


class RequestTooSlow(Exception):
    """The request did not arrive in time."""


class ClientGone(Exception):
    """The client went away before it had said all, or does not read on."""


@dataclass(slots=True)
class Place:
    """What one request has taken of the memory for large bodies, and whether it has said all."""

    taken_bytes: int = 0
    has_ended: bool = False


class Bodies:
    """The bodies that one process holds."""

    def __init__(
        self,
        *,
        most_of: Callable[[str], int] = lambda _path: MOST_BODY_BYTES,
        most_held_bytes: int = MOST_HELD_BYTES,
        stall_seconds: float = STALL_SECONDS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._most_of = most_of
        self._most_held_bytes = most_held_bytes
        self._stall_seconds = stall_seconds
        self._body_seconds = body_seconds
        self.held_bytes = 0

    async def read(self, scope: Scope, receive: Receive, place: Place) -> bytes:
        """The whole body; what it takes is counted in `place` until that is given back.

        Raises `RequestTooLarge`, `TooManyBodies`, `RequestTooSlow`, `ClientGone`.
        """
        most_bytes = self._most_of(scope["path"])
        if _announced_bytes(scope) > most_bytes:
            await _hear_out(scope, receive)
            raise RequestTooLarge
        try:
            return await self._collect(receive, place, most_bytes)
        except (RequestTooLarge, TooManyBodies):
            self.give_back(place)
            if not place.has_ended:
                await _hear_out(scope, receive)
            raise

    async def _collect(self, receive: Receive, place: Place, most_bytes: int) -> bytes:
        body = bytearray()
        now = asyncio.get_running_loop().time
        ends_at = now() + self._body_seconds
        while True:
            try:
                async with asyncio.timeout(min(self._stall_seconds, ends_at - now())):
                    message = await receive()
            except TimeoutError as error:
                raise RequestTooSlow from error
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            place.has_ended = not message.get("more_body", False)
            if len(body) > most_bytes:
                raise RequestTooLarge
            self._take(place, len(body))
            if place.has_ended:
                return bytes(body)

    def _take(self, place: Place, body_bytes: int) -> None:
        more = max(0, body_bytes - SMALL_BYTES) - place.taken_bytes
        if not more:
            return
        if self.held_bytes + more > self._most_held_bytes:
            raise TooManyBodies
        self.held_bytes += more
        place.taken_bytes += more

    def give_back(self, place: Place) -> None:
        """The request is over."""
        self.held_bytes -= place.taken_bytes
        place.taken_bytes = 0


def _announced_bytes(scope: Scope) -> int:
    """What `Content-Length` says; 0 without one. The server has seen to it that it is a number, and only one."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


async def _hear_out(scope: Scope, receive: Receive) -> None:
    """Throws away what still comes, for a while, so that the client reads the answer; not of who waits for a word."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return
    heard_bytes = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARDING_SECONDS):
            while heard_bytes < DISCARDED_BYTES:
                message = await receive()
                heard_bytes += len(message.get("body", b""))
                if not message.get("more_body", False):  # all of it, or gone
                    return
