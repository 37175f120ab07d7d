"""What no client library would send, to a running Daybook over its own port: refused or cut off, and never an error."""

from __future__ import annotations

import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from uuid import UUID, uuid4

import httpx
import pytest

from tests.daybook_process import ROOT, Daybook
from tests.folders import passing_folder, remove_folder
from tests.integration.signed_in import signed_in
from views_readmodel.live.stream import MOST_LISTENERS_OF_ONE

PATIENCE_SECONDS = 20.0
SLOW_CLIENTS = 60
"""More than the server has threads."""
IDLE_CLIENTS = 1_500
"""More than a server takes that nobody has told how many there may be."""
LONG_FILE = b"/static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js.map"
"""4 MB: more than a system takes for a client that does not read."""
STREAMS = 60
OWN_FILES = 4_096

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /api/v1/auth/login HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
JSON = {"Content-Type": "application/json"}
GET = b"GET /health/live HTTP/1.1\r\n" + HOST


def _post(body: bytes) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


REFUSED = {
    "10 MB": _post(b'{"username": "' + b"x" * 10_000_000 + b'"}'),
    "20 MB": _post(b'{"username": "' + b"x" * 20_000_000 + b'"}'),
    "10,000 deep": _post(b"[" * 10_000 + b"]" * 10_000),
    "10,000 deep objects": _post(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "no UTF-8": _post(b'{"username": "\xff\xfe"}'),
    "a length that is none": POST + b"Content-Length: x\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}",
    "a length and chunks": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "chunks of no size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunks of too much": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "coded twice": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "5,000 headers": GET + b"".join(b"X-%d: 1\r\n" % number for number in range(5_000)) + b"\r\n",
    "a header of 1 MB": GET + b"X: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "a cookie of 1 MB": GET + b"Cookie: sessionid=" + b"x" * 1_000_000 + b"\r\n\r\n",
    "an address of 100 kB": b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a NUL in a header": GET + b"X: a\x00b\r\n\r\n",
    "a header without a colon": GET + b"nonsense\r\n\r\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "a type in pieces": GET + b"Content-Type: text/plain; x*=a; x*0=b\r\n\r\n",
    "a wanted type in pieces": GET + b"Accept: */*; x*=a; x*0=b\r\n\r\n",
    "a wanted type in quotes": GET + b"Accept: */*; x=\"a;y*=bogus''z\"\r\n\r\n",
    "a form in parts": b"POST /log-in HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data; boundary=x\r\n"
    b"Cookie: csrftoken=" + b"a" * 32 + b"\r\nContent-Length: 65\r\n\r\n"
    b"--x\r\nContent-Disposition: form-data; name*=a; name*0=b\r\n\r\n--x--\r\n",
    "no host": b"GET /log-in HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /log-in HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n",
    "another host": b"GET /log-in HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "another host in the address": b"GET http://evil.example/log-in HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a method of nobody's": b"NONSENSE /log-in HTTP/1.1\r\n" + HOST + b"\r\n",
    "a proxy's": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "a version that there is not": b"GET /health/live HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "TLS": bytes.fromhex("16030100a5010000a10303") + b"\x01" * 100,
    "no HTTP": b"\x00\x01\x02\xff\xfe\r\n\r\n",
}  # fmt: skip

LONG_HEADERS = {
    "a cookie that is quoted over and over": b'Cookie: a="' + b"\\\\" * 4_500 + b'"',
    "two cookies that are too long together": (b"Cookie: a=" + b"x" * 5_000 + b"\r\n") * 2 + b"X: y",
    "parameters without end": b'Content-Type: a;"' + b";" * 300,
    "parameters without end that would be accepted": b'Accept: a/b;"' + b";" * 1_100,
    "a token of 9 kB": b"Authorization: Bearer " + b"0" * 9_000,
}

CUT_OFF = {
    *("20 MB", "5,000 headers", "a header of 1 MB", "a cookie of 1 MB", "an address of 100 kB"),
    "HTTP/2 without asking",
}
"""What the server may hang up on without a word: who goes on and on, and who expects to be spoken to otherwise."""

OUTSIDE = (
    "/static/../manage.py", "/static/../../../../../../etc/passwd", "/static/%2e%2e/manage.py",
    "/static/..%2fmanage.py",
    "/static/%2e%2e%2fmanage.py", "/static/..%5cmanage.py", "/static//etc/passwd", "/static/%2fetc%2fpasswd",
    "/static/daybook/../../../config/settings.py", "/static/%252e%252e/manage.py", "/static/..%c0%afmanage.py",
    "/static/....//manage.py", "/static/%00", "/static/daybook/htmx.js%00.css", "/../manage.py", "//etc/passwd",
    "/.git/config",
)  # fmt: skip


@pytest.fixture(scope="module")
def daybook() -> Iterator[Daybook]:
    """A Daybook for these tests."""
    folder = passing_folder()
    with Daybook(data_dir=folder, demo=True).ready() as daybook:
        daybook.wait_for_line("Log in as teller")
        yield daybook
    remove_folder(folder)


@pytest.fixture(autouse=True)
def _unharmed(daybook: Daybook) -> Iterator[None]:
    """After each test the server answers as before, and has met no error."""
    since = len(daybook.lines)
    yield
    assert httpx.get(f"http://127.0.0.1:{daybook.port}/health/live").json() == {"status": "ok"}
    told = [line for line in daybook.lines[since:] if re.search(r"Traceback|\[error|panicked|code=5", line)]
    assert told == []


def _answer(daybook: Daybook, sent: bytes) -> bytes:
    """What comes back until the server closes or has answered: nothing when it only hangs up."""
    with closing(socket.create_connection(("127.0.0.1", daybook.port), timeout=PATIENCE_SECONDS)) as client:
        try:
            client.sendall(sent)
            return client.recv(65_536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


@pytest.mark.parametrize("name", list(REFUSED))
def test_it_is_refused_or_cut_off(name: str, daybook: Daybook) -> None:
    answered = _answer(daybook, REFUSED[name])
    if name in CUT_OFF:
        assert answered == b"" or re.match(rb"HTTP/1\.[01] 4\d\d ", answered), answered[:200]
    else:
        assert re.match(rb"HTTP/1\.[01] 4\d\d ", answered), answered[:200]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_address_leads_out_of_what_is_served(path: str, daybook: Daybook) -> None:
    answered = _answer(daybook, b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert re.match(rb"HTTP/1\.1 (400|404|301|302) ", answered), answered[:200]
    for file in ("manage.py", "config/settings.py"):
        assert (ROOT / file).read_bytes()[:60] not in answered
    assert b"root:x:0" not in answered


def test_bodies_that_are_cut_off_leave_nothing_behind(daybook: Daybook) -> None:
    for length in (0, 1, 10, 100_000):
        with closing(socket.create_connection(("127.0.0.1", daybook.port), timeout=PATIENCE_SECONDS)) as client:
            client.sendall(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * length)
        with closing(socket.create_connection(("127.0.0.1", daybook.port), timeout=PATIENCE_SECONDS)) as client:
            client.sendall(POST[: length % len(POST)])


def _connected(daybook: Daybook, stack: ExitStack) -> socket.socket:
    return stack.enter_context(closing(socket.create_connection(("127.0.0.1", daybook.port), timeout=PATIENCE_SECONDS)))


def _answers(daybook: Daybook) -> None:
    for _ in range(5):
        assert httpx.get(f"http://127.0.0.1:{daybook.port}/log-in", timeout=3).status_code == 200


def test_clients_that_are_slow_to_ask_hold_up_nobody_and_are_given_up(daybook: Daybook) -> None:
    with ExitStack() as stack:
        clients = [_connected(daybook, stack) for _ in range(SLOW_CLIENTS)]
        for client in clients:
            client.sendall(POST + b'Content-Length: 1000\r\n\r\n{"user')
        _answers(daybook)
        for client in clients:
            assert client.recv(65_536).startswith(b"HTTP/1.1 408 ")


def test_clients_that_do_not_read_a_file_hold_up_nobody(daybook: Daybook) -> None:
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            client = stack.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            client.settimeout(PATIENCE_SECONDS)
            client.connect(("127.0.0.1", daybook.port))
            client.sendall(b"GET " + LONG_FILE + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        _answers(daybook)


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process may have as many connections open as the test needs."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < OWN_FILES:
        pytest.skip("this process may not have so many files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], OWN_FILES), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_clients_that_do_nothing_at_all_hold_up_nobody_and_are_cut_off(daybook: Daybook, many_files: None) -> None:
    with ExitStack() as stack:
        clients = [_connected(daybook, stack) for _ in range(IDLE_CLIENTS)]
        for client in clients[::3]:
            client.sendall(GET)  # and never an empty line
        for client in clients[1::3]:
            client.sendall(GET + b"\r\n")
        _answers(daybook)
        for client in clients[1::3]:
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        for client in clients[:30]:
            assert not client.recv(65_536) or not client.recv(65_536)  # at most a few words, and then the end


def test_one_person_has_so_many_streams_and_no_more(daybook: Daybook) -> None:
    with closing(signed_in(f"http://127.0.0.1:{daybook.port}")) as browser:
        cookie = f"sessionid={browser.cookies['sessionid']}".encode()
    asked = b"GET /live/changes HTTP/1.1\r\n" + HOST + b"Cookie: " + cookie + b"\r\n\r\n"
    with ExitStack() as stack:
        clients = [_connected(daybook, stack) for _ in range(STREAMS)]
        for client in clients:
            client.sendall(asked)
        told = [client.recv(65_536) for client in clients]
        refused = [answer for answer in told if answer.startswith(b"HTTP/1.1 429 ")]
        assert len([answer for answer in told if answer.startswith(b"HTTP/1.1 200 ")]) == MOST_LISTENERS_OF_ONE
        assert len(refused) == STREAMS - MOST_LISTENERS_OF_ONE
        assert all(b"retry-after: " in answer and b"x-correlation-id: " in answer for answer in refused)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:  # who goes makes room
        with ExitStack() as stack:
            client = _connected(daybook, stack)
            client.sendall(asked)
            if client.recv(65_536).startswith(b"HTTP/1.1 200 "):
                return
    pytest.fail("there was no room again")


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key"])
def test_two_headers_where_one_decides_are_refused_as_a_problem(name: str, daybook: Daybook) -> None:
    id = str(uuid4())
    told = POST + b"".join(f"{name}: {value}\r\n".encode() for value in ("a", "b"))
    answered = _answer(daybook, told + b"X-Correlation-ID: " + id.encode() + b"\r\nContent-Length: 2\r\n\r\n{}")
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"x-correlation-id: {id}".encode() in head
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert (problem["code"], problem["errors"][0]["field"], problem["correlation_id"]) == ("validation_error", name, id)


@pytest.mark.parametrize(
    "path", ["/log-in", "/live/changes", "/health/live", "/static/daybook/icon.svg", "/api/v1/schema"]
)
@pytest.mark.parametrize("name", list(LONG_HEADERS))
def test_a_header_that_nobody_needs_so_long_is_refused_before_it_is_read(
    name: str, path: str, daybook: Daybook
) -> None:
    answered = _answer(daybook, b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + LONG_HEADERS[name] + b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 431 ")
    assert b"x-correlation-id: " in answered
    if path.startswith("/api/"):
        assert json.loads(answered.partition(b"\r\n\r\n")[2])["code"] == "headers_too_large"


@pytest.mark.parametrize("path", ["/", "/live/changes"])
def test_cookies_of_others_keep_nobody_out(path: str, daybook: Daybook) -> None:
    with closing(signed_in(f"http://127.0.0.1:{daybook.port}")) as browser:
        others = b'a="' + b"\\\\" * 3_000 + b'"; b="c d"; sessionid='
        cookie = b"Cookie: " + others + browser.cookies["sessionid"].encode()
    answered = _answer(daybook, b"GET " + path.encode() + b" HTTP/1.1\r\n" + HOST + cookie + b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200 ")


def test_what_is_as_large_as_its_address_takes_is_read(daybook: Daybook) -> None:
    for path, size, status in (("/api/v1/customers", 1_000_000, 401), ("/api/v1/auth/login", 16_384, 400)):
        answered = httpx.post(f"http://127.0.0.1:{daybook.port}{path}", content=b" " * size, headers=JSON)
        assert answered.status_code == status, path
    longest = {"username": "\N{GRINNING FACE}" * 150, "password": "\N{GRINNING FACE}" * 1_000}
    body = json.dumps(longest)  # every character as two escapes
    assert (
        httpx.post(f"http://127.0.0.1:{daybook.port}/api/v1/auth/login", content=body, headers=JSON).status_code == 401
    )
    with closing(signed_in(f"http://127.0.0.1:{daybook.port}")) as browser:
        fields = dict.fromkeys(("old", "new", "again"), "\N{GRINNING FACE}" * 1_000)
        fields["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        assert "This is not your password." in browser.post("/password", data=fields).text


def test_what_is_too_large_is_refused_as_a_problem_to_who_is_still_speaking(daybook: Daybook) -> None:
    sizes = (
        *(("/api/v1/customers", 10_000_000), ("/api/v1/customers", 1_000_001), ("/api/v1/auth/login", 10_000_000)),
        *(("/api/v1/auth/login", 16_385), ("/log-in", 3_000_000), ("/log-in", 65_537), ("/theme", 65_537)),
    )
    for path, size in sizes:
        answered = httpx.post(
            f"http://127.0.0.1:{daybook.port}{path}",
            content=b" " * size,
            headers=JSON,
        )
        assert answered.status_code == 413, path
        assert UUID(answered.headers["X-Correlation-ID"])
        if path.startswith("/api/"):
            assert answered.json()["code"] == "request_too_large"
            assert answered.json()["correlation_id"] == answered.headers["X-Correlation-ID"]
