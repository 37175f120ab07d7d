"""A change of a text in one place, and what it makes of the whole. Knows nothing of what is changed."""

from __future__ import annotations

import ast
from typing import NamedTuple


class Edit(NamedTuple):
    """One change: the characters from `start` to `end` become `after`."""

    start: int
    end: int
    after: str


class Mutant(NamedTuple):
    """A file with one change."""

    file: str  # below the repository's root
    line: int
    before: str  # what stands there
    after: str  # what the mutant has in its place
    text: str  # the whole file with the change

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


def mutant(file: str, text: str, edit: Edit) -> Mutant:
    """The file with that change."""
    return Mutant(
        file=file,
        line=text.count("\n", 0, edit.start) + 1,
        before=text[edit.start : edit.end],
        after=edit.after,
        text=f"{text[: edit.start]}{edit.after}{text[edit.end :]}",
    )


def span(text: str, node: ast.expr | ast.stmt) -> tuple[int, int]:
    """Where a node of Python begins and ends, in characters."""
    lines = text.splitlines(keepends=True)
    end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return _offset(lines, node.lineno, node.col_offset), _offset(lines, end_line, end_column)


def _offset(lines: list[str], line: int, column: int) -> int:
    """Characters from the beginning; `ast` counts a column in bytes."""
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())
