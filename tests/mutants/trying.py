"""Tries mutants within one pytest session: collected once, run once as the code is, then in a fork for each mutant.

In the fork the mutant is put in place (`applying`) and the tests run that reach it (`reaching`), until one fails or
takes far longer than it did. The databases are those of the session, which each test empties or leaves behind; after a
fork that had to be killed they are made again from copies.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import pytest
from django.db import connections

from tests.mutants.applying import NotApplicable, apply
from tests.mutants.edits import Mutant
from tests.mutants.keeping import Kept
from tests.mutants.making import mutants_of
from tests.mutants.parts import Part
from tests.mutants.reaching import called_functions, functions_of

ROOT: Final = Path(__file__).parents[2]
LEAST_SECONDS: Final = 15
"""How long any test may take with a mutant, however quick it was without."""
TIMES_LONGER: Final = 8
"""How much longer than without it a test may take with a mutant."""

LAST_KILLERS: Final = 3
"""How many of those that failed last are tried first: mutants that stand together are killed by the same tests."""


class Outcome(Enum):
    """What became of a mutant."""

    KILLED = "a test failed"
    HUNG = "a test did not come to an end"
    SURVIVED = "no test failed"
    UNREACHED = "no test calls it"
    NOT_APPLICABLE = "it cannot be put in place"


_HUNG: Final = 3
_EXIT_CODES: Final = {0: Outcome.SURVIVED, 1: Outcome.KILLED, 2: Outcome.NOT_APPLICABLE, _HUNG: Outcome.HUNG}


class Tried(NamedTuple):
    """A mutant and what became of it."""

    mutant: Mutant
    outcome: Outcome
    test: str  # that failed, or hung; "" when none did


class Trial:
    """A pytest plugin that runs mutants in the place of the session's one run; `tried` is by part."""

    def __init__(self, parts: Sequence[Part], *, words: Sequence[str] = (), most_tests: int | None = None) -> None:
        self.tried: dict[str, list[Tried]] = {}
        self._parts = parts
        self._words = words
        self._most_tests = most_tests
        self._called: dict[str, set[tuple[str, str]]] = {}  # by test
        self._seconds: dict[str, float] = {}
        self._failed: list[str] = []
        self._killers: list[str] = []  # the last one first

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes who failed."""
        if report.failed:
            self._failed.append(report.nodeid)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Runs everything as it is; then the mutants."""
        if session.testsfailed or session.config.option.collectonly:
            return False
        self._run_unchanged(session)
        from tests.conftest import _servers  # which pytest must load first

        self._keep = Kept(session.config.stash[_servers])
        gc.collect()
        gc.freeze()  # what forks share stays shared
        for part in self._parts:
            self.tried[part.name] = [self._try(session, part, one) for one in self._mutants(part)]
        self._keep.forget()
        return True

    def _mutants(self, part: Part) -> list[Mutant]:
        made = mutants_of(part.file, (ROOT / part.file).read_text())
        places = tuple(word for word in self._words if part.file.endswith(word.partition(":")[0]) and ":" in word)
        return [one for one in made if not places or one.place.endswith(places)]

    def _run_unchanged(self, session: pytest.Session) -> None:
        files = {str(ROOT / part.file) for part in self._parts}
        for item in session.items:
            began = time.monotonic()
            with called_functions(files) as called:
                _run(session, item)
            self._called[item.nodeid] = called
            self._seconds[item.nodeid] = time.monotonic() - began
        if self._failed:
            say(f"\nfail without any mutant, and are left out: {', '.join(self._failed)}")
        session.items = [item for item in session.items if item.nodeid not in self._failed]
        self._failed.clear()

    def _try(self, session: pytest.Session, part: Part, mutant: Mutant) -> Tried:
        began = time.monotonic()
        items = self._items(session, part, mutant)
        outcome, test = self._fork(session, part, mutant, items) if items else (Outcome.UNREACHED, "")
        if outcome in (Outcome.KILLED, Outcome.HUNG):
            self._killers = [test, *(one for one in self._killers if one != test)]
            self._keep.drop_others()
        if outcome is Outcome.HUNG:
            self._keep.restore()
        _tell(Tried(mutant, outcome, test), seconds=time.monotonic() - began, tests=len(items))
        return Tried(mutant, outcome, test)

    def _items(self, session: pytest.Session, part: Part, mutant: Mutant) -> list[pytest.Item]:
        """The tests that reach the mutant: who failed last, who names the function, who calls most of the module."""
        functions = functions_of(mutant, (ROOT / part.file).read_text())
        name = str(ROOT / part.file)
        called = {
            item: {function for file, function in self._called[item.nodeid] if file == name}
            for item in session.items
            if item.nodeid.split("::")[0] in part.tests
        }
        reaching = [item for item, found in called.items() if functions is None or functions & found]
        rank = {test: place for place, test in enumerate(self._killers[:LAST_KILLERS])}
        names = {one.rpartition(".")[2] for one in functions or ()}
        reaching.sort(
            key=lambda item: (rank.get(item.nodeid, len(rank)), not names & _names_in(item), -len(called[item]))
        )
        return reaching[: self._most_tests]

    def _fork(
        self, session: pytest.Session, part: Part, mutant: Mutant, items: list[pytest.Item]
    ) -> tuple[Outcome, str]:
        connections.close_all()  # two processes must not talk over one connection
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._be_the_mutant(session, part, mutant, items, writing)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # whom its tests have started
        with os.fdopen(reading) as told:
            lines = told.read().splitlines()
        outcome = _EXIT_CODES.get(os.waitstatus_to_exitcode(status), Outcome.HUNG)
        return outcome, lines[-1] if lines and outcome is not Outcome.SURVIVED else ""

    def _be_the_mutant(
        self, session: pytest.Session, part: Part, mutant: Mutant, items: list[pytest.Item], writing: int
    ) -> None:
        """Runs the tests in this process and ends it, with one of `_EXIT_CODES`."""
        os.setsid()
        session.config.pluginmanager.unregister(name="terminalreporter")
        code = 1
        try:
            apply(mutant.text, importlib.import_module(part.file.removesuffix(".py").replace("/", ".")))
            code = self._run_until_one_fails(session, items, writing)
        except NotApplicable:
            code = 2
        except BaseException as error:  # noqa: BLE001 - whatever it was, this process must not go on with the session
            os.write(writing, f"{error!r:.200}\n".encode())
        finally:
            os._exit(code)

    def _run_until_one_fails(self, session: pytest.Session, items: list[pytest.Item], writing: int) -> int:
        for item in items:
            os.write(writing, f"{item.nodeid}\n".encode())
            seconds = max(LEAST_SECONDS, TIMES_LONGER * self._seconds[item.nodeid])
            # By no signal's timer: a handler's own deadline sets and ends that.
            limit = threading.Timer(seconds, os._exit, [_HUNG])
            limit.daemon = True
            limit.start()
            _run(session, item)
            limit.cancel()
            if self._failed:
                return 1
        return 0


def _names_in(item: pytest.Item) -> set[str]:
    """What the test itself names, in its own functions and comprehensions too."""
    waiting = [item.function.__code__] if isinstance(item, pytest.Function) else []
    names: set[str] = set()
    for code in waiting:
        names |= set(code.co_names)
        waiting += [inside for inside in code.co_consts if isinstance(inside, types.CodeType)]
    return names


def _run(session: pytest.Session, item: pytest.Item) -> None:
    """One test; what belongs to the session stays for the next."""
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=cast("Any", session))


def _tell(tried: Tried, *, seconds: float, tests: int) -> None:
    mutant, outcome, test = tried
    say(f"{outcome.name:14} {mutant.place:44} {seconds:5.1f} s of {tests:3} tests  {test.rpartition('::')[2]}")
    if outcome is not Outcome.KILLED:
        say(f"    - {mutant.before}\n    + {mutant.after}")


def say(line: str) -> None:
    """Prints at once."""
    sys.__stdout__.write(f"{line}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]
