"""The table of guards fits the code: what it takes out stands there, and what is to miss it exists."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.guards.__main__ import ROOT
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
