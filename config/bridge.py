"""Serves Django's WSGI application from an ASGI server: every request in a thread, as a WSGI server would.

Why not Django's own ASGI handler: its synchronous middleware makes it several times slower, and loses the connection
that a thread keeps to the database. Measured beside the plain WSGI server: docs/adr/0013. What is in memory is sent in
one piece and a file piece by piece, and neither holds a thread while it is read. An answer that is made while it is
read does: it is passed on chunk by chunk, no faster than it is read, and whoever makes such answers sees to it that few
are under way (`eventstore.rest.csv_files`). A reader that stalls is given up. What cannot be meant is refused before a
thread has it: a body that is too large, too slow or cut off (`config.bodies`), and two headers where one decides. Used
by `config.asgi`.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any, Final, Protocol

from config.bodies import Bodies, ClientGone, Place, RequestTooLarge, RequestTooSlow, TooManyBodies

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

IN_ONE_PIECE_BYTES: Final = 256 * 1024
FILE_PIECE_BYTES: Final = 64 * 1024
"""As much of a file is in memory while its reader takes its time."""
STALL_SECONDS: Final = 20.0
"""How long a reader may take for one chunk of a long answer, or for one piece of a file."""

_PLAIN_NAMES: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}
_SINGLE: Final = {b"authorization": "Authorization", b"idempotency-key": "Idempotency-Key"}
"""Headers that decide whose request it is and whether it is done once: of two, nobody knows which was meant."""


class Refuse(Protocol):
    """Makes status, headers and body of a refusal."""

    def __call__(
        self, scope: Scope, /, *, code: str, detail: str = "", field: str | None = None
    ) -> tuple[int, Headers, bytes]:
        """`code` is that of a problem; `field` names the header that is wrong."""
        ...


class File:
    """An open file as an answer: what PEP 3333 calls `wsgi.file_wrapper`."""

    def __init__(self, source: IO[bytes], _block_bytes: int = 0) -> None:
        self._source = source

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self) -> bytes:
        """The next piece; empty at the end."""
        return self._source.read(FILE_PIECE_BYTES)

    def close(self) -> None:
        """Ends the answer, for the application too, which puts an end of its own in the place of the file's."""
        self._source.close()


class Bridge:
    """An ASGI application around a WSGI one."""

    def __init__(
        self,
        application: Callable[..., Any],
        *,
        threads: int,
        refuse: Refuse,
        bodies: Bodies | None = None,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._application = application
        self._refuse = refuse
        self._bodies = bodies or Bodies()
        self._stall_seconds = stall_seconds
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="web")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        place = Place()
        try:
            await self._serve(scope, receive, send, place)
        finally:
            self._bodies.give_back(place)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, place: Place) -> None:
        told: dict[str, str] = {}
        body = b""
        if twice := _repeated(scope):
            told = {"code": "validation_error", "detail": f"There must be one {twice} header.", "field": twice}
        else:
            try:
                body = await self._bodies.read(scope, receive, place)
            except RequestTooLarge:
                told = {"code": "request_too_large"}
            except RequestTooSlow:
                told = {"code": "request_too_slow"}
            except TooManyBodies:
                told = {"code": "bodies_busy"}
            except ClientGone:  # half a request must not be carried out; it may be there still, its body being no body
                told = {"code": "validation_error", "detail": "The body ends before its end."}
        if told:
            await send_whole(send, *self._refuse(scope, **told))
        else:
            await self._ask(scope, body, send)

    async def _ask(self, scope: Scope, body: bytes, send: Send) -> None:
        """Has the application answer, in a thread."""
        loop = asyncio.get_running_loop()

        def pass_on(message: Message) -> None:
            passing = asyncio.run_coroutine_threadsafe(_as_coroutine(send, message), loop)
            try:
                passing.result(timeout=self._stall_seconds)
            except TimeoutError:
                passing.cancel()
                raise ClientGone from None

        try:
            last, file = await loop.run_in_executor(self._threads, self._answer, environ_of(scope, body), pass_on)
        except ClientGone:  # the answer stays cut off
            return
        with suppress(TimeoutError):  # the answer stays cut off
            if file is None:
                for message in last:
                    await self._pass_on(message, send)
            else:
                await self._send_file(last, file, send)

    async def _send_file(self, begun: list[Message], file: File, send: Send) -> None:
        """Sends what was read of a file, and the rest; a thread reads each piece, and none waits for the reader."""
        loop = asyncio.get_running_loop()
        try:
            for message in begun:
                await self._pass_on(message, send)
            while piece := await loop.run_in_executor(self._threads, file.read):
                await self._pass_on({"type": "http.response.body", "body": piece, "more_body": True}, send)
            await self._pass_on({"type": "http.response.body", "body": b""}, send)
        finally:
            await loop.run_in_executor(self._threads, file.close)

    async def _pass_on(self, message: Message, send: Send) -> None:
        """Sends it. Raises `TimeoutError` when the client does not read on."""
        async with asyncio.timeout(self._stall_seconds):
            await send(message)

    def _answer(self, environ: dict[str, Any], pass_on: Callable[[Message], None]) -> tuple[list[Message], File | None]:
        """Runs the application, in a thread of ours; answers with what is left to send, and the file behind that."""
        started: list[Message] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
            started[:] = [{"type": "http.response.start", "status": int(status[:3]), "headers": _encoded(headers)}]

        chunks = self._application(environ, start_response)
        file: File | None = None
        try:
            if environ["REQUEST_METHOD"] == "HEAD":
                return [*started, {"type": "http.response.body", "body": b""}], None
            if isinstance(chunks, File):
                piece = chunks.read()
                file = chunks if len(piece) == FILE_PIECE_BYTES else None
                return [*started, {"type": "http.response.body", "body": piece, "more_body": file is not None}], file
            if not getattr(chunks, "streaming", True):  # Django's word for what is in memory as a whole
                return [*started, {"type": "http.response.body", "body": b"".join(chunks)}], None
            first, rest = _first_piece(iter(chunks))
            if rest is None:
                return [*started, {"type": "http.response.body", "body": first}], None
            pass_on(started[0])
            pass_on({"type": "http.response.body", "body": first, "more_body": True})
            for chunk in rest:
                pass_on({"type": "http.response.body", "body": chunk, "more_body": True})
            return [{"type": "http.response.body", "body": b""}], None
        finally:
            if file is None and (close := getattr(chunks, "close", None)):
                close()


def environ_of(scope: Scope, body: bytes) -> dict[str, Any]:
    """The request as PEP 3333 has it.

    Names of headers with an underscore are left out: in the environment they would pass for those with a hyphen, which
    a proxy in front may have set (CVE-2015-0219).
    """
    client, server = scope.get("client"), scope.get("server") or ("localhost", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.file_wrapper": File,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        if b"_" in raw_name:
            continue
        name = _PLAIN_NAMES.get(raw_name) or "HTTP_" + raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if name in environ:
            value = f"{environ[name]}{'; ' if name == 'HTTP_COOKIE' else ','}{value}"
        environ[name] = value
    environ["CONTENT_LENGTH"] = str(len(body)) if body or "CONTENT_LENGTH" in environ else ""
    return environ


def _repeated(scope: Scope) -> str | None:
    """The name of a header that stands there twice and decides something."""
    names = [name for name, _ in scope["headers"] if name in _SINGLE]
    return next((_SINGLE[name] for name in names if names.count(name) > 1), None)


def _first_piece(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes] | None]:
    """What comes first, and the rest; no rest when everything fits into one piece."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        if len(gathered) > IN_ONE_PIECE_BYTES:
            return bytes(gathered), chunks
    return bytes(gathered), None


def _encoded(headers: list[tuple[str, str]]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def send_whole(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Sends a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _as_coroutine(send: Send, message: Message) -> None:
    await send(message)
