"""What a spreadsheet would take for a formula, and what it would not."""

import csv

import pytest

from eventstore.rest.csv_files import harmless


@pytest.mark.parametrize(
    "cell",
    ["=1", "+1+1", "-1+1", "@x", "\t=1", " =1", "\r1", "\n=1", "-", "\uff1d1", "\uff20x", "--1"],
)
def test_a_formula_is_told_to_be_text(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (";=1", ";'=1"),
        ("Rent;=1+1;@x", "Rent;'=1+1;'@x"),
        ("Rent\t-1", "Rent\t'-1"),
        ("a|  +1", "a|  '+1"),
        ('a;"=1"', 'a;"\'=1"'),
        ("a,=1", "a,'=1"),
        ("a;\uff1d1", "a;'\uff1d1"),
        ("=1;=2", "'=1;'=2"),
    ],
)
def test_a_formula_behind_another_separator_is_told_to_be_text_in_a_file_for_spreadsheets(
    cell: str, written: str
) -> None:
    assert harmless(cell, for_spreadsheets=True) == written
    for separator in ";\t|,":
        for quoted in csv.reader([f"1,{written},2"], delimiter=separator):
            assert not any(part.strip()[:1] in set("=+@\uff1d") for part in quoted if part.strip())


@pytest.mark.parametrize("cell", ["Rent; November", "a=b", "a - b", "x@bank.example; y", "1;2", "Smith, Jones & Co"])
def test_a_plain_text_stays_readable_in_a_file_for_spreadsheets(cell: str) -> None:
    assert harmless(cell, for_spreadsheets=True) == cell


@pytest.mark.parametrize("cell", ["", "x=1", "-1.50", "+4", "a-b", "1e5", "'=1", None, 7, "\u2212 5"])
def test_what_is_none_stays_as_it_is(cell: object) -> None:
    assert harmless(cell) is cell
