"""The bridge from ASGI to WSGI: what arrives, what leaves, and what must not get through."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from config.bodies import MOST_BODY_BYTES, SMALL_BYTES, Bodies
from config.bridge import FILE_PIECE_BYTES, IN_ONE_PIECE_BYTES, Bridge, environ_of

Environ = dict[str, Any]
SCOPE = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/customers/Zoë",
    "query_string": b"search=a%20b",
    "headers": [(b"host", b"bank.example"), (b"content-type", b"text/plain"), (b"x-twice", b"1"), (b"x-twice", b"2")],
    "client": ("192.0.2.1", 4711),
    "server": ("127.0.0.1", 8000),
}


STATUS_OF = {"request_too_large": 413, "request_too_slow": 408, "bodies_busy": 503, "validation_error": 400}


def _refuse(_scope: Any, /, *, code: str, detail: str = "", field: str | None = None) -> Any:
    return STATUS_OF[code], [(b"x-code", code.encode())], (detail or code).encode()


def _bridge(application: Callable[..., Any], *, bodies: Bodies | None = None, **options: Any) -> Bridge:
    return Bridge(application, threads=1, refuse=_refuse, bodies=bodies, **options)


def _ask(
    application: Callable[..., Any],
    *messages: dict[str, Any],
    scope: dict[str, Any] = SCOPE,
    bodies: Bodies | None = None,
) -> list[dict[str, Any]]:
    """All that the bridge sends for a request whose body comes in these messages, and then no more."""
    sent: list[dict[str, Any]] = []
    waiting = list(messages) or [{"type": "http.request", "body": b""}]

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()  # for ever
        return waiting.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(_bridge(application, bodies=bodies)(scope, receive, send))
    return sent


def test_it_answers_with_status_headers_and_body_in_one_piece() -> None:
    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("201 Created", [("Location", "/x"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [b"made ", environ["wsgi.input"].read()]

    sent = _ask(
        application,
        {"type": "http.request", "body": b"Ali", "more_body": True},
        {"type": "http.request", "body": b"ce"},
    )
    assert sent == [
        {
            "type": "http.response.start",
            "status": 201,
            "headers": [(b"location", b"/x"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
        },
        {"type": "http.response.body", "body": b"made Alice"},
    ]


def test_it_passes_a_long_answer_on_in_pieces_and_closes_it() -> None:
    closed: list[bool] = []

    class Long:
        def __iter__(self) -> Iterator[bytes]:
            yield from (b"x" * IN_ONE_PIECE_BYTES, b"y", b"z")

        def close(self) -> None:
            closed.append(True)

    def application(_environ: Environ, start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return Long()

    sent = _ask(application)
    assert len(sent) > 3
    assert b"".join(message.get("body", b"") for message in sent) == b"x" * IN_ONE_PIECE_BYTES + b"yz"
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    assert closed == [True]


def test_who_does_not_read_on_is_given_up_and_the_thread_is_free_again() -> None:
    closed: list[bool] = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b"x" * IN_ONE_PIECE_BYTES

        def close(self) -> None:
            closed.append(True)

    def application(_environ: Environ, start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return Endless()

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        if len(sent) == 3:
            await asyncio.Event().wait()  # for ever
        sent.append(message)

    asyncio.run(_bridge(application, stall_seconds=0.05)(SCOPE, receive, send))
    assert [message.get("more_body", True) for message in sent] == [True] * 3  # nothing says that this was all
    assert closed == [True]


class _Opened(io.BytesIO):
    """A file that tells whether it is open still."""

    def __init__(self, content: bytes, opened: list[_Opened]) -> None:
        super().__init__(content)
        opened.append(self)


def _serving(content: bytes, opened: list[_Opened]) -> Callable[..., Any]:
    def application(environ: Environ, start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        if environ["REQUEST_METHOD"] == "PUT":
            return [b"another"]
        return environ["wsgi.file_wrapper"](_Opened(content, opened), 4_096)

    return application


@pytest.mark.parametrize("length", [0, 1, FILE_PIECE_BYTES - 1, FILE_PIECE_BYTES, FILE_PIECE_BYTES * 5 + 1])
def test_it_sends_a_file_whole_and_closes_it(length: int) -> None:
    opened: list[_Opened] = []
    content = (b"0123456789" * length)[:length]
    sent = _ask(_serving(content, opened))
    assert b"".join(message.get("body", b"") for message in sent) == content
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    assert all(len(message.get("body", b"")) <= FILE_PIECE_BYTES for message in sent)
    assert [file.closed for file in opened] == [True]


def test_whoever_does_not_read_holds_no_thread_with_a_file_nor_with_what_is_in_memory() -> None:
    opened: list[_Opened] = []
    content = b"x" * (IN_ONE_PIECE_BYTES * 2)
    serving = _serving(content, opened)

    class InMemory(list[bytes]):
        streaming = False

    def application(environ: Environ, start_response: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] == "PATCH":
            start_response("200 OK", [])
            return InMemory([content])
        return serving(environ, start_response)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def all_of_them() -> None:
        bridge = _bridge(application, stall_seconds=3_600)  # with one thread
        read_on = asyncio.Event()
        bodies: list[bytearray] = []

        async def asking(method: str) -> None:
            body = bytearray()
            bodies.append(body)

            async def send(message: dict[str, Any]) -> None:
                if method != "PUT":
                    await read_on.wait()
                body.extend(message.get("body", b""))

            await bridge({**SCOPE, "method": method}, receive, send)

        slow = [asyncio.ensure_future(asking(method)) for method in ("GET", "PATCH") * 10]
        await asyncio.wait_for(asking("PUT"), 30)
        assert bodies[-1] == b"another"
        assert not any(one.done() for one in slow)
        read_on.set()
        await asyncio.gather(*slow)
        assert all(body == content for body in bodies[:-1])

    asyncio.run(all_of_them())
    assert [file.closed for file in opened] == [True] * 10


def test_whoever_does_not_read_a_file_on_is_given_up_and_it_is_closed() -> None:
    opened: list[_Opened] = []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        if len(sent) == 3:
            await asyncio.Event().wait()  # for ever
        sent.append(message)

    application = _serving(b"x" * FILE_PIECE_BYTES * 9, opened)
    asyncio.run(_bridge(application, stall_seconds=0.05)(SCOPE, receive, send))
    assert [message.get("more_body", True) for message in sent] == [True] * 3  # nothing says that this was all
    assert [file.closed for file in opened] == [True]


def test_whoever_does_not_read_what_is_in_memory_is_given_up_too() -> None:
    class InMemory(list[bytes]):
        streaming = False

    def application(_environ: Environ, start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [])
        return InMemory([b"x" * IN_ONE_PIECE_BYTES])

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        if sent:
            await asyncio.Event().wait()  # for ever
        sent.append(message)

    asyncio.run(asyncio.wait_for(_bridge(application, stall_seconds=0.05)(SCOPE, receive, send), 30))
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_whoever_asks_for_the_head_alone_is_not_read_a_body_to() -> None:
    closed: list[bool] = []

    class Unread:
        def __iter__(self) -> Iterator[bytes]:
            pytest.fail("it was read")

        def close(self) -> None:
            closed.append(True)

    def application(_environ: Environ, start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("Content-Type", "text/csv")])
        return Unread()

    sent = _ask(application, scope={**SCOPE, "method": "HEAD"})
    assert sent[0]["headers"] == [(b"content-type", b"text/csv")]
    assert sent[1:] == [{"type": "http.response.body", "body": b""}]
    assert closed == [True]


def test_it_gives_the_application_what_pep_3333_says() -> None:
    environ = environ_of(SCOPE, b"Alice")
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/customers/Zoë"
    assert environ["QUERY_STRING"] == "search=a%20b"
    assert environ["HTTP_HOST"] == "bank.example"
    assert environ["HTTP_X_TWICE"] == "1,2"
    assert environ["CONTENT_TYPE"] == "text/plain"
    assert environ["CONTENT_LENGTH"] == "5"
    assert environ["REMOTE_ADDR"] == "192.0.2.1"


def test_a_header_with_an_underscore_never_passes_for_one_with_a_hyphen() -> None:
    scope = {**SCOPE, "headers": [(b"x_forwarded_proto", b"https")]}
    assert "HTTP_X_FORWARDED_PROTO" not in environ_of(scope, b"")


def test_the_length_is_that_of_the_body_whatever_the_client_said() -> None:
    scope = {**SCOPE, "headers": [(b"content-length", b"1000000")]}
    assert environ_of(scope, b"Alice")["CONTENT_LENGTH"] == "5"


def _must_not_run(_environ: Environ, _start_response: Callable[..., Any]) -> Iterable[bytes]:
    pytest.fail("the application was asked")


def test_half_a_request_is_not_carried_out() -> None:
    sent = _ask(
        _must_not_run, {"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}
    )
    assert sent[0]["status"] == 400  # for one whose body was no body; one that is gone does not hear of it


def _piece(length: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * length, "more_body": more}


GONE = {"type": "http.disconnect"}


def test_a_request_larger_than_anybody_needs_is_refused() -> None:
    assert _ask(_must_not_run, *[_piece(MOST_BODY_BYTES // 2 + 1)] * 2, GONE)[0]["status"] == 413


def test_each_address_takes_as_much_as_whoever_reads_it() -> None:
    bodies = Bodies(most_of=lambda path: 10 if path.startswith("/customers") else 5)
    whole = _ask(_taken, _piece(10, more=False), bodies=bodies)
    assert whole[1]["body"] == b"10"
    assert _ask(_must_not_run, _piece(11, more=False), bodies=bodies)[0]["status"] == 413


def test_what_says_that_it_will_be_too_large_is_not_collected() -> None:
    bodies = Bodies(most_held_bytes=0)  # the first large piece that was kept would be refused for that
    scope = {**SCOPE, "headers": [(b"content-length", b"3000000")]}
    sent = _ask(_must_not_run, *[_piece(100_000)] * 29, _piece(100_000, more=False), scope=scope, bodies=bodies)
    assert sent[0]["status"] == 413


def test_who_waits_to_be_told_to_go_on_is_refused_at_once() -> None:
    scope = {**SCOPE, "headers": [(b"content-length", b"3000000"), (b"expect", b"100-continue")]}

    async def receive() -> dict[str, Any]:
        pytest.fail("it was told to go on")

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(_bridge(_must_not_run)(scope, receive, send))
    assert sent[0]["status"] == 413


def test_who_says_nothing_in_the_middle_of_a_body_is_given_up() -> None:
    assert _ask(_must_not_run, _piece(1), bodies=Bodies(stall_seconds=0.05))[0]["status"] == 408


def test_who_says_a_little_now_and_then_is_given_up_too() -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return _piece(1)

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    bridge = _bridge(_must_not_run, bodies=Bodies(stall_seconds=5, body_seconds=0.2))
    asyncio.run(asyncio.wait_for(bridge(SCOPE, receive, send), 5))
    assert sent[0]["status"] == 408


def _taken(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"%d" % len(environ["wsgi.input"].read())]


def test_all_large_bodies_together_take_no_more_than_there_is_and_small_ones_find_a_place() -> None:
    large = SMALL_BYTES + 600
    bodies = Bodies(most_held_bytes=1_000)

    async def three() -> list[list[dict[str, Any]]]:
        bridge = _bridge(_taken, bodies=bodies)
        answers: list[list[dict[str, Any]]] = [[], [], []]
        go_on = asyncio.Event()

        def asking(number: int, *pieces: dict[str, Any]) -> Any:
            waiting = list(pieces)

            async def receive() -> dict[str, Any]:
                if number == 0 and len(waiting) == 1:
                    await go_on.wait()
                return waiting.pop(0)

            async def send(message: dict[str, Any]) -> None:
                answers[number].append(message)

            return bridge(SCOPE, receive, send)

        first = asyncio.ensure_future(asking(0, _piece(large), _piece(1, more=False)))
        while not bodies.held_bytes:
            await asyncio.sleep(0)
        await asking(1, _piece(large, more=False))
        await asking(2, _piece(SMALL_BYTES, more=False))
        go_on.set()
        await first
        return answers

    first, second, third = asyncio.run(three())
    assert (first[0]["status"], first[1]["body"]) == (200, b"%d" % (large + 1))
    assert second[0]["status"] == 503
    assert (third[0]["status"], third[1]["body"]) == (200, b"%d" % SMALL_BYTES)
    assert bodies.held_bytes == 0


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key"])
def test_two_headers_where_one_decides_are_refused(name: str) -> None:
    twice = [(name.lower().encode(), b"a"), (b"host", b"bank.example"), (name.lower().encode(), b"b")]
    sent = _ask(_must_not_run, scope={**SCOPE, "headers": twice})
    assert sent[0]["status"] == 400
    assert name.encode() in sent[1]["body"]
    assert _ask(_taken, scope={**SCOPE, "headers": twice[:2]})[0]["status"] == 200
