"""The data folder belongs to one `up` at a time, and what a killed `up` left behind is stopped.

Invariant: a process is taken for ours only if its own environment names this data folder, which we gave it; a process
id alone, which the system reuses, proves nothing. Imported by `config.up`.
"""

import fcntl
import hashlib
import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from config import processes
from config.embedded.home import IDENTITY_FILE

MARK_VARIABLE = "DAYBOOK_SUPERVISED"
STOP_LEFTOVERS_SECONDS = 6.0
KILL_LEFTOVERS_SECONDS = 2.0
LOCK_FILE = "lock"


class FolderInUse(Exception):
    """Another Daybook runs on this data folder."""


class FolderUnusable(Exception):
    """The data folder cannot be used."""


def make_data_dir(*, data_dir: Path) -> None:
    """Make the data folder. Raises FolderUnusable when that is not allowed, or something else stands there.

    As root the folder may be traversed, but not listed, by the service user, whose servers' files are in it.
    """
    try:
        data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(f"The data folder {data_dir} cannot be made: {error.strerror}") from error
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise FolderUnusable(f"The data folder {data_dir} is not yours to write; set DAYBOOK_DATA_DIR to another")
    identity = data_dir / IDENTITY_FILE
    try:
        if not identity.exists():
            identity.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
    except OSError as error:  # root may write everywhere, and yet not there
        raise FolderUnusable(
            f"The data folder {data_dir} cannot be written to ({error.strerror}); set DAYBOOK_DATA_DIR to another"
        ) from error


def was_used(*, data_dir: Path) -> bool:
    """Whether Daybook has run on the folder, so that another may be running, or have left something behind."""
    return (data_dir / LOCK_FILE).exists()


@contextmanager
def hold_folder(*, data_dir: Path) -> Iterator[None]:
    """Hold the data folder for the time of the block; the system lets go of it when this process ends, however.

    Raises FolderInUse when another process holds it.
    """
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise FolderUnusable(f"{data_dir} belongs to another user; run Daybook as that user") from error
    with os.fdopen(descriptor, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read().strip() or "?"
            raise FolderInUse(f"Daybook already runs on {data_dir} (process {holder}); stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def empty_metrics_dir(*, data_dir: Path) -> Path:
    """Make the folder in which the processes of one run keep what they count, without what an earlier run counted."""
    folder = data_dir / "metrics"
    folder.mkdir(mode=0o700, exist_ok=True)
    for counted in folder.glob("*.db"):
        counted.unlink()
    return folder


def mark(*, data_dir: Path) -> dict[str, str]:
    """The variable that tells a child's folder."""
    return {MARK_VARIABLE: hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()}


def stop_leftovers(*, data_dir: Path) -> list[int]:
    """Stop the children, and theirs, that a killed `up` of this folder left; return their process ids.

    The caller holds the folder. Needs /proc; elsewhere only the embedded servers are found, by their pid files.
    """
    ours = _marked(data_dir=data_dir)
    for signal_number, seconds in (
        (signal.SIGTERM, STOP_LEFTOVERS_SECONDS),
        (signal.SIGKILL, KILL_LEFTOVERS_SECONDS),
    ):
        for pid in _marked(data_dir=data_dir):
            try:
                os.kill(pid, signal_number)
            except ProcessLookupError:
                continue
        if processes.wait_until(lambda: not _marked(data_dir=data_dir), timeout_seconds=seconds, poll_seconds=0.1):
            break
    return ours


def _marked(*, data_dir: Path) -> list[int]:
    wanted = b"=".join(os.fsencode(part) for part in next(iter(mark(data_dir=data_dir).items())))
    return [
        int(entry.name)
        for entry in Path("/proc").glob("[0-9]*")
        if int(entry.name) != os.getpid() and wanted in _environment(entry).split(b"\0")
    ]


def _environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:  # another user's, or gone meanwhile; a zombie's is empty
        return b""
