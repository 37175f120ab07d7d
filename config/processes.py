"""Starting, recognising and stopping child processes.

Invariants: a child leads a session and process group of its own, so that a terminal's Ctrl-C reaches the parent alone
and what the child started can be found again; on Linux it is told to stop when its parent dies, however that happens,
and so are the processes that servers start themselves (`end_with`).
Imported by `config.embedded`, `config.up`, `config.celery`, `config.asgi`, and by tests that start real processes.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from config.embedded.home import ServiceUser

PR_SET_PDEATHSIG = 1
# Names the line that a child is to print, on its own, once it does its work.
READY_VARIABLE = "DAYBOOK_READY_LINE"
POLL_SECONDS = 0.02
# Where there is no limit.
MANY_FILES = 65_536


def spawn(
    *,
    argv: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    user: ServiceUser | None = None,
    orphan_signal: int = signal.SIGTERM,
    output: int | IO[Any] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a child as `user` (None: as whoever we are) and return it.

    `orphan_signal` is what the child gets when this process dies; it is bound to the calling *thread*, so call from
    the main thread. `output` takes both its standard output and its standard error. Raises OSError when the program
    cannot be started.
    """
    identity: dict[str, Any] = {}
    if user is not None and os.geteuid() == 0:
        identity = {"user": user.uid, "group": user.gid, "extra_groups": []}
    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        # It runs after the change of user, which would undo it, and before exec; it takes no lock and no memory.
        preexec_fn=_die_with_parent(parent=os.getpid(), orphan_signal=orphan_signal),  # noqa: PLW1509
        **identity,
    )


def end_with(*, parent: int) -> None:
    """Have the kernel kill this process as soon as its parent, of that id, is gone; ends it when that is so already.

    For processes that a server forks or spawns for itself: killed outright, it leaves them behind, and one that hangs
    would stay for ever. Does nothing but on Linux. The signal is bound to the parent's *thread* that started us.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _die_with_parent(*, parent: int, orphan_signal: int) -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None  # the next start finds what was left behind
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(PR_SET_PDEATHSIG, orphan_signal)
        if os.getppid() != parent:  # it died before we could ask for the signal
            os._exit(1)

    return in_child


def raise_file_limit() -> int:
    """Let this process, and those it starts, have as many files open as the system lets them; return how many.

    Each connection is one, and the limit that most processes begin with (1024, or 256) is meant for programs that look
    through files one by one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS: less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MANY_FILES if soft == resource.RLIM_INFINITY else soft


def is_alive(*, pid: int) -> bool:
    """Whether a process of that id runs; one that ended and was not collected yet does not count."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def command_line(*, pid: int) -> str:
    """The arguments of a process, joined by spaces; empty when it does not run or cannot be seen."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        if Path("/proc/self").exists():
            return ""
    found = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def signal_group(*, pid: int, signal_number: int) -> None:
    """Send a signal to the whole group that the process led; nothing happens when none of it is left."""
    with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        os.killpg(pid, signal_number)


def stop(*, process: "subprocess.Popen[bytes]", signal_number: int, timeout_seconds: float) -> int:
    """Ask a child to stop, wait, then kill whatever is left of its group; return its exit code."""
    if process.poll() is None:
        process.send_signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout_seconds)
    signal_group(pid=process.pid, signal_number=signal.SIGKILL)
    return process.wait()


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
    """Wait until the condition holds; return False when it did not within the time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll_seconds)
    return True


def _state(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0]  # the name, in parentheses, may itself hold spaces
