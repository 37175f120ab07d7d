"""Serves Django's WSGI application from an ASGI server: every request in a thread, as a WSGI server would.

Why not Django's own ASGI handler: its synchronous middleware makes it several times slower, and loses the connection
that a thread keeps to the database. Measured beside the plain WSGI server: docs/adr/0013. An answer that fits is sent
in one piece; a long one is passed on chunk by chunk, no faster than it is read, and given up when its reader stalls,
for it holds a thread. Used by `config.asgi`.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MOST_BODY_BYTES: Final = 16 * 1024 * 1024
"""The largest request that is read into memory; Django itself takes less."""
IN_ONE_PIECE_BYTES: Final = 256 * 1024
STALL_SECONDS: Final = 20.0
"""How long a reader may take for one chunk of a long answer."""

_PLAIN_NAMES: Final = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class RequestTooLarge(Exception):
    """The request is larger than anybody has a use for."""


class ClientGone(Exception):
    """The client went away before it had said all, or does not read on."""


class Bridge:
    """An ASGI application around a WSGI one."""

    def __init__(self, application: Callable[..., Any], *, threads: int, stall_seconds: float = STALL_SECONDS) -> None:
        self._application = application
        self._stall_seconds = stall_seconds
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="web")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        try:
            body = await _read(receive)
        except RequestTooLarge:
            await _refuse(send, status=413)
            return
        except ClientGone:  # half a request must not be carried out
            await _refuse(send, status=400)  # to one that is there still, and whose body was no body
            return
        loop = asyncio.get_running_loop()

        def pass_on(message: Message) -> None:
            passing = asyncio.run_coroutine_threadsafe(_as_coroutine(send, message), loop)
            try:
                passing.result(timeout=self._stall_seconds)
            except TimeoutError:
                passing.cancel()
                raise ClientGone from None

        try:
            last = await loop.run_in_executor(self._threads, self._answer, environ_of(scope, body), pass_on)
        except ClientGone:  # the answer stays cut off
            return
        for message in last:
            await send(message)

    def _answer(self, environ: dict[str, Any], pass_on: Callable[[Message], None]) -> list[Message]:
        """Runs the application, in a thread of ours; answers with what is left to send."""
        started: list[Message] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
            started[:] = [{"type": "http.response.start", "status": int(status[:3]), "headers": _encoded(headers)}]

        chunks = self._application(environ, start_response)
        try:
            if environ["REQUEST_METHOD"] == "HEAD":
                return [*started, {"type": "http.response.body", "body": b""}]
            first, rest = _first_piece(iter(chunks))
            if rest is None:
                return [*started, {"type": "http.response.body", "body": first}]
            pass_on(started[0])
            pass_on({"type": "http.response.body", "body": first, "more_body": True})
            for chunk in rest:
                pass_on({"type": "http.response.body", "body": chunk, "more_body": True})
            return [{"type": "http.response.body", "body": b""}]
        finally:
            if close := getattr(chunks, "close", None):
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


async def _read(receive: Receive) -> bytes:
    """The whole body. Raises `RequestTooLarge`, `ClientGone`."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            raise RequestTooLarge
        if not message.get("more_body", False):
            return bytes(body)


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


async def _refuse(send: Send, *, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _as_coroutine(send: Send, message: Message) -> None:
    await send(message)
