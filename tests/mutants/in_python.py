"""Changes of Python: operators, conditions, numbers, flags, calls whose value nobody uses, and raises, one at a time.

Left alone are annotations, docstrings, log lines, places in a row, constants that are sizes or times, and the flags
that say how a thing may not be used (`KEYWORDS`).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from tests.mutants.edits import Edit, span

KEYWORDS: Final = frozenset({"durable", "strict", "frozen", "kw_only", "daemon"})
"""Arguments whose mutants no test of what the code does can tell."""
LOG: Final = "_log"
SMALL: Final = 10
"""Numbers below it are made one less, too. A constant that is a larger one is a size or a time, and is left alone."""

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr,
}  # fmt: skip
_OPPOSITES: Final = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # that changing the operator negates

Node = TypeVar("Node", bound=ast.expr)


def python_edits(text: str) -> Iterator[Edit]:
    """Every change of a module."""
    for node in _visited(ast.parse(text)):
        for after in _changes(node):
            yield Edit(*span(text, node), after)


def _changes(node: ast.expr | ast.stmt) -> Iterator[str]:
    """What may stand in the node's place."""
    match node:
        case ast.Compare():
            yield from _other_comparisons(node)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield _written(_with(node, lambda new: setattr(new, "op", other)))
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            yield _written(_with(node, lambda new: setattr(new, "op", _OPERATORS[type(op)]())))
        case ast.AugAssign(op=op) if type(op) in _OPERATORS:
            yield ast.unparse(ast.AugAssign(node.target, _OPERATORS[type(op)](), node.value))
        case ast.UnaryOp(op=ast.Not()):
            yield _written(node.operand)
        case ast.Constant(value=bool() as flag):
            yield str(not flag)
        case ast.Constant(value=int() | float() as number):
            yield f"({number + 1})"
            if number < SMALL:
                yield f"({number - 1})"
        case ast.Raise() | ast.Expr(value=ast.Call()):
            yield "pass"


def _other_comparisons(node: ast.Compare) -> Iterator[str]:
    for index, operator in enumerate(node.ops):
        changed = copy.deepcopy(node)
        changed.ops[index] = _COMPARISONS[type(operator)]()
        yield _written(changed)


def _visited(module: ast.Module) -> Iterator[ast.expr | ast.stmt]:
    """The nodes that are changed, and for each condition its negation's place."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.expr | ast.stmt) and not _is_log_line(node):
            yield node
        if not _is_log_line(node):
            waiting.extend(reversed(list(_children(node))))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """All that is below a node, without what is left alone."""
    if isinstance(node, ast.Assign | ast.AnnAssign) and _is_size(node.value):
        return
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or (field == "keywords" and isinstance(node, ast.ClassDef)):
            continue
        if isinstance(node, ast.Subscript) and isinstance(value, ast.Constant):
            continue  # a place in a row
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg in KEYWORDS):
                yield child


def _is_size(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value >= SMALL


def negations(text: str) -> Iterator[Edit]:
    """Each condition the other way round, where no other change of it says the same."""
    for node in ast.walk(ast.parse(text)):
        for test in _conditions(node):
            if not _is_negated_elsewhere(test):
                yield Edit(*span(text, test), f"(not {_written(test)})")


def _conditions(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
            return [node.test]
        case ast.comprehension():
            return node.ifs
        case ast.match_case(guard=ast.expr() as guard):
            return [guard]
    return []


def _is_negated_elsewhere(test: ast.expr) -> bool:
    match test:
        case ast.UnaryOp(op=ast.Not()) | ast.Constant():
            return True
        case ast.Compare(ops=[only]):
            return isinstance(only, _OPPOSITES)
    return False


def _is_log_line(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            return name == LOG
    return False


def _with(node: Node, change: Callable[[Node], None]) -> Node:
    changed = copy.deepcopy(node)
    change(changed)
    return changed


def _written(node: ast.expr) -> str:
    """An expression as source, fit for any place."""
    return f"({ast.unparse(node)})"
