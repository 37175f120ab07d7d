"""Serves Django's WSGI application from an ASGI server: every request in a thread, as a WSGI server would.

Why not Django's own ASGI handler: its synchronous middleware makes it several times slower, and loses the connection
that a thread keeps to the database. Measured beside the plain WSGI server: docs/adr/0013. An answer that fits is sent
in one piece; a long one is passed on chunk by chunk, no faster than it is read, and given up when its reader stalls,
for it holds a thread. What cannot be meant is refused before a thread has it: a body that is too large, too slow or cut
off (`config.bodies`), and two headers where one decides. Used by `config.asgi`.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from config.bodies import Bodies, ClientGone, Place, RequestTooLarge, RequestTooSlow, TooManyBodies

Message = dict[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

IN_ONE_PIECE_BYTES: Final = 256 * 1024
STALL_SECONDS: Final = 20.0
"""How long a reader may take for one chunk of a long answer."""

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
