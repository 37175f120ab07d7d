"""The table of guards fits the code: what it takes out stands there, and what is to miss it exists."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.guards.__main__ import ROOT, as_junit, is_missed, parse
from tests.guards.table import GUARDS, Guard


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_the_table_says(guard: Guard) -> None:
    assert (ROOT / guard.file).read_text().count(guard.code) == 1
    assert guard.code != guard.without
    assert [test for test in guard.tests if not (ROOT / test.split("::")[0]).exists()] == []


def test_each_guard_is_tried_once() -> None:
    assert [name for name, times in Counter(guard.name for guard in GUARDS).items() if times > 1] == []
    taken_out = Counter((guard.file, guard.code, guard.without) for guard in GUARDS)
    assert max(taken_out.values()) == 1


REPORT = """
<testsuites><testsuite>
<testcase classname="tests.integration.test_a.TestB" name="test_c[1]">{outcome}</testcase>
</testsuite></testsuites>
"""


@pytest.mark.parametrize(
    ("outcome", "missed"),
    [
        ('<failure message="assert 1 == 2">…</failure>', True),
        ('<failure message="AssertionError: Regex pattern did not match">…</failure>', True),
        ('<failure message="Failed: DID NOT RAISE &lt;class Busy&gt;">…</failure>', True),
        ('<failure message="NameError: name x is not defined">…</failure>', False),
        ('<failure message="eventstore.appending.StreamBusy: locked">…</failure>', False),
        ('<error message="collection failure">…</error>', False),
        ('<error message="failed on setup with &quot;AssertionError&quot;">…</error>', False),
        ('<skipped message="only the embedded server\'s superuser is known"/>', False),
        ("", False),
    ],
)
def test_a_guard_is_missed_by_the_failure_that_was_named_alone(outcome: str, missed: bool) -> None:
    guard = GUARDS[0]._replace(fails="AssertionError")
    (result,) = parse(REPORT.format(outcome=outcome))
    assert result.test == as_junit("tests/integration/test_a.py::TestB::test_c")
    assert is_missed(guard, [result]) is missed
    assert not is_missed(guard._replace(fails="KeyError"), [result])


def test_an_exception_is_known_by_its_name() -> None:
    (result,) = parse(REPORT.format(outcome='<failure message="psycopg.errors.UniqueViolation: twice&#10;more"/>'))
    assert is_missed(GUARDS[0]._replace(fails="UniqueViolation"), [result])
