"""Makes the mutants of a file: what `in_python` changes in its code and `in_sql` in its statements."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.mutants.edits import Edit, Mutant, mutant, span
from tests.mutants.in_python import negations, python_edits
from tests.mutants.in_sql import is_sql, sql_edits


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines, none twice and none that is no Python."""
    edits = {*python_edits(text), *negations(text), *_statement_edits(text)}
    made = [mutant(file, text, edit) for edit in sorted(edits)]
    for one in made:
        compile(one.text, one.place, "exec")
    return made


def _statement_edits(text: str) -> Iterator[Edit]:
    """The changes of the statements that stand in constants of the module."""
    for node in ast.parse(text).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and is_sql(value.value):
            start, end = span(text, value)
            yield from _moved(text[start:end], start)


def _moved(literal: str, start: int) -> Iterator[Edit]:
    """The changes within a string's quotes, in the file's characters."""
    quotes = 3 if literal.startswith('"""') else 1
    for edit in sql_edits(literal[quotes:-quotes]):
        yield Edit(start + quotes + edit.start, start + quotes + edit.end, edit.after)
