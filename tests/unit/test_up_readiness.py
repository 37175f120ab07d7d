"""When the start takes the web server for ready: all in order, the broker too, without which it would serve."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from config.up import running

OK = '{"status": "ok", "broker": "ok"}'
DEGRADED = '{"status": "degraded", "broker": "failing"}'
FAILING = '{"status": "failing", "broker": "ok"}'


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Answers with what the test has put into its `answer`."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = self.server.answer  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, OK, running.READY),
        (200, DEGRADED, f"200 {DEGRADED}"),
        (503, FAILING, f"503 {FAILING}"),
        (404, "", "404"),
    ],
)
def test_it_is_ready_when_all_is_in_order(server: HTTPServer, status: int, body: str, found: str) -> None:
    server.answer = (status, body)  # type: ignore[attr-defined]
    assert running._readiness(port=server.server_port) == found


def test_nobody_there_is_not_ready(server: HTTPServer) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()
    assert running._readiness(port=port) == "nothing"
