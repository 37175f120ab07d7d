"""How far a long command is: a bar on a terminal, a line now and then elsewhere.

Invariant: a log is not flooded; between two lines pass `LINE_SECONDS`, and the last line is always written. Imported by
management commands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS: Final = 5.0


class Advance(Protocol):
    """Takes how much more is done."""

    def __call__(self, steps: int = 1) -> None:
        """Counts on by `steps`."""


@contextmanager
def progress(*, title: str, total: int, stream: TextIO) -> Iterator[Advance]:
    """Shows progress towards `total` while the block runs; the block calls what it is given."""
    if stream.isatty():
        with _bar(stream) as bar:
            task = bar.add_task(title, total=total)
            yield lambda steps=1: bar.advance(task, steps)
    else:
        lines = _Lines(title=title, total=total, stream=stream)
        yield lines.advance
        lines.write()


@contextmanager
def phases(*, title: str, stream: TextIO) -> Iterator[Phases]:
    """Shows one phase of a work after the other while the block runs; the block calls what it is given."""
    with ExitStack() as open_:
        shown = Phases(title, stream, open_)
        yield shown


class Phases:
    """Takes how far which phase of a work is."""

    def __init__(self, title: str, stream: TextIO, open_: ExitStack) -> None:
        self._title = title
        self._stream = stream
        self._open = open_
        self._phase = ""
        self._done = 0

    def __call__(self, phase: str, *, done: int, total: int) -> None:
        """Shows how far the phase is."""
        if phase != self._phase:
            self._open.close()
            shown = progress(title=f"{self._title} {phase}", total=total, stream=self._stream)
            self._advance = self._open.enter_context(shown)
            self._phase, self._done = phase, 0
        self._advance(done - self._done)
        self._done = done


def _bar(stream: TextIO) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(file=stream))


class _Lines:
    """Writes a line now and then."""

    def __init__(self, *, title: str, total: int, stream: TextIO) -> None:
        self._title = title
        self._total = total
        self._stream = stream
        self._done = 0
        self._next_at = time.monotonic() + LINE_SECONDS

    def advance(self, steps: int = 1) -> None:
        """Counts on, and writes when it is time."""
        self._done += steps
        if time.monotonic() >= self._next_at:
            self.write()

    def write(self) -> None:
        """Writes where it stands."""
        self._stream.write(f"{self._title}: {self._done} of {self._total}\n")
        self._stream.flush()
        self._next_at = time.monotonic() + LINE_SECONDS
