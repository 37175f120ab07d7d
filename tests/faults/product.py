"""The product under faults: what `manage.py up` runs, and how its parts are found, killed and frozen.

Imported by the fault tests and the soak.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import psutil

from config.processes import wait_until
from tests.daybook_process import ROOT, Daybook
from tests.faults.auditing import Auditor
from tests.load import PATIENCE_SECONDS, Client, Load, Request, Told, Town

RETURN_SECONDS: Final = 60.0
"""How long a part that was killed may take to come back, on a busy machine."""


class Product:
    """A running Daybook, its clients, what they were told so far, and an auditor of its database."""

    def __init__(self, daybook: Daybook, auditor: Auditor) -> None:
        self.daybook = daybook
        self.auditor = auditor
        self.url = f"http://127.0.0.1:{daybook.port}"
        self.told: list[Told] = []
        self.cash_minor = 0  # that accounts were opened with
        self.api_key = self.manage("create_api_key", "till", "--role", "supervisor").stdout.strip()

    def settle(self) -> Town:
        """Opens accounts."""
        with Client(url=self.url, api_key=self.api_key) as client:
            town = Town.settle(client)
        self.cash_minor += town.cash_minor
        return town

    @contextmanager
    def load(self, requests: Sequence[Request], *, clients: int) -> Iterator[Load]:
        """Clients that ask while the block runs, and until they all know."""
        with Load(requests, url=self.url, api_key=self.api_key, clients=clients) as load:
            yield load
        self.told += load.told

    def assert_nothing_is_lost(self, *, seconds: float) -> float:
        """Every transfer ends within that time; what clients were told, the store and the read models agree.

        Answers with the seconds that it took until every transfer was final and shown.
        """
        began = time.monotonic()
        assert self.auditor.wait_until_all_final(seconds=seconds), self._what_is_left()
        settled_seconds = time.monotonic() - began
        self.auditor.check(self.told, cash_minor=self.cash_minor)
        report = self.verify()
        assert report["clean"], report
        return settled_seconds

    def _what_is_left(self) -> str:
        shown = self.auditor.transfers_shown()
        return f"{self.auditor.unfinished()} unfinished, {self.auditor.parked()} parked, {shown}\n{self.daybook.output}"

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a management command as an operator would, beside what is running."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.daybook.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def verify(self) -> dict[str, Any]:
        """The report of `manage.py verify_ledger`."""
        report: dict[str, Any] = json.loads(self.manage("verify_ledger", "--json", check=False).stdout)
        return report

    def worker(self) -> psutil.Process | None:
        """The Celery worker's parent process, or None while there is none."""
        return self._child("config.celery", "worker")

    def redis(self) -> psutil.Process | None:
        """The Redis server, or None while there is none."""
        return self._child("redis-server")

    def web(self) -> psutil.Process | None:
        """The web server's parent process, or None while there is none."""
        return self._child("granian")

    def _child(self, *words: str) -> psutil.Process | None:
        """The child of `up` in whose command line each of these words stands."""
        found = [child for child in self.daybook.children() if all(_names(child, word) for word in words)]
        return found[0] if found else None

    def kill_worker(self, *, parent: bool) -> None:
        """Kills the worker's parent process, or one of the children that do its work."""
        worker = self.wait_for_worker()
        victim = worker if parent else (_children(worker) or [worker])[0]
        with suppress(psutil.NoSuchProcess):  # it has just been replaced by another
            victim.send_signal(signal.SIGKILL)

    def kill_workers_under(self, load: Load, *, kills: int) -> float:
        """Kills children and parents by turns while the load is worked off; answers how long the last took to return.

        "Returned" is the first thing that was dispatched afterwards. The time is in seconds from the kill.
        """
        killed = self.auditor.now()
        for kill in range(kills):
            share = load.total * kill // kills
            assert wait_until(lambda: load.answered > share or not load.is_running, timeout_seconds=PATIENCE_SECONDS)  # noqa: B023
            self.wait_for_worker()
            self.wait_for_work_in_progress(load)
            killed = self.auditor.now()
            self.kill_worker(parent=kill % 2 == 0)
        self.wait_for_worker()
        returned = self.auditor.wait_for_sign_of_life(since=killed, seconds=RETURN_SECONDS)
        return float((returned - killed).total_seconds())

    def wait_for_work_in_progress(self, load: Load) -> None:
        """Waits until some transfer has begun and not ended, as long as the load may still begin one."""

        def in_progress_or_over() -> bool:
            return self.auditor.unfinished() > 0 or not load.is_running

        assert wait_until(in_progress_or_over, timeout_seconds=PATIENCE_SECONDS, poll_seconds=0.005)

    def wait_for_worker(self) -> psutil.Process:
        """The worker's parent process, once it is there and has children."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            worker = self.worker()
            found[:] = [worker] if worker is not None and _children(worker) else []
            return bool(found)

        assert wait_until(is_there, timeout_seconds=RETURN_SECONDS), self.daybook.output
        return found[0]

    @contextmanager
    def frozen_redis(self) -> Iterator[None]:
        """Redis takes connections and says nothing, for the time of the block."""
        redis = self.redis()
        assert redis is not None
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(redis.pid, signal.SIGCONT)


def _names(process: psutil.Process, word: str) -> bool:
    """Whether an argument is this word, or a path that ends in it or in it and a colon with more."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return False
    return any(argument.rpartition("/")[2].partition(":")[0] == word for argument in arguments)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = process.children()
    except psutil.Error:
        return []
    return children
