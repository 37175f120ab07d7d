"""Fifty open pages on a real Daybook: all hear of a change, and none holds up the stop."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from config.demo import PASSWORD
from tests.conftest import Database
from tests.daybook_process import STOP_SECONDS, Daybook
from tests.folders import passing_folder, remove_folder
from tests.integration.signed_in import signed_in

PAGES = 50
NAMES = ("teller", "supervisor", "auditor")  # one alone may not have so many open
HEARD_SECONDS = 10.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder."""
    folder = passing_folder()
    yield folder
    remove_folder(folder)


class Listener:
    """One open page's stream, read in a thread."""

    def __init__(self, address: str, cookies: dict[str, str]) -> None:
        self.heard: set[str] = set()
        self.began, self.ended = threading.Event(), threading.Event()
        self.failure = ""
        self._address, self._cookies = address, cookies
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            with httpx.stream("GET", f"{self._address}/live/changes", cookies=self._cookies, timeout=60) as stream:
                for line in stream.iter_lines():
                    self._hear(line)
        except httpx.HTTPError as error:
            self.failure = repr(error)
        self.ended.set()

    def _hear(self, line: str) -> None:
        self.began.set()
        if line.startswith("data: {"):
            with self._news:
                self.heard |= {id for _type, id, _version in json.loads(line.removeprefix("data: "))["changes"] or []}
                self._news.notify_all()

    def hears_of(self, id: str) -> bool:
        """Whether it hears of a stream in time."""
        with self._news:
            return self._news.wait_for(lambda: id in self.heard, HEARD_SECONDS)


def test_fifty_pages_hear_of_a_change_and_do_not_hold_up_the_stop(folder: Path, fresh_database: Database) -> None:
    with ExitStack() as stack:
        daybook = stack.enter_context(
            Daybook(data_dir=folder, environment=fresh_database.environment, demo=True).ready()
        )
        daybook.wait_for_line("Log in as teller")
        address = f"http://127.0.0.1:{daybook.port}"
        clients = [stack.enter_context(closing(signed_in(address, name))) for name in NAMES]
        listeners = [Listener(address, dict(clients[number % len(clients)].cookies)) for number in range(PAGES)]
        assert all(listener.began.wait(HEARD_SECONDS) for listener in listeners)
        api = f"{address}/api/v1"
        token = httpx.post(f"{api}/auth/login", json={"username": "teller", "password": PASSWORD}).json()["token"]
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid4())}
        made = httpx.post(f"{api}/customers", json={"name": "Alice Abel"}, headers=headers).json()
        assert [listener for listener in listeners if not listener.hears_of(made["customer_id"])] == []
        assert daybook.stop() < STOP_SECONDS
        assert all(listener.ended.wait(1) for listener in listeners)
        assert {listener.failure for listener in listeners} == {""}  # ended, not cut off
        assert "did not stop in time" not in daybook.output
