"""Starts the planned services, watches them, passes on what they say, and stops them in order.

Invariants: one thread does everything, and it lives as long as the children (their parent-death signal is bound to
it); a child that dies is started again, later each time; nothing that was started outlives `stop_all`.
Imported by the `up` command.
"""

import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from config import processes
from config.up.output import LineReader, Terminal
from config.up.plan import (
    HOPELESS_FAILURES,
    Service,
    Stage,
    describe_death,
    failures_after,
    restart_delay_seconds,
)

WATCH_SECONDS = 0.1
STOPPING_WATCH_SECONDS = 0.02


class Stopped(Exception):
    """Daybook was asked to stop."""


@dataclass
class Child:
    """A service and the process that runs it just now, if one does."""

    service: Service
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0  # monotonic seconds
    failures: int = 0
    restart_at: float = 0.0  # monotonic seconds
    reader: LineReader | None = None  # of what that process says

    @property
    def last_line(self) -> str:
        """The last that it said, dead or alive."""
        return self.reader.last_line if self.reader is not None else ""

    @property
    def is_working(self) -> bool:
        """Whether its process runs just now, and has said that it is ready if it is one that says so."""
        running = self.process is not None and self.process.poll() is None
        return running and (self.reader is None or self.reader.said_ready)


class Supervisor:
    """The parent of all services."""

    def __init__(self, *, terminal: Terminal, cwd: Path) -> None:
        self._terminal = terminal
        self._cwd = cwd
        self._children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0

    def request_stop(self, *_: object) -> None:
        """Ask for an orderly stop; asked again, it no longer waits. Fit to be a signal handler."""
        self._stop_requests += 1

    def start(self, service: Service) -> "subprocess.Popen[bytes]":
        """Start a service and keep it running from now on. Raises OSError when its program cannot be started."""
        child = Child(service=service)
        self._children.append(child)
        return self._start(child)

    def not_working(self) -> list[str]:
        """The names of the services that do not run just now, or have not said yet that they are ready."""
        return [child.service.name for child in self._children if not child.is_working]

    def hopeless(self) -> str | None:
        """One line about a service that died quickly several times in a row, or None when there is none."""
        for child in self._children:
            if child.failures >= HOPELESS_FAILURES and not child.is_working:
                said = f"; the last it said is: {child.last_line}" if child.last_line else ""
                return f"{child.service.name} does not start ({child.failures} attempts){said}"
        return None

    def run_once(self, service: Service) -> int:
        """Run a child to its end, passing on what it says, while watching the others; return its exit code.

        Raises Stopped when a stop was asked for meanwhile.
        """
        process, _ = self._spawn(service)
        try:
            while process.poll() is None:
                self.watch()
        except Stopped:
            processes.stop(process=process, signal_number=signal.SIGTERM, timeout_seconds=service.stop_seconds)
            raise
        processes.signal_group(pid=process.pid, signal_number=signal.SIGKILL)
        self._pass_output(timeout_seconds=0)
        return process.returncode

    def wait_for(self, condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
        """Watch until the condition holds; False when it did not in time. Raises Stopped when a stop was asked for."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            self.watch()
        return True

    def watch(self) -> None:
        """Pass on output and restart the dead, for a moment. Raises Stopped when a stop was asked for."""
        self._pass_output(timeout_seconds=WATCH_SECONDS)
        if self._stop_requests or self._terminal.is_closed:
            raise Stopped
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._note_death(child, child.process)
            elif child.process is None and time.monotonic() >= child.restart_at:
                self._start(child)

    def stop_all(self) -> None:
        """Stop everything, stage by stage: web, workers, servers. Returns when nothing is left."""
        for stage in Stage:
            self._stop([child for child in self._children if child.service.stage == stage and child.process])
        self._children.clear()
        self._pass_output(timeout_seconds=0)

    def _start(self, child: Child) -> "subprocess.Popen[bytes]":
        child.process, child.reader = self._spawn(child.service)
        child.started_at = time.monotonic()
        return child.process

    def _spawn(self, service: Service) -> "tuple[subprocess.Popen[bytes], LineReader | None]":
        process = processes.spawn(
            argv=service.argv,
            cwd=self._cwd,
            environment=service.environment,
            user=service.user,
            orphan_signal=service.stop_signal,
            output=subprocess.PIPE,
        )
        reader = None
        pipe = process.stdout
        if pipe is not None:
            reader = LineReader(
                name=service.name,
                descriptor=pipe.fileno(),
                terminal=self._terminal,
                chatter=service.chatter,
                ready_line=service.ready_line,
            )
            self._selector.register(pipe, selectors.EVENT_READ, reader)
        return process, reader

    def _pass_output(self, *, timeout_seconds: float) -> None:
        for key, _ in self._selector.select(timeout_seconds):
            if not key.data.read():
                self._selector.unregister(key.fileobj)
                cast("IO[bytes]", key.fileobj).close()

    def _note_death(self, child: Child, process: "subprocess.Popen[bytes]") -> None:
        now = time.monotonic()
        processes.signal_group(pid=process.pid, signal_number=signal.SIGKILL)  # what it left of its own children
        self._pass_output(timeout_seconds=0)  # its last words, before what is said about it
        child.process = None
        child.failures = failures_after(failures=child.failures, ran_seconds=now - child.started_at)
        delay_seconds = restart_delay_seconds(failures=child.failures)
        child.restart_at = now + delay_seconds
        said = describe_death(
            name=child.service.name,
            code=process.returncode,
            failures=child.failures,
            delay_seconds=delay_seconds,
            last_line=child.last_line,
        )
        self._terminal.line("up", said)

    def _stop(self, children: list[Child]) -> None:
        """Ask all at once, wait for each as long as it may take, then kill."""
        running = [(child.service, child.process) for child in children if child.process is not None]
        began = time.monotonic()
        for service, process in running:
            if process.poll() is None:
                process.send_signal(service.stop_signal)
        while self._stop_requests <= 1 and any(
            process.poll() is None and time.monotonic() - began < service.stop_seconds for service, process in running
        ):
            self._pass_output(timeout_seconds=STOPPING_WATCH_SECONDS)
        for service, process in running:
            if process.poll() is None:
                self._terminal.line("up", f"{service.name} did not stop in time and is killed")
            processes.signal_group(pid=process.pid, signal_number=signal.SIGKILL)
            process.wait()
