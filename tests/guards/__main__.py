"""Takes out each guard in a copy of the code, runs the tests that are to miss it, and says how they failed.

`python -m tests.guards [PART OF A NAME …]`; ends with 1 when a guard was missed by no test. First each test runs in a
copy with nothing taken out, where it has to pass. A guard is missed when a test then fails, at what the table says it
fails at: not by an error while tests are collected or set up, nor by code that merely does not run. Minutes: real
servers start for each.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from tests.guards.table import ASSERTION, GUARDS, HANGS, Guard

ROOT: Final = Path(__file__).parents[2]
LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "data", "*.png")
MOST_FAILURES: Final = 3
TEST_SECONDS: Final = 240
_SHOWN: Final = 100  # characters of what a test said


class Result(NamedTuple):
    """What one test came to."""

    test: str  # as junit has it: module, class, name
    outcome: str  # passed, failed, error, skipped
    error: str = ""  # the name of what was raised
    said: str = ""


def main(words: list[str]) -> int:
    """Tries the guards whose names have one of the words in them, all without any; answers with the exit code."""
    chosen = [guard for guard in GUARDS if not words or any(word in guard.name for word in words)]
    unfit = unfit_tests(chosen)
    for test in unfit:
        _say(f"DOES NOT PASS UNCHANGED: {test}")
    unmissed = [guard for guard in chosen if unfit.intersection(guard.tests) or not _is_missed(guard)]
    _say(f"\n{len(chosen) - len(unmissed)} of {len(chosen)} guards are missed by a test when they are taken out.")
    for guard in unmissed:
        _say(f"NOT MISSED: {guard.name} ({guard.file})")
    return 1 if unmissed else 0


def unfit_tests(guards: Iterable[Guard]) -> set[str]:
    """The tests that do not pass with nothing taken out, each run once."""
    tests = sorted({test for guard in guards for test in guard.tests})
    with _copy() as copy:
        results = _run(tests, copy, seconds=TEST_SECONDS * len(tests)) or []
    passed = {result.test for result in results if result.outcome == "passed"}
    others = {result.test for result in results if result.outcome != "passed"}
    return {test for test in tests if as_junit(test) not in passed - others}


def _is_missed(guard: Guard) -> bool:
    began = time.monotonic()
    with _copy() as copy:
        take_out(guard, copy)
        results = _run(guard.tests, copy, seconds=TEST_SECONDS, stop=True)
    if results is None:
        results = [Result(" ".join(guard.tests), "failed", HANGS)]
    missed = is_missed(guard, results)
    _say(f"{time.monotonic() - began:4.0f} s  {'' if missed else 'NOT MISSED: '}{guard.name}")
    for result in results:
        if result.outcome != "passed":
            _say(f"        {result.outcome} {result.test} at {result.error}: {result.said[:_SHOWN]}")
    return missed


def is_missed(guard: Guard, results: Iterable[Result]) -> bool:
    """Whether one of the tests failed at what it was to fail at."""
    return any(result.outcome == "failed" and result.error == guard.fails for result in results)


def take_out(guard: Guard, root: Path) -> None:
    """Changes the file below `root`. Raises LookupError when the guard does not stand there once."""
    file = root / guard.file
    text = file.read_text()
    if text.count(guard.code) != 1:
        raise LookupError(f"{guard.name}: {guard.file} has its code {text.count(guard.code)} times")
    file.write_text(text.replace(guard.code, guard.without))


@contextmanager
def _copy() -> Iterator[Path]:
    """The code, in a place of its own for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="daybook-guards-") as folder:
        copy = Path(folder) / "daybook"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        yield copy


def _run(tests: Iterable[str], copy: Path, *, seconds: float, stop: bool = False) -> list[Result] | None:
    """Runs the tests in a copy; None when they came to no end."""
    told = copy.parent / "told.xml"
    options = ["-q", "--no-header", "--tb=short", f"--junitxml={told}", *([f"--maxfail={MOST_FAILURES}"] * stop)]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    process = subprocess.Popen(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()  # its servers end with it
        process.wait()
        return None
    if not told.exists():  # no such test, or nothing of it could be loaded
        _say(output[-2_000:])
        return []
    return parse(told.read_text(encoding="utf-8"))


def parse(junit: str) -> list[Result]:
    """What each test came to, out of pytest's report."""
    found = []
    for case in ElementTree.fromstring(junit).iter("testcase"):
        test = f"{case.get('classname')}.{(case.get('name') or '').partition('[')[0]}"
        unhappy = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        if unhappy is None:
            found.append(Result(test, "passed"))
            continue
        said = unhappy.get("message") or ""
        outcome = {"failure": "failed"}.get(unhappy.tag, unhappy.tag)
        found.append(Result(test, outcome, error_named(said), said.replace("\n", " ")))
    return found


def error_named(said: str) -> str:
    """The name of the exception that a test ended with, without its module; an assertion's, however it was put."""
    if re.match(r"assert\b|Failed: DID NOT RAISE", said):
        return ASSERTION
    return said.partition(":")[0].partition("\n")[0].strip().rpartition(".")[2]


def as_junit(test: str) -> str:
    """A test's id as pytest's report has it."""
    file, *names = test.split("::")
    return ".".join([file.removesuffix(".py").replace("/", "."), *names])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
