"""The supervisor with small children of its own: order, patience, restarts, and nothing left behind."""

import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from config.processes import wait_until
from config.up import plan
from config.up.output import Terminal
from config.up.plan import Service, Stage
from config.up.supervisor import Stopped, Supervisor

LIMIT_SECONDS = 10.0

# Says "on", then waits to be stopped and writes its name at the end of a file.
POLITE = """
import signal, sys
def stop(*_):
    open(sys.argv[2], "a").write(sys.argv[1] + " ")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("on", flush=True)
signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("on", flush=True)
while True: signal.pause()
"""
MORTAL = "print('on', flush=True)"
PARENT = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid, flush=True)
sys.exit(3)
"""


class Watched:
    """A supervisor whose terminal can be read."""

    def __init__(self, *, cwd: Path) -> None:
        self.stream = io.StringIO()
        self.supervisor = Supervisor(terminal=Terminal(stream=self.stream), cwd=cwd)

    def wait_for(self, text: str, *, times: int = 1) -> None:
        """Watch until the text was printed so often."""
        found = self.supervisor.wait_for(
            lambda: self.stream.getvalue().count(text) >= times, timeout_seconds=LIMIT_SECONDS
        )
        assert found, self.stream.getvalue()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A supervisor; everything it started is stopped afterwards."""
    watched = Watched(cwd=tmp_path)
    yield watched
    watched.supervisor.stop_all()


def _service(
    name: str,
    code: str,
    *arguments: str,
    stage: Stage = Stage.WORK,
    stop_seconds: float = 5.0,
    ready_line: str | None = None,
) -> Service:
    return Service(
        ready_line=ready_line,
        name=name,
        argv=(sys.executable, "-c", code, *arguments),
        stage=stage,
        stop_seconds=stop_seconds,
        environment={"PATH": os.defpath, "PYTHONUNBUFFERED": "1"},
    )


def test_it_stops_web_before_workers_and_workers_before_servers(watched: Watched, tmp_path: Path) -> None:
    order = tmp_path / "order"
    for stage in (Stage.SERVERS, Stage.WEB, Stage.WORK):
        watched.supervisor.start(_service(stage.name, POLITE, stage.name, str(order), stage=stage))
    watched.wait_for("| on", times=3)
    watched.supervisor.stop_all()
    assert order.read_text().split() == ["WEB", "WORK", "SERVERS"]


def test_it_kills_who_does_not_stop_in_time_and_says_so(watched: Watched) -> None:
    process = watched.supervisor.start(_service("deaf", STUBBORN, stop_seconds=0.2))
    watched.wait_for("| on")
    watched.supervisor.stop_all()
    assert process.returncode == -signal.SIGKILL
    assert "deaf did not stop in time and is killed" in watched.stream.getvalue()


def test_it_waits_for_nobody_when_asked_to_stop_twice(watched: Watched) -> None:
    watched.supervisor.start(_service("deaf", STUBBORN, stop_seconds=60.0))
    watched.wait_for("| on")
    watched.supervisor.request_stop()
    with pytest.raises(Stopped):
        watched.supervisor.watch()
    watched.supervisor.request_stop()
    began = time.monotonic()
    watched.supervisor.stop_all()
    assert time.monotonic() - began < LIMIT_SECONDS


def test_it_starts_the_dead_again_later_each_time(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "FIRST_RESTART_SECONDS", 0.01)
    watched.supervisor.start(_service("mortal", MORTAL))
    watched.wait_for("starts again", times=3)
    said = [line for line in watched.stream.getvalue().splitlines() if "starts again" in line]
    assert [line.partition(" again in ")[2].split()[0] for line in said[:3]] == ["0.01", "0.02", "0.04"]


def test_it_repeats_the_last_words_of_a_child_that_does_not_start(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "FIRST_RESTART_SECONDS", 0.01)
    watched.supervisor.start(_service("broken", "raise ValueError('no such setting')"))
    assert watched.supervisor.hopeless() is None
    watched.wait_for("3 times in a row")
    (line,) = [line for line in watched.stream.getvalue().splitlines() if "3 times in a row" in line]
    assert "broken ended with code 1" in line
    assert line.endswith("(its last line: ValueError: no such setting)")
    assert watched.supervisor.hopeless() == (
        "broken does not start (3 attempts); the last it said is: ValueError: no such setting"
    )


def test_a_child_works_once_it_has_said_so_and_as_long_as_it_runs(watched: Watched) -> None:
    process = watched.supervisor.start(_service("slow", POLITE, "slow", os.devnull, ready_line="on"))
    assert watched.supervisor.not_working() == ["slow"]
    ready = watched.supervisor.wait_for(lambda: not watched.supervisor.not_working(), timeout_seconds=LIMIT_SECONDS)
    assert ready
    assert "| on" not in watched.stream.getvalue()
    process.kill()
    process.wait()
    assert watched.supervisor.not_working() == ["slow"]


def test_it_ends_what_a_dead_child_left_of_its_own_children(watched: Watched) -> None:
    assert watched.supervisor.run_once(_service("parent", PARENT)) == 3
    left = int(watched.stream.getvalue().split("|")[1])
    assert wait_until(lambda: not psutil.pid_exists(left), timeout_seconds=LIMIT_SECONDS)


def test_it_interrupts_a_command_when_asked_to_stop(watched: Watched) -> None:
    before = psutil.Process().children()
    monitor = watched.supervisor
    original = monitor.watch

    def watch_then_stop() -> None:
        if "| on" in watched.stream.getvalue():
            monitor.request_stop()
        original()

    monitor.watch = watch_then_stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        monitor.run_once(_service("long", STUBBORN, stop_seconds=0.2))
    assert psutil.Process().children() == before


def test_it_stops_when_nobody_reads_what_it_says(watched: Watched) -> None:
    watched.supervisor.start(_service("mortal", MORTAL))
    watched.stream.close()
    with pytest.raises(Stopped):
        watched.supervisor.wait_for(lambda: False, timeout_seconds=LIMIT_SECONDS)


def test_a_program_that_is_not_there_is_an_error_of_the_start(watched: Watched) -> None:
    missing = Service(name="none", argv=("/nowhere/at-all",), stage=Stage.WEB, stop_seconds=1.0, environment={})
    with pytest.raises(FileNotFoundError):
        watched.supervisor.start(missing)
