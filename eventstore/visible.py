"""Whether anybody can see a text, or anything in it. Pure; every context and the admin may import this module.

Names that look like nothing, or like another name, are made of characters that print nothing: some are neither letters
nor marks and are told by their category, others are letters, marks or symbols by theirs and are told here by name. Some
of them a script needs; they are taken where that script has them, and nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MOST_MARKS: Final = 8
"""In a row, of accents and vowel signs. Words of Burmese and Tibetan have five or six; with more they hide others."""

# Unassigned, private use, surrogates, controls, format characters, line and paragraph separators.
_UNSEEN_CATEGORIES: Final = frozenset({"Cn", "Co", "Cs", "Cc", "Cf", "Zl", "Zp"})
# What print something: letters, numbers, punctuation and symbols. A mark alone belongs to a letter that is not there.
_VISIBLE: Final = frozenset("LNPS")
# Letters and symbols that print nothing: fillers of Hangul, the empty cell of Braille, the empty head of a note, blanks
# of hieroglyphs.
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159\U00013441\U00013442")
# Marks that print nothing: Default_Ignorable_Code_Point of Unicode, as far as no category tells it. The first is a
# joiner of accents, then come vowels of Khmer that nobody writes and a filler; others choose between forms of a letter.
_UNSEEN_MARKS: Final = frozenset("\u034f\u17b4\u17b5\U00016fe4\u180b\u180c\u180d\u180f") | frozenset(
    map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)])
)
# They stand for what could not be read and for what is no text.
_REPLACEMENTS: Final = frozenset("\ufffc\ufffd")

_NON_JOINER, _JOINER = "\u200c", "\u200d"
_VIRAMA: Final = 9  # the canonical combining class of what takes a consonant's vowel away
# Scripts in which a joiner changes how the letters beside it are written: the cursive ones, and the family of Brahmi.
_JOINING: Final = re.compile(
    "[\u0600-\u109f\u1780-\u18af\u1a20-\u1aaf\u1b00-\u1c4f\ua800-\ua8df\ua980-\ua9ff\uaa60-\uaa7f\uabc0-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00010a5f\U00010ac0-\U00010aff\U00010d00-\U00010d3f"
    "\U00011000-\U00011fff\U0001e900-\U0001e95f]"
)
_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_MONGOLIAN: Final = re.compile("[\u1820-\u18aa]")
_BRAILLE: Final = re.compile("[\u2801-\u28ff]")
_KEYCAP: Final = re.compile("[0-9#*]")
_SKIN: Final = re.compile("[\U0001f3fb-\U0001f3ff]")


def has_visible(text: str) -> bool:
    """Whether the text has a character that prints something."""
    if text.isascii():
        return any("!" <= character <= "~" for character in text)
    return any(unicodedata.category(one)[0] in _VISIBLE and one not in _BLANK for one in text)


def has_unprintable(text: str) -> bool:
    """Whether the text has a character that prints nothing, breaks a line, turns the direction of what follows, stands
    for what could not be read, or is one of more marks in a row than any script writes.
    """
    if text.isascii():
        return not text.isprintable()
    return any(_is_unprintable(text, index) for index in range(len(text))) or _has_heap_of_marks(text)


def _is_unprintable(text: str, index: int) -> bool:
    one, before, after = text[index], text[index - 1 : index], text[index + 1 : index + 2]
    if one in (_NON_JOINER, _JOINER):
        return not _is_joined(one, before, after)
    if one in _UNSEEN_MARKS:
        return not _is_form_of(one, before, after)
    if one in _BLANK:
        return not (one == "\u2800" and _BRAILLE.match(before) and _BRAILLE.match(after))
    return one in _REPLACEMENTS or unicodedata.category(one) in _UNSEEN_CATEGORIES


def _is_joined(joiner: str, before: str, after: str) -> bool:
    """Whether a joiner does something: behind a virama, between letters that join, or between pictures."""
    if not before:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if _JOINING.match(before) and _JOINING.match(after):
        return all(unicodedata.category(one)[0] in "LM" for one in (before, after))
    is_pictured = _is_picture(before) or before == "\ufe0f" or bool(_SKIN.match(before))
    return joiner == _JOINER and is_pictured and _is_picture(after)


def _is_picture(one: str) -> bool:
    """Whether it may be drawn as a picture: a symbol, but none that is part of words or addresses, as a plus is."""
    if one < "\u2000":
        return one in ("\N{COPYRIGHT SIGN}", "\N{REGISTERED SIGN}")
    return unicodedata.category(one) in ("So", "Sm") or one in "\u203c\u2049\u3030"


def _is_form_of(mark: str, before: str, after: str) -> bool:
    """Whether a mark chooses a form of what is before it: a Chinese character, a Mongolian letter, a picture."""
    if mark in "\u180b\u180c\u180d\u180f":
        return bool(_MONGOLIAN.match(before))
    if mark in "\ufe0e\ufe0f":
        return _is_picture(before) or (bool(_KEYCAP.match(before)) and after == "\u20e3")
    return (mark >= "\U000e0100" or mark in "\ufe00\ufe01\ufe02") and bool(_HAN.match(before))


def _has_heap_of_marks(text: str) -> bool:
    """Whether more marks follow each other than any script writes; a joiner between them does not begin anew."""
    marks = 0
    for one in text:
        is_mark = one in (_NON_JOINER, _JOINER) or unicodedata.category(one)[0] == "M"
        marks = marks + 1 if is_mark else 0
        if marks > MOST_MARKS:
            return True
    return False
