"""What a spreadsheet would take for a formula, and what it would not."""

import pytest

from eventstore.rest.csv_files import harmless


@pytest.mark.parametrize(
    "cell",
    ["=1", "+1+1", "-1+1", "@x", "\t=1", " =1", "\r1", "\n=1", "-", "\uff1d1", "\uff20x", "--1"],
)
def test_a_formula_is_told_to_be_text(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "x=1", "-1.50", "+4", "a-b", "1e5", "'=1", None, 7, "\u2212 5"])
def test_what_is_none_stays_as_it_is(cell: object) -> None:
    assert harmless(cell) is cell
