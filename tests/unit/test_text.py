"""Text from people: what can be stored, printed and read as it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.published.text import InvalidText, TextMissing, TextTooLong, clean_optional, clean_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Alice", "Alice"),
        ("  Alice\t\n", "Alice"),
        ("Zo\u00eb O\u2019Brien-\u0141\u00f3d\u017a", "Zo\u00eb O\u2019Brien-\u0141\u00f3d\u017a"),
        ("\u5c71\u7530 \u592a\u90ce", "\u5c71\u7530 \u592a\u90ce"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\u05d0\u05dc\u05d9\u05e1\u200f", "\u05d0\u05dc\u05d9\u05e1\u200f"),
        ("Rent \U0001f3e0", "Rent \U0001f3e0"),
    ],
)
def test_it_takes_what_people_write(text: str, clean: str) -> None:
    assert clean_text(text, field="name", max_length=40) == clean


@pytest.mark.parametrize(
    "character",
    ["\x00", "\x07", "\n", "\r", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800", "\u202e", "\u2066"],
    ids=ascii,
)
def test_it_refuses_what_cannot_be_printed_on_a_line(character: str) -> None:
    with pytest.raises(InvalidText) as caught:
        clean_text(f"a{character}b", field="title", max_length=10)
    assert (caught.value.code, caught.value.field) == ("invalid_text", "title")


def test_it_counts_characters_after_trimming() -> None:
    assert clean_text("  " + "x" * 10, field="title", max_length=10) == "x" * 10
    with pytest.raises(TextTooLong, match="at most 10"):
        clean_text("x" * 11, field="title", max_length=10)


@pytest.mark.parametrize("text", ["", "  ", "\u2003"])
def test_it_misses_a_text_that_is_required(text: str) -> None:
    with pytest.raises(TextMissing, match="must not be empty"):
        clean_text(text, field="reason", max_length=10)
    assert clean_text(text, field="description", max_length=10, required=False) == ""


def test_it_tells_no_text_by_none() -> None:
    assert clean_optional(None, field="email", max_length=10) is None
    assert clean_optional("  ", field="email", max_length=10) is None
    assert clean_optional(" a ", field="email", max_length=10) == "a"


@given(st.text(st.characters(codec=None), max_size=30))
def test_it_lets_through_only_what_a_json_column_holds(text: str) -> None:
    try:
        clean = clean_text(text, field="name", max_length=20, required=False)
    except InvalidText:
        return
    assert json.loads(json.dumps(clean, ensure_ascii=False).encode("utf-8")) == clean
    assert "\x00" not in clean
    assert clean == clean.strip()
    assert len(clean) <= 20
