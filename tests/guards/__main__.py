"""Takes out each guard in a copy of the code, runs the tests that are to miss it, and says which failed.

`python -m tests.guards [PART OF A NAME …]`; ends with 1 when a guard was missed by no test. Minutes: real servers start
for each.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.guards.table import GUARDS, Guard

ROOT: Final = Path(__file__).parents[2]
LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "data", "*.png")
MOST_FAILURES: Final = 3
TEST_SECONDS: Final = 240
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


def main(words: list[str]) -> int:
    """Tries the guards whose names have one of the words in them, all without any; answers with the exit code."""
    chosen = [guard for guard in GUARDS if not words or any(word in guard.name for word in words)]
    unmissed = [guard for guard in chosen if not _is_missed(guard)]
    _say(f"\n{len(chosen) - len(unmissed)} of {len(chosen)} guards are missed by a test when they are taken out.")
    for guard in unmissed:
        _say(f"NOT MISSED: {guard.name} ({guard.file})")
    return 1 if unmissed else 0


def _is_missed(guard: Guard) -> bool:
    with tempfile.TemporaryDirectory(prefix="daybook-guards-") as folder:
        copy = Path(folder) / "daybook"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        take_out(guard, copy)
        began = time.monotonic()
        failed = _failed_tests(guard, copy)
    _say(f"{time.monotonic() - began:4.0f} s  {guard.name}")
    for test in failed:
        _say(f"        {test}")
    return bool(failed)


def take_out(guard: Guard, root: Path) -> None:
    """Changes the file below `root`. Raises LookupError when the guard does not stand there once."""
    file = root / guard.file
    text = file.read_text()
    if text.count(guard.code) != 1:
        raise LookupError(f"{guard.name}: {guard.file} has its code {text.count(guard.code)} times")
    file.write_text(text.replace(guard.code, guard.without))


def _failed_tests(guard: Guard, copy: Path) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", f"--maxfail={MOST_FAILURES}"]
    try:
        done = subprocess.run(
            [*command, *guard.tests], cwd=copy, capture_output=True, text=True, timeout=TEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [f"hangs: {' '.join(guard.tests)}"]
    if done.returncode not in (0, 1, 2):
        raise RuntimeError(f"{guard.name}: the tests did not run:\n{done.stdout}{done.stderr}")
    return _FAILED.findall(done.stdout)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
