"""Where test runs and benchmarks let servers write.

What a test's server writes is wanted by nobody afterwards, so it goes to memory where there is room: making a database
takes a tenth of the time that it takes on a disk. What measures or breaks Daybook for an hour writes to a disk, as
Daybook does. Not pytest's own folder: its path is too long for a socket, and as root the service user cannot enter it.

Invariant: a folder in memory is locked by the process that made it; what a killed run left there goes with the next.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

DISK: Final = Path("/tmp")
MEMORY: Final = Path("/dev/shm")
LEAST_FREE_BYTES: Final = 2**30
"""With less room in memory than this a test run uses the disk; a whole one was seen to take a quarter of it at most."""

_PREFIX: Final = "daybook-"
_LOCKED_AFTER_SECONDS: Final = 60.0  # a folder is made first, and locked then
_locks: Final[dict[Path, int]] = {}


def short_folder(*, prefix: str = "daybook-up-") -> Path:
    """A folder on a disk whose path is short, and which another user may enter."""
    return _made(DISK, prefix)


def passing_folder(*, prefix: str = "daybook-up-") -> Path:
    """The same in memory if there is room, for what is gone when the test is over."""
    if not MEMORY.is_dir():
        return short_folder(prefix=prefix)
    _sweep()
    if shutil.disk_usage(MEMORY).free < LEAST_FREE_BYTES:
        return short_folder(prefix=prefix)
    folder = _made(MEMORY, prefix)
    _locks[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(_locks[folder], fcntl.LOCK_EX)
    return folder


def remove_folder(folder: Path) -> None:
    """Remove such a folder, whatever is left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder in _locks:
        os.close(_locks.pop(folder))


def _made(place: Path, prefix: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    folder.chmod(0o711)
    return folder


def _sweep() -> None:
    """Remove what nobody who lives has made."""
    for folder in MEMORY.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another's, in use, or just gone
            if time.time() - folder.stat().st_mtime < _LOCKED_AFTER_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
