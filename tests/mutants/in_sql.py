"""Changes of SQL: conditions, locks, orders, limits, comparisons and numbers, one at a time.

A condition is dropped by making it true (`... OR TRUE`) and an alternative by making it false, so that the statement
takes the same parameters as before. Patterns, not a parser: what they make of a statement that Postgres does not take
fails the first test that runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.mutants.edits import Edit

_BEGINS: Final = re.compile(r"\s*(?:SELECT|WITH|INSERT|UPDATE|DELETE|SET|ALTER|ANALYZE|LOCK|CREATE|DROP)\b")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9.]*|[()]")
_OPENERS: Final = frozenset({"WHERE", "AND", "OR", "ON"})
_CLOSERS: Final = _OPENERS | {
    "ORDER", "GROUP", "LIMIT", "OFFSET", "FOR", "RETURNING", "JOIN", "LEFT", "CROSS", "UNION", "SET", "THEN", "END",
}  # fmt: skip

_REPLACED: Final = (
    (re.compile(r" FOR (?:UPDATE|SHARE)(?: SKIP LOCKED| NOWAIT)?"), ""),
    (re.compile(r" SKIP LOCKED"), ""),
    (re.compile(r" DESC\b"), " ASC"),
    (re.compile(r"(?<![<>=])<(?![<>=])"), "<="),
    (re.compile(r"<="), "<"),
    (re.compile(r"(?<![<>=])>(?![<>=])"), ">="),
    (re.compile(r">="), ">"),
    (re.compile(r"<>"), "="),
    (re.compile(r"(?<=LIMIT )%s"), r"\g<0> + 1"),
    (re.compile(r"(?<![\w%.])\d+(?![\w.])(?!')"), r"(\g<0> + 1)"),
    (re.compile(r" \+ "), " - "),
    (re.compile(r" - "), " + "),
    (re.compile(r"\bLEAST\b"), "GREATEST"),
    (re.compile(r"\bGREATEST\b"), "LEAST"),
    (re.compile(r"\bmin(?=\()"), "max"),
    (re.compile(r"\bmax(?=\()"), "min"),
    (re.compile(r"\btrue\b"), "false"),
    (re.compile(r"\bfalse\b"), "true"),
    (re.compile(r"\bDISTINCT "), ""),
    (re.compile(r"\s+ON CONFLICT \([^)]*\) DO NOTHING"), ""),
)
_ORDER_TERM: Final = re.compile(r"(?:ORDER BY |(?<=, ))([a-z_.]+)(?=[\s,)]|$)")
_ORDER: Final = re.compile(r"ORDER BY [a-z_., ]*[a-z_]")


def is_sql(text: str) -> bool:
    """Whether a string is a statement."""
    return bool(_BEGINS.match(text))


def sql_edits(statement: str) -> Iterator[Edit]:
    """Every change of a statement."""
    for pattern, after in _REPLACED:
        for found in pattern.finditer(statement):
            yield Edit(found.start(), found.end(), found.expand(after))
    yield from _turned_orders(statement)
    yield from _dropped_conditions(statement)


def _turned_orders(statement: str) -> Iterator[Edit]:
    """Each term of an ORDER BY that ascends, descending."""
    for order in _ORDER.finditer(statement):
        for term in _ORDER_TERM.finditer(order.group()):
            end = order.start() + term.end(1)
            if not statement[end:].startswith(" DESC"):
                yield Edit(order.start() + term.start(1), end, f"{term.group(1)} DESC")


def _dropped_conditions(statement: str) -> Iterator[Edit]:
    for opener, start, end in conditions(statement):
        condition = statement[start:end]
        after = f"({condition} AND FALSE)" if opener == "OR" else f"({condition} OR TRUE)"
        yield Edit(start, end, after)


def conditions(statement: str) -> list[tuple[str, int, int]]:
    """What stands behind each WHERE, ON, AND and OR: the word, and where the condition begins and ends."""
    found: list[tuple[str, int, int]] = []
    open_: list[list[tuple[str, int]]] = [[]]  # by depth of parentheses: the condition that has begun
    between = 0
    for word in _WORD.finditer(statement):
        text = word.group()
        if text == "(":
            open_.append([])
        elif text == ")":
            found += _closed(statement, open_.pop(), word.start())
        elif text == "BETWEEN":
            between += 1
        elif text == "AND" and between:
            between -= 1
        elif text in _CLOSERS:
            found += _closed(statement, open_[-1], word.start())
            open_[-1] = [(text, word.end())] if _opens(statement, word) else []
    found += _closed(statement, open_[-1], len(statement))
    return sorted(found, key=lambda condition: condition[1])


def _opens(statement: str, word: re.Match[str]) -> bool:
    return word.group() in _OPENERS and not statement[word.end() :].startswith(" CONFLICT")


def _closed(statement: str, begun: list[tuple[str, int]], end: int) -> Iterator[tuple[str, int, int]]:
    for opener, start in begun:
        condition = statement[start:end]
        blank = len(condition) - len(condition.lstrip())
        yield opener, start + blank, start + len(condition.rstrip())
