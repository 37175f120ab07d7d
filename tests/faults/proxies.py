"""Proxies that stand between the product's processes and its two servers, and do to the traffic what a network may.

Both run in one thread of the suite's own process. They know just enough of the protocols: Postgres' COMMIT and the
answer to it, and Redis' LPUSH of a wake-up. Invariant: unless a fault is on, every byte passes as it came.
Imported by the faults and by the product under test.
"""

from __future__ import annotations

import asyncio
import ctypes
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from socket import SOL_SOCKET
from typing import Any, Final, Self

import psutil

CHUNK_BYTES: Final = 65_536
STOP_SECONDS: Final = 10.0
_CANCEL_REQUEST: Final = 80_877_102
_QUEUE: Final = b"eventstore"
_SWEEP: Final = b"eventstore.sweep"  # what the clock sends to the same queue, each second: no commit's wake-up
# Of Linux: https://docs.kernel.org/networking/filter.html. One instruction: of what has come, keep no byte.
_SO_ATTACH_FILTER: Final = 26
_DROP_EVERYTHING: Final = struct.pack("HBBI", 0x06, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class CommitFault:
    """What becomes of commits."""

    role: str  # whose: web, worker
    how: str  # "unsent": cut before it arrives; "unanswered": cut once it is done; "late": the answer is held back;
    # "silent": it is done, and nothing comes through on that connection any more, which nobody ends; "mute": the same,
    # but what is sent is still acknowledged
    share: float  # of that role's commits
    seconds: float = 0.0  # by how much the answer is late
    most: int = 0  # of them; 0: as many as there are


@dataclass(frozen=True, kw_only=True)
class WakeupFault:
    """What becomes of the messages that wake workers: "lost", "doubled" or "reordered"."""

    how: str
    share: float


class Proxy:
    """Listens on a port of the loopback address, and passes on to a socket. Subclasses look at what passes."""

    def __init__(self, *, upstream: Callable[[], Path], loop: asyncio.AbstractEventLoop, seed: int) -> None:
        self.upstream = upstream
        self.delay_seconds = 0.0
        self.done: Counter[str] = Counter()  # what was done to the traffic
        self.random = Random(seed)
        self.port = 0
        self._loop = loop

    async def listen(self) -> None:
        """Takes connections from now on."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(str(self.upstream()))
        except OSError:
            writer.transport.abort()
            return
        link = self.link(Pipe(reader, server_writer), Pipe(server_reader, writer))
        tasks = [asyncio.ensure_future(link.to_server()), asyncio.ensure_future(link.to_client())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for end in (writer, server_writer):
                end.transport.abort()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Takes no more connections."""
        self._server.close()

    def link(self, out: Pipe, back: Pipe) -> Link:
        """What passes on for one connection."""
        return Link(self, out, back)


class Pipe:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """What has come; empty when the connection is over."""
        return await self._reader.read(CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        """Passes on."""
        self._writer.write(data)
        await self._writer.drain()

    def cut(self) -> None:
        """Ends the connection as a server that is started anew would."""
        self._writer.transport.abort()

    def deafen(self) -> None:
        """Has the system drop whatever still comes from the other end, as on a broken cable.

        Not even its probes are answered: to the other end it is a peer that has vanished.
        """
        drop_everything(self._writer.get_extra_info("socket"))

    def other_port(self) -> int:
        """The port of the other end."""
        return int(self._writer.get_extra_info("peername")[1])


def drop_everything(socket: Any) -> None:
    """Has the system drop whatever comes for the socket, before it is acknowledged."""
    program = ctypes.create_string_buffer(_DROP_EVERYTHING)
    socket.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))


class Link:
    """Passes on everything."""

    def __init__(self, proxy: Proxy, out: Pipe, back: Pipe) -> None:
        self.proxy = proxy
        self.out = out
        self.back = back

    async def to_server(self) -> None:
        """Until one side ends."""
        with suppress(ConnectionError):
            while data := await self.out.read():
                if self.proxy.delay_seconds:
                    await asyncio.sleep(self.proxy.delay_seconds)
                await self.sent(data)

    async def to_client(self) -> None:
        """Until one side ends."""
        with suppress(ConnectionError):
            while data := await self.back.read():
                await self.answered(data)

    async def sent(self, data: bytes) -> None:
        """Something for the server."""
        await self.out.write(data)

    async def answered(self, data: bytes) -> None:
        """Something for the client."""
        await self.back.write(data)


# --- Postgres -------------------------------------------------------------------------------------------------------


class PostgresProxy(Proxy):
    """Knows commits, and whose they are by the connection's application name."""

    fault: CommitFault | None = None
    chosen = 0  # commits, since the fault began

    def __init__(self, *, upstream: Callable[[], Path], loop: asyncio.AbstractEventLoop, seed: int) -> None:
        super().__init__(upstream=upstream, loop=loop, seed=seed)
        self.silent: dict[int, Pipe] = {}  # connections on which nothing comes through, by the client's port

    def waiting(self) -> int:
        """How many clients still wait for something on a connection on which nothing comes through."""
        found = psutil.net_connections("tcp")
        still = [one for one in found if one.status == psutil.CONN_ESTABLISHED and one.raddr]
        ports = {one.laddr.port for one in still if one.raddr.port == self.port}
        return len(ports & self.silent.keys())

    def forget_silent(self) -> None:
        """Ends our side of them."""
        for port in list(self.silent):
            self._loop.call_soon_threadsafe(self.silent.pop(port).cut)

    def link(self, out: Pipe, back: Pipe) -> Link:
        """Watches for commits."""
        return PostgresLink(self, out, back)

    def choose(self, role: str) -> CommitFault | None:
        """What to do to this commit."""
        fault = self.fault
        if fault is None or fault.role != role or (fault.most and self.chosen >= fault.most):
            return None
        if self.random.random() >= fault.share:
            return None
        self.chosen += 1
        return fault


class PostgresLink(Link):
    """https://www.postgresql.org/docs/current/protocol-message-formats.html, as far as it is needed."""

    proxy: PostgresProxy

    def __init__(self, proxy: Proxy, out: Pipe, back: Pipe) -> None:
        super().__init__(proxy, out, back)
        self._asked = bytearray()
        self._told = bytearray()
        self._role = ""
        self._began = False
        self._commit: CommitFault | None = None
        self._silent = False

    async def sent(self, data: bytes) -> None:
        """Passes on whole messages; a commit that is chosen is cut off, or its answer watched for."""
        if self._silent:
            return
        self._asked += data
        passed = bytearray()
        while message := self._next_asked():
            if self._commit is None and is_commit(message):
                self._commit = self.proxy.choose(self._role)
                if self._commit and self._commit.how == "unsent":
                    self.proxy.done["commits unsent"] += 1
                    raise ConnectionResetError
            passed += message
        if passed:
            await self.out.write(bytes(passed))

    def _next_asked(self) -> bytes:
        if self._began:
            return _take(self._asked)
        if len(self._asked) < 8 or len(self._asked) < (length := int.from_bytes(self._asked[:4], "big")):
            return b""
        message = bytes(self._asked[:length])
        del self._asked[:length]
        self._began = int.from_bytes(message[4:8], "big") != _CANCEL_REQUEST
        fields = message[8:].split(b"\0")
        if b"application_name" in fields:
            self._role = fields[fields.index(b"application_name") + 1].decode()
        return message

    async def answered(self, data: bytes) -> None:
        """Passes on whole messages, but for what a chosen commit is answered with."""
        if self._silent:
            return
        self._told += data
        passed = bytearray()
        while message := _take(self._told):
            fault = self._commit
            if fault and message[:1] == b"C" and message[5:] == b"COMMIT\0":
                self._commit = None
                self.proxy.done[f"commits {fault.how}"] += 1
                if fault.how == "unanswered":
                    raise ConnectionResetError
                if fault.how in ("silent", "mute"):
                    self._silent = True
                    self.proxy.silent[self.back.other_port()] = self.back
                    if fault.how == "silent":
                        self.back.deafen()
                    return
                await asyncio.sleep(fault.seconds)
            elif message[:1] == b"Z":
                self._commit = None
            passed += message
        if passed:
            await self.back.write(bytes(passed))


def is_commit(message: bytes) -> bool:
    """Whether this message has the server commit, as a simple or as a prepared query."""
    if message[:1] == b"Q":
        return message[5:].rstrip(b"\0;").upper() == b"COMMIT"
    if message[:1] == b"P":
        return message[5:].split(b"\0")[1].upper() == b"COMMIT"
    return False


def _take(buffer: bytearray) -> bytes:
    """The first message, taken out of the buffer; empty when it is not there in full."""
    if len(buffer) < 5 or len(buffer) < (length := 1 + int.from_bytes(buffer[1:5], "big")):
        return b""
    message = bytes(buffer[:length])
    del buffer[:length]
    return message


# --- Redis ----------------------------------------------------------------------------------------------------------


class RedisProxy(Proxy):
    """Knows the messages that wake workers."""

    fault: WakeupFault | None = None

    def link(self, out: Pipe, back: Pipe) -> Link:
        """Watches for wake-ups."""
        return RedisLink(self, out, back)

    def treat(self, command: list[bytes]) -> list[bytes]:
        """The command that is sent in the place of this one. Each is answered with a number, as LPUSH is."""
        fault = self.fault
        if fault is None or command[0].upper() != b"LPUSH" or command[1] != _QUEUE:
            return command
        if self.random.random() >= fault.share:
            return command
        self.done[f"{'sweeps' if _SWEEP in command[2] else 'wake-ups'} {fault.how}"] += 1
        match fault.how:
            case "lost":
                return [b"STRLEN", b"lost-wake-ups"]
            case "doubled":
                return [*command, *command[2:]]
            case _:  # to the end that is taken from: before those that were there already
                return [b"RPUSH", *command[1:]]


class RedisLink(Link):
    """https://redis.io/docs/latest/develop/reference/protocol-spec/, as far as clients' commands need it."""

    proxy: RedisProxy

    def __init__(self, proxy: Proxy, out: Pipe, back: Pipe) -> None:
        super().__init__(proxy, out, back)
        self._asked = bytearray()

    async def sent(self, data: bytes) -> None:
        """Passes on whole commands, or what takes their place."""
        self._asked += data
        passed = b"".join(encode(self.proxy.treat(command)) for command in take_commands(self._asked))
        if passed:
            await self.out.write(passed)


def take_commands(buffer: bytearray) -> Iterator[list[bytes]]:
    """The commands that are there in full, taken out of the buffer."""
    while True:
        command, end = _parse(buffer)
        if command is None:
            return
        del buffer[:end]
        yield command


def _parse(buffer: bytearray) -> tuple[list[bytes] | None, int]:
    line = buffer.find(b"\r\n")
    if line < 0:
        return None, 0
    words: list[bytes] = []
    at = line + 2
    for _ in range(int(buffer[1:line])):
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None, 0
        begin = line + 2
        end = begin + int(buffer[at + 1 : line])
        if len(buffer) < end + 2:
            return None, 0
        words.append(bytes(buffer[begin:end]))
        at = end + 2
    return words, at


def encode(command: list[bytes]) -> bytes:
    """A command as clients write it."""
    words = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in command)
    return b"*%d\r\n%b" % (len(command), words)


# --- Both -----------------------------------------------------------------------------------------------------------


class Proxies:
    """Both proxies, in a thread of their own."""

    def __init__(self, *, postgres: Callable[[], Path], redis: Callable[[], Path], seed: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self.postgres = PostgresProxy(upstream=postgres, loop=self._loop, seed=seed)
        self.redis = RedisProxy(upstream=redis, loop=self._loop, seed=seed)

    def __enter__(self) -> Self:
        self._thread.start()
        for proxy in (self.postgres, self.redis):
            asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result(STOP_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in (self.postgres, self.redis):
            self._loop.call_soon_threadsafe(proxy.close)
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)
        self._loop.close()

    @contextmanager
    def commits(self, fault: CommitFault) -> Iterator[None]:
        """That happens to commits for the time of the block."""
        self.postgres.chosen = 0
        self.postgres.fault = fault
        try:
            yield
        finally:
            self.postgres.fault = None

    @contextmanager
    def wakeups(self, fault: WakeupFault) -> Iterator[None]:
        """That happens to wake-ups for the time of the block."""
        self.redis.fault = fault
        try:
            yield
        finally:
            self.redis.fault = None

    @contextmanager
    def slow_redis(self, seconds: float) -> Iterator[None]:
        """Redis answers that much later for the time of the block."""
        self.redis.delay_seconds = seconds
        try:
            yield
        finally:
            self.redis.delay_seconds = 0.0


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
