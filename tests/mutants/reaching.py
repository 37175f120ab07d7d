"""Which tests reach a change: those in which the function was called that has it, or that uses the constant."""

from __future__ import annotations

import ast
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.mutants.edits import Mutant


@contextmanager
def called_functions(file_names: set[str]) -> Iterator[set[tuple[str, str]]]:
    """The (file name, function) of every call in those files while the block runs, in all threads that it starts."""
    called: set[tuple[str, str]] = set()

    def note(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in file_names:
            called.add((frame.f_code.co_filename, _outermost(frame.f_code.co_qualname)))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def functions_of(mutant: Mutant, original: str) -> set[str] | None:
    """The functions that show a change; None when that cannot be told, and any test may."""
    tree = ast.parse(original)
    holding = [name for name, node in _functions(tree) if node.lineno <= mutant.line <= (node.end_lineno or 0)]
    if holding:
        return {holding[0]}
    names = {name for node in tree.body if _covers(node, mutant.line) for name in _targets(node)}
    users = {
        name for name, node in _functions(tree) if names & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    }
    return users or None


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{one.name}", one) for one in node.body if isinstance(one, ast.FunctionDef))


def _covers(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _outermost(qualified: str) -> str:
    return qualified.partition(".<locals>")[0]
