"""The one terminal that all children share: each line is prefixed with the name of who wrote it.

Invariant: lines of two children never mix, and a line without an end is held back until its end comes or its writer is
gone. Imported by `config.up`.
"""

import os
import re
import sys
from typing import TextIO

COLOURS = {"up": 36, "postgres": 34, "redis": 35, "web": 32, "worker": 33, "beat": 90, "setup": 36, "demo": 36}
OTHER_COLOUR = 37
NAME_WIDTH = 8
READ_BYTES = 65536
LONGEST_LINE_BYTES = 1_000_000


class Terminal:
    """Writes whole, prefixed lines; in colour only where a person looks."""

    def __init__(self, *, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and "NO_COLOR" not in os.environ
        self.is_closed = False

    def line(self, name: str, text: str) -> None:
        """Write one line. When nobody reads any more, note it in `is_closed` instead of failing."""
        prefix = f"{name:<{NAME_WIDTH}} | "
        if self._coloured:
            prefix = f"\x1b[{COLOURS.get(name, OTHER_COLOUR)}m{prefix}\x1b[0m"
        try:
            self._stream.write(f"{prefix}{text}\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError, OSError):
            self.is_closed = True


class LineReader:
    """Turns what a pipe holds into whole lines on the terminal, without those that match `chatter`.

    The line that says that its writer is ready (if there is such a line) is noted, and not passed on either.
    """

    def __init__(
        self,
        *,
        name: str,
        descriptor: int,
        terminal: Terminal,
        chatter: re.Pattern[str] | None,
        ready_line: str | None = None,
    ) -> None:
        os.set_blocking(descriptor, False)
        self.last_line = ""  # of those that were passed on and hold anything
        self.said_ready = ready_line is None
        self._ready_line = ready_line
        self._name = name
        self._descriptor = descriptor
        self._terminal = terminal
        self._chatter = chatter
        self._pending = b""

    def read(self) -> bool:
        """Pass on what has come; return whether more may come."""
        try:
            chunk = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return True
        if not chunk:
            self.finish()
            return False
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            self._pass_on(line)
        if len(self._pending) > LONGEST_LINE_BYTES:
            self.finish()
        return True

    def finish(self) -> None:
        """Pass on a last line that has no end."""
        if self._pending:
            self._pass_on(self._pending)
            self._pending = b""

    def _pass_on(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if self._ready_line is not None and text == self._ready_line:
            self.said_ready = True
            return
        if self._chatter is None or not self._chatter.search(text):
            self._terminal.line(self._name, text)
            self.last_line = text.strip() or self.last_line
