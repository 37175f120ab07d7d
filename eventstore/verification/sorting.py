"""Sorts more than fits into memory: brings together, in one pass, what lies scattered over many streams.

Sorted runs go to temporary files, which the operating system removes with the process, and are merged when they are
read. Invariant: memory is bounded by the size of a run and the number of files, whatever is added.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Final

RUN_RECORDS: Final = 20_000
"""Records that are sorted in memory at a time."""
MERGED_FILES: Final = 32
"""So many files of one size are merged into one: open files grow with the logarithm of what is added."""
_LENGTH_BYTES: Final = 4


class ExternalSort:
    """Takes records of bytes in any order and gives them back sorted, as bytes compare."""

    def __init__(self, *, run_records: int = RUN_RECORDS) -> None:
        self._run_records = run_records
        self._pending: list[bytes] = []
        self.records = 0
        self._levels: list[list[IO[bytes]]] = []  # files of level n hold MERGED_FILES**n runs
        self._files = ExitStack()

    def __enter__(self) -> ExternalSort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, record: bytes) -> None:
        """Takes one record."""
        self.records += 1
        self._pending.append(record)
        if len(self._pending) >= self._run_records:
            self._pending.sort()
            self._keep(self._pending, level=0)
            self._pending = []

    def sorted(self) -> Iterator[bytes]:
        """All records in order. To be called once, after the last was added."""
        self._pending.sort()
        files = [_records(file) for level in self._levels for file in level]
        return heapq.merge(self._pending, *files)

    def _keep(self, records: Iterable[bytes], *, level: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        files = self._levels[level]
        files.append(self._write(records))
        if len(files) >= MERGED_FILES:
            self._levels[level] = []
            self._keep(heapq.merge(*map(_records, files)), level=level + 1)
            for file in files:
                file.close()

    def _write(self, records: Iterable[bytes]) -> IO[bytes]:
        file = self._files.enter_context(tempfile.TemporaryFile(prefix="eventstore-sort-"))  # noqa: SIM115 - closed with the others
        for record in records:
            file.write(len(record).to_bytes(_LENGTH_BYTES, "big") + record)
        return file


def _records(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while header := file.read(_LENGTH_BYTES):
        yield file.read(int.from_bytes(header, "big"))
