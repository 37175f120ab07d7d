"""A whole Daybook for tests: `manage.py up` as a real process, watched through what it prints.

Invariant: leaving the context kills whatever is left, so that no test outlives its processes.
Imported by tests that start real processes.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONDONTWRITEBYTECODE")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Daybook:
    """One run of `manage.py up` on a data folder, with the embedded servers unless `environment` names others.

    `prefix` stands before its command.
    """

    def __init__(
        self,
        *,
        data_dir: Path,
        port: int | None = None,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        demo: bool = False,
    ) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "DAYBOOK_DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "WORKER_PROCESSES": "1",
            **(environment or {}),
        }
        self.command = [*prefix, sys.executable, "manage.py", "up", "--demo" if demo else "--no-demo"]
        self.process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        """Start it."""
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it and all that belongs to it."""
        self.process.kill()
        self.process.wait()
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.forget()

    def forget(self) -> None:
        """Collect the process that ended, and what it said; what it started is another's."""
        self.process.wait()
        self._reader.join(STOP_SECONDS)
        if self.process.stdout and not self._reader.is_alive():
            self.process.stdout.close()

    def _read(self) -> None:
        if self.process.stdout is None:
            return
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return "\n".join(self.lines)

    def wait_for_line(self, pattern: str, *, since: int = 0, timeout_seconds: float = READY_SECONDS) -> str:
        """Return the first line, from number `since` on, that the pattern is found in; fails when none comes."""
        with self._news:
            found = self._news.wait_for(
                lambda: next((line for line in self.lines[since:] if re.search(pattern, line)), None),
                timeout_seconds,
            )
        assert found, f"no line matched {pattern!r}:\n{self.output}"
        return found

    def wait_until_ready(self) -> Self:
        """Wait until it said that it is ready."""
        self.wait_for_line("Daybook is ready at")
        return self

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """Start it and wait until it is ready."""
        with self:
            yield self.wait_until_ready()

    def stop(self, number: int = signal.SIGINT) -> float:
        """Ask it to stop, as Ctrl-C or an init system does; return how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS + 5)
        return time.monotonic() - began

    def wait_for_end(self) -> int:
        """Wait until it ended by itself, and all it printed is there; return its exit code."""
        code = self.process.wait(READY_SECONDS)
        self._reader.join(STOP_SECONDS)
        return code

    def family(self) -> list[psutil.Process]:
        """Every process that runs for this data folder, `up` aside."""
        return [
            process
            for process in psutil.process_iter()
            if process.pid not in {self.process.pid, os.getpid()} and self._belongs(process)
        ]

    def children(self) -> list[psutil.Process]:
        """Those of the family that `up` itself started."""
        return [process for process in self.family() if process.ppid() == self.process.pid]

    def _belongs(self, process: psutil.Process) -> bool:
        folder = str(self.data_dir)
        with suppress(psutil.Error):
            if any(part == folder or part.startswith(folder + "/") for part in process.cmdline()):
                return True
            return bool(process.environ().get("DAYBOOK_DATA_DIR") == folder)
        return False
