"""A real Celery worker for tests: a process in a session of its own, on the database and the broker of the test.

Invariant: leaving the context kills the worker's whole group. No beat runs beside it: what it does, it was woken for.
Tests use the fixture `worker`, or `running_worker` for a database of their choice; in the test's own process nobody is
woken unless the setting `EVENTSTORE["WAKE"]` says so, which the fixture sets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import pytest
from pytest_django import Settings

from config import processes
from tests.conftest import Database

ROOT: Final = Path(__file__).resolve().parents[1]
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0


class Worker:
    """One worker process with its children, that can be stopped, killed and started again."""

    def __init__(self, *, database: Database, log: Path, concurrency: int = 1, queues: Sequence[str] = ()) -> None:
        self.log = log
        self._environment = {**database.environment, "LOG_LEVEL": "INFO", "REMAP_SIGTERM": "SIGQUIT"}
        self._command = [
            *(sys.executable, "-m", "celery", "-A", "config.celery", "worker", "--pool", "prefork"),
            *("--concurrency", str(concurrency), "--queues", ",".join(queues or ["eventstore"])),
            *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "info"),
        ]
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Of the parent process."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it printed since it was first started."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> Self:
        """Starts it and waits until it takes messages."""
        before = self.output.count(" ready.") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        is_ready = processes.wait_until(
            lambda: self.output.count(" ready.") > before or self._process.poll() is not None,
            timeout_seconds=READY_SECONDS,
        )
        assert is_ready, self.output
        assert self._process.poll() is None, self.output
        return self

    def kill(self) -> None:
        """SIGKILL to the worker and its children: what power cuts and a lack of memory do."""
        processes.signal_group(pid=self.pid, signal_number=signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Asks it to stop, kills what is left; answers with its exit code."""
        return processes.stop(process=self._process, signal_number=signal.SIGTERM, timeout_seconds=STOP_SECONDS)

    def restart(self) -> Self:
        """Kills it and starts another in its place."""
        self.kill()
        return self.start()


@contextmanager
def running_worker(*, database: Database, concurrency: int = 1) -> Iterator[Worker]:
    """A worker on that database, for the time of the block."""
    descriptor, path = tempfile.mkstemp(prefix="daybook-worker-", suffix=".log")
    os.close(descriptor)
    worker = Worker(database=database, log=Path(path), concurrency=concurrency)
    try:
        worker.start()
        yield worker
    finally:
        worker.kill()
        worker.log.unlink()


@pytest.fixture
def worker(fresh_database: Database, settings: Settings) -> Iterator[Worker]:
    """A worker on the test's own database (`fresh_database`) and broker, which the test's commits wake."""
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": "eventstore.celery_wakeup.wake"}
    with running_worker(database=fresh_database) as found:
        yield found
