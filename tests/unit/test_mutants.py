"""The mutants are those that docs/mutation-testing.md speaks of, so that none is missing unnoticed."""

from __future__ import annotations

import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.applying import NotApplicable, apply
from tests.mutants.in_sql import conditions
from tests.mutants.making import mutants_of
from tests.mutants.parts import PARTS
from tests.mutants.reaching import called_functions, functions_of

ROOT = Path(__file__).parents[2]


def _changes(text: str) -> list[tuple[str, str]]:
    return [(one.before, one.after) for one in mutants_of("some.py", textwrap.dedent(text))]


# --- Making -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a < b", [("a < b", "(a <= b)")]),
        ("a >= b", [("a >= b", "(a > b)")]),
        ("a == b", [("a == b", "(a != b)")]),
        ("a is None", [("a is None", "(a is not None)")]),
        ("a not in b", [("a not in b", "(a in b)")]),
        ("a and b", [("a and b", "(a or b)")]),
        ("not a", [("not a", "(a)")]),
        ("a + b", [("a + b", "(a - b)")]),
        ("a // b", [("a // b", "(a * b)")]),
        ("a |= b", [("a |= b", "a &= b")]),
        ("a = 3", [("3", "(2)"), ("3", "(4)")]),
        ("return_(b=300)", [("return_(b=300)", "pass"), ("300", "(301)")]),
        ("a = True", [("True", "False")]),
        ("a()", [("a()", "pass")]),
        ("a = b()", []),
        ("raise A", [("raise A", "pass")]),
        ("a if b else c", [("b", "(not (b))")]),
        ("[a for a in b if a]", [("a", "(not (a))")]),
        ("while a: b", [("a", "(not (a))")]),
    ],
)
def test_python_is_changed_in_one_place(code: str, expected: list[tuple[str, str]]) -> None:
    assert _changes(code) == expected


@pytest.mark.parametrize(
    "code",
    [
        '"""A docstring of 7 < 8."""',
        "a: 'int | None'",
        "A = 300",
        "def f(a: int | None) -> int | None: ...",
        "_log.info('done', after=7)",
        "row[0]",
        "class A(B, frozen=True): ...",
        "with atomic(durable=True): ...",
    ],
)
def test_what_no_test_could_tell_is_left_alone(code: str) -> None:
    assert _changes(code) == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT a FROM b WHERE c", ["SELECT a FROM b WHERE (c OR TRUE)"]),
        (
            "SELECT a FROM b WHERE c AND d(e)",
            ["SELECT a FROM b WHERE (c OR TRUE) AND d(e)", "SELECT a FROM b WHERE c AND (d(e) OR TRUE)"],
        ),
        (
            "SELECT a FROM b JOIN c ON d OR e",
            ["SELECT a FROM b JOIN c ON (d OR TRUE) OR e", "SELECT a FROM b JOIN c ON d OR (e AND FALSE)"],
        ),
        ("SELECT a WHERE b BETWEEN c AND d", ["SELECT a WHERE (b BETWEEN c AND d OR TRUE)"]),
        ("DELETE FROM a FOR UPDATE", ["DELETE FROM a"]),
        ("SELECT a FOR UPDATE SKIP LOCKED", ["SELECT a", "SELECT a FOR UPDATE"]),
        ("SELECT a ORDER BY b, c", ["SELECT a ORDER BY b DESC, c", "SELECT a ORDER BY b, c DESC"]),
        ("SELECT a ORDER BY b DESC", ["SELECT a ORDER BY b ASC"]),
        ("SELECT a LIMIT %s", ["SELECT a LIMIT %s + 1"]),
        ("SELECT a < b", ["SELECT a <= b"]),
        ("SELECT a <> b", ["SELECT a = b"]),
        ("SELECT a >= b, c => d", ["SELECT a > b, c => d"]),
        ("SELECT 1 FROM a", ["SELECT (1 + 1) FROM a"]),
        ("SELECT LEAST(a, b)", ["SELECT GREATEST(a, b)"]),
        ("SELECT max(a)", ["SELECT min(a)"]),
        ("SELECT a + b", ["SELECT a - b"]),
        ("SELECT f(true)", ["SELECT f(false)"]),
        ("INSERT INTO a VALUES (b) ON CONFLICT (c) DO NOTHING", ["INSERT INTO a VALUES (b)"]),
        ("nothing < to LIMIT 1", []),
    ],
)
def test_sql_is_changed_in_one_place(statement: str, expected: list[str]) -> None:
    made = [one.text for one in mutants_of("some.py", f'_A = """{statement}"""\n')]
    assert made == [f'_A = """{text}"""\n' for text in expected]


def test_a_condition_ends_with_its_clause_and_its_parenthesis() -> None:
    statement = "SELECT a FROM b WHERE (SELECT c WHERE d = %s ORDER BY e) AND f LIMIT %s"
    found = [(word, statement[start:end]) for word, start, end in conditions(statement)]
    assert found == [("WHERE", "(SELECT c WHERE d = %s ORDER BY e)"), ("WHERE", "d = %s"), ("AND", "f")]


def test_a_mutant_says_where_it_is_and_differs_there_alone() -> None:
    text = '"""Umläute first."""\n\n\ndef größer(a, b):\n    return "ä" if a > b else "ö"\n'
    found = [(one.place, one.before) for one in mutants_of("some.py", text)]
    assert found == [("some.py:5", "a > b")] * 2
    assert [one.text.replace(one.after, one.before) for one in mutants_of("some.py", text)] == [text] * 2


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_each_part_has_its_module_and_its_tests(part: object) -> None:
    assert isinstance(part, type(PARTS[0]))
    assert len(mutants_of(part.file, (ROOT / part.file).read_text())) > 20
    assert [test for test in part.tests if not (ROOT / test).exists()] == []


# --- Putting in place ---------------------------------------------------------------------------------------

TEXT = """
LIMIT = 3

def wrapped(function):
    from functools import wraps
    @wraps(function)
    def inside(*arguments):
        return function(*arguments)
    return inside

class Door:
    @property
    def width(self): return LIMIT
    def opens(self, by=5): return by < self.width

@wrapped
def twice(number): return number * 2

def doubled(): return twice(LIMIT)
"""


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = types.ModuleType("made_up")
    sys.modules["made_up"] = made
    exec(TEXT, vars(made))
    yield made
    del sys.modules["made_up"]


def test_functions_methods_and_what_is_decorated_do_what_the_mutant_does(module: types.ModuleType) -> None:
    door, twice, doubled = module.Door(), module.twice, module.doubled
    apply(TEXT.replace("number * 2", "number * 5"), module)
    assert (twice(1), doubled()) == (5, 15)
    assert not door.opens(3)
    apply(TEXT.replace("by < self", "by <= self"), module)
    assert door.opens(3)
    apply(TEXT.replace("by=5", "by=1"), module)
    assert door.opens()


def test_a_constant_changes_wherever_it_was_imported(module: types.ModuleType) -> None:
    other = types.ModuleType("importing")
    sys.modules["importing"] = other
    other.LIMIT = module.LIMIT  # type: ignore[attr-defined]
    apply(TEXT.replace("LIMIT = 3", "LIMIT = 4"), module)
    assert (module.LIMIT, other.LIMIT, module.Door().width) == (4, 4, 4)
    del sys.modules["importing"]


def test_what_cannot_be_put_in_place_is_said_to_be_so(module: types.ModuleType) -> None:
    with pytest.raises(NotApplicable):
        apply(TEXT, module)


# --- Reaching -----------------------------------------------------------------------------------------------


def test_the_calls_of_a_file_are_noted() -> None:
    with called_functions({__file__}) as called:
        _changes("a < b")
    assert (__file__, "_changes") in called


@pytest.mark.parametrize(
    ("before", "functions"),
    [("number * 2", {"twice"}), ("by < self.width", {"Door.opens"}), ("3", {"Door.width", "doubled"})],
)
def test_a_change_is_reached_by_the_function_that_has_it_or_uses_the_constant(before: str, functions: set[str]) -> None:
    found = [one for one in mutants_of("made_up.py", TEXT) if one.before == before]
    assert {frozenset(functions_of(one, TEXT) or ()) for one in found} == {frozenset(functions)}
