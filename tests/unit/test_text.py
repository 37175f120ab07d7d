"""Text from people: what can be stored, printed and read as it stands."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.domain.customer import CUSTOMER, Registered
from accounts.published.events import CustomerRegistered
from accounts.published.text import InvalidText, TextMissing, TextTooLong, clean_optional, clean_text
from eventstore.visible import MOST_MARKS
from tests.integration.bad_input import values


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Alice", "Alice"),
        ("  Alice\t\n", "Alice"),
        ("Zo\u00eb O\u2019Brien-\u0141\u00f3d\u017a", "Zo\u00eb O\u2019Brien-\u0141\u00f3d\u017a"),
        ("\u5c71\u7530 \u592a\u90ce", "\u5c71\u7530 \u592a\u90ce"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\u05d0\u05dc\u05d9\u05e1", "\u05d0\u05dc\u05d9\u05e1"),
        (
            "\u0646\u06af\u0627\u0631\u200c\u0622\u0641\u0631\u06cc\u0646",
            "\u0646\u06af\u0627\u0631\u200c\u0622\u0641\u0631\u06cc\u0646",
        ),
        (
            "\u0dc1\u0dca\u200d\u0dbb\u0dd3\u0db8\u0dad\u0dd3",
            "\u0dc1\u0dca\u200d\u0dbb\u0dd3\u0db8\u0dad\u0dd3",
        ),  # Shrimati, in Sinhala
        ("\u0905\u0930\u094d\u091c\u0941\u0928", "\u0905\u0930\u094d\u091c\u0941\u0928"),
        ("\uae40\ubbfc\uc900", "\uae40\ubbfc\uc900"),
        ("\u1112\u1161\u11ab", "\u1112\u1161\u11ab"),  # Hangul in single letters
        ("Nguy\u1ec5n Th\u1ecb", "Nguy\u1ec5n Th\u1ecb"),
        ("Nguye\u0302\u0303n", "Nguye\u0302\u0303n"),
        ("\u13e3\u13b3\u13a9", "\u13e3\u13b3\u13a9"),
        ("\u1219\u1208\u1230", "\u1219\u1208\u1230"),
        ("\U00020bb7\u91ce\u5bb6", "\U00020bb7\u91ce\u5bb6"),
        ("O\u02bbahu \u02bbOkina", "O\u02bbahu \u02bbOkina"),
        ("X \u00c6 A-12", "X \u00c6 A-12"),
        ("Rent \U0001f3e0", "Rent \U0001f3e0"),
        ("Family \U0001f468\u200d\U0001f469\u200d\U0001f467", "Family \U0001f468\u200d\U0001f469\u200d\U0001f467"),
        ("7", "7"),
        ("\u2801\u2800\u2803", "\u2801\u2800\u2803"),  # Braille, with a space of its own
    ],
)
def test_it_takes_what_people_write(text: str, clean: str) -> None:
    assert clean_text(text, field="name", max_length=40) == clean


# As people of many scripts write their names, some of them with what prints nothing elsewhere.
_NAMES = (
    "Alice Fischer", "Zoë O\u2019Brien-Łódź", "Nguyễn Thị Ánh Nguyệt", "Þórdís Ævarsdóttir", "Siân Ŵyn", "Seán",
    "Ёлкина Наталья", "Ґалаґан Їжакевич", "Ћирић Љиљана", "Παπαδοπούλου Ἀλεξάνδρα", "Աննա Հակոբյան", "თამარ ბერიძე",
    "יִצְחָק בֶּן־צְבִי", "שְׁלֹמֹה", "مُحَمَّد عَبْدُ ٱللَّه", "فاطمة الزهراء", "نگار‌آفرین", "سید علی‌رضا", "عائشہ صدیقی", "ܐܦܪܝܡ", "ޢައިޝަތު",
    "अर्जुन", "श्री कृष्ण", "क्‍ष", "लक्ष्मी", "রহমান", "র‍্যাচেল", "ਗੁਰਪ੍ਰੀਤ", "જ્યોતિ", "ଓଡ଼ିଆ", "தமிழ்ச்செல்வி", "శ్రీనివాస్",
    "ಕೃಷ್ಣಮೂರ್ತಿ", "അരുണ്‍", "ലക്ഷ്മി", "ශ්‍රීමතී", "ทักษิณ ชินวัตร", "ปิ่นเกล้า", "ສົມສັກ", "ཀརྨ་པ་", "བསྒྲུབས", "ရွှေမြွှောင့်", "អង្គារសុខ",
    "ᠴᠢᠩᠭᠢᠰ", "ᠮᠣᠩᠭᠤᠯ\u180b", "山田 太郎", "辻\U000e0100村", "葛\ufe00城", "𠮷野家", "ひらがな", "ガール", "が",
    "김민준", "각", "ᏣᎳᎩ", "መለሰ", "ⵜⴰⵎⵖⵔⴰ", "ߞߊ߲ߞߊ߲", "𞤀𞤣𞤤𞤢𞤥", "\u02bbOkina Kaua\u02bbi", "Ọlábísí", "Ŋ̀ǹ", "s̈ẗ",
)  # fmt: skip
_PICTURES = (
    "Rent \u2764\ufe0f",
    "1\ufe0f\u20e3",
    "\U0001f9d1\U0001f3fd\u200d\U0001f680",
    "\u2764\ufe0f\u200d\U0001f525",
    "\u00a9\ufe0e",
)


@pytest.mark.parametrize("text", [*_NAMES, *_PICTURES])
def test_it_takes_names_of_every_script(text: str) -> None:
    assert clean_text(text, field="name", max_length=40) == text
    for form in ("NFC", "NFD"):
        assert clean_text(unicodedata.normalize(form, text), field="name", max_length=80)


def test_it_takes_no_name_that_looks_like_another() -> None:
    taken = [text for text in values.LOOKING_ALIKE if not _is_refused(text)]
    assert taken == []


# Default_Ignorable_Code_Point of Unicode 16.
_IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip


@pytest.mark.parametrize("name", ["a{}b", "{}ab", "ab{}", "a@{}b.de", "1{}2", "\u0416{}\u0416", "\uae40{}\uae40"])
def test_it_takes_nothing_that_unicode_says_is_not_shown(name: str) -> None:
    ignorable = [chr(code) for first, last in _IGNORABLE for code in range(first, last + 1)]
    assert [ascii(one) for one in ignorable if not _is_refused(name.format(one))] == []


def test_it_bounds_how_many_marks_stand_in_a_row() -> None:
    assert clean_text("A" + MOST_MARKS * "\u0301" + "b", field="name", max_length=40)
    virama = "\u094d\u200d"
    for heap in ("\u0301" * (MOST_MARKS + 1), "\u0301" * 199, virama * MOST_MARKS, "\u20dd" * 30):
        assert _is_refused("\u0915" + heap)


def _is_refused(text: str) -> bool:
    try:
        clean_text(text, field="name", max_length=300)
    except InvalidText:
        return True
    return False


@pytest.mark.parametrize(
    "character",
    [
        *("\x00", "\x07", "\n", "\r", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800", "\u202e", "\u2066"),
        *("\u200b", "\u00ad", "\ufeff", "\u2060", "\u200e", "\u200f", "\u061c", "\U000e0041", "\u180e"),
        *("\u0378", "\ufdd0", "\uffff", "\U0010ffff", "\ue000", "\U000f0000"),
    ],
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


@pytest.mark.parametrize("text", ["\u200cab", "ab\u200d", "a \u200d b", "a\u200c\u200cb", "a\u200d"], ids=ascii)
def test_it_refuses_a_joiner_that_joins_nothing(text: str) -> None:
    with pytest.raises(InvalidText):
        clean_text(text, field="title", max_length=10)


@pytest.mark.parametrize(
    "text", ["\u2800", "\u115f", "\u1160", "\u3164", "\uffa0", "\u3164 \u2800", "\u034f", "\ufe0f", "\u0301"], ids=ascii
)
def test_it_misses_a_text_that_nobody_can_see(text: str) -> None:
    with pytest.raises(TextMissing):
        clean_text(text, field="name", max_length=10)
    with pytest.raises(InvalidText):
        clean_optional(text, field="reference", max_length=10)


def test_what_was_stored_before_is_read_as_it_is() -> None:
    registered = CustomerRegistered(
        name="\u3164\u200b\ufffd", email="a\u034fb@example.com", phone=None, reference="\ue000"
    )
    assert CUSTOMER.evolve(CUSTOMER.initial, registered) == Registered()


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
