"""An operator who goes about the usual business while things break: replays, pauses, splits, retries, verifies.

By the commands that an operator has, each a process of its own beside what is running. A command may find the database
away and say so in a line; it may not leave anything half done, end with a traceback, or find the ledger different.
Invariant: whatever was paused goes on when the operator leaves. Imported by the soak.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final, Self

import psycopg

from config.processes import wait_until
from tests.faults.kinds import NEWER_NAME
from tests.faults.product import OPERATING, Hung, Product

PATIENCE_SECONDS: Final = 240.0
"""How long a command may take, on a busy machine on which things break."""
RANGES: Final = (1, 2, 3, 4, 8)
CLEAN, DIFFERENT, CANNOT_TELL = 0, 1, 2  # how `verify_ledger` ends

_SELECT_SUBSCRIPTIONS: Final = """
SELECT DISTINCT subscription FROM eventstore_checkpoint WHERE status <> 'replaying' ORDER BY 1
"""
_SELECT_PROJECTIONS: Final = """
SELECT DISTINCT subscription FROM eventstore_checkpoint
WHERE projection_version IS NOT NULL AND status <> 'replaying' ORDER BY 1
"""
_SELECT_PAUSED: Final = "SELECT DISTINCT subscription FROM eventstore_checkpoint WHERE status = 'paused'"


def _is_of_a_newer_version(finding: dict[str, Any]) -> bool:
    """Whether all that differs are events that only a newer version can read, which is among the faults."""
    named = finding["named"]
    newer = f"UnknownEventType: no code for event '{NEWER_NAME}"
    are_newer = all(difference["actual"].startswith(newer) for difference in named)
    return finding["name"] == "events" and finding["differences"] == len(named) and are_newer


WORKS: Final = ("replays", "pauses", "splits", "bulk retries", "verifications")
"""What an operator does, as it is counted."""


class Operator:
    """A thread that operates a running Daybook now and then."""

    def __init__(self, *, product: Product, seed: int, least_seconds: float = 2.0, most_seconds: float = 15.0) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._product = product
        self._random = Random(f"operator {seed}")
        self._between = least_seconds, most_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="operator")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if error is None:
            self._thread.join(PATIENCE_SECONDS)
            self.check()
            assert not self._thread.is_alive(), "the operator's command does not end"

    def check(self) -> None:
        """Raises what the operator ran into."""
        if self.errors:
            raise self.errors[0]

    def _work(self) -> None:
        works: list[Callable[[], None]] = [self._replay, self._pause, self._split, self._retry, self._verify]
        todo: list[Callable[[], None]] = []
        try:
            while not self._over.wait(self._random.uniform(*self._between)):
                todo = todo or self._random.sample(works, len(works))  # each once, then each once again
                try:
                    todo.pop()()
                except psycopg.OperationalError:  # it is not there just now, which is a fault of ours
                    self.done["looks in vain"] += 1
        except BaseException as error:  # noqa: BLE001 - the thread that waits must hear of it
            self.errors.append(error)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self._product.manage(*arguments, check=False)
        assert "Traceback" not in done.stderr, f"{arguments}: {done.stdout[-1000:]}\n{done.stderr[-4000:]}"
        return done

    def _count(self, what: str, done: subprocess.CompletedProcess[str]) -> None:
        refused = done.returncode and OPERATING in done.stderr  # then all of this would be for nothing
        assert not refused, done.stderr
        self.done[what if done.returncode == 0 else f"{what} not done"] += 1

    def _chosen(self, statement: str) -> str:
        return str(self._random.choice(self._product.rows(statement))[0])

    def _replay(self) -> None:
        self._count("replays", self._run("replay_projections", self._chosen(_SELECT_PROJECTIONS)))

    def _split(self) -> None:
        name, into = self._chosen(_SELECT_SUBSCRIPTIONS), str(self._random.choice(RANGES))
        self._count("splits", self._run("subscriptions", "split", name, "--into", into, "--as", OPERATING))

    def _retry(self) -> None:
        self._count("bulk retries", self._run("parked", "retry", "--all", "--reason", "Mended", "--as", OPERATING))

    def _pause(self) -> None:
        """Pauses one and has it go on; nobody is timed meanwhile."""
        name = self._chosen(_SELECT_SUBSCRIPTIONS)
        with self._product.pausing:
            try:
                self._count(
                    "pauses", self._run("subscriptions", "pause", name, "--reason", "A look", "--as", OPERATING)
                )
            finally:
                self._resume(name)

    def _resume(self, name: str) -> None:
        """Until it goes on: a command that was cut off may have done its work or not."""

        def goes_on() -> bool:
            try:
                if (name,) not in self._product.rows(_SELECT_PAUSED):
                    return True
            except psycopg.OperationalError:
                return False
            self._count("resumptions", self._run("subscriptions", "resume", name, "--as", OPERATING))
            return False

        if not wait_until(goes_on, timeout_seconds=PATIENCE_SECONDS, poll_seconds=0.5):
            raise Hung(f"{name} could not be resumed\n{self._product.describe()}")

    def _verify(self) -> None:
        """It may meet events of a newer version, which this one cannot read, and says so; and nothing else."""
        with self._product.dating:
            done = self._run("verify_ledger", "--json")
        assert done.returncode in (CLEAN, DIFFERENT, CANNOT_TELL), f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
        if done.returncode == DIFFERENT:
            differing = [found for found in json.loads(done.stdout)["findings"] if found["differences"]]
            assert all(_is_of_a_newer_version(found) for found in differing), differing
        self._count("verifications", done)
