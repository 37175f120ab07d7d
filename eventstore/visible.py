"""Whether anybody can see a text, or anything in it. Pure; every context and the admin may import this module.

Names that look like nothing, or like another name, are made of characters that print nothing: some are neither letters
nor marks and are told by their category, others are letters by theirs and are told here by name.
"""

from __future__ import annotations

import unicodedata
from typing import Final

# Unassigned, private use, surrogates, controls, format characters, line and paragraph separators.
_UNSEEN_CATEGORIES: Final = frozenset({"Cn", "Co", "Cs", "Cc", "Cf", "Zl", "Zp"})
# What print something: letters, numbers, punctuation and symbols. A mark alone belongs to a letter that is not there.
_VISIBLE: Final = frozenset("LNPS")
# Fillers of Hangul, the empty cell of Braille and the empty head of a note: letters and symbols that print nothing.
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800\U0001d159")
# They join letters where the script wants it, as in Persian and in the scripts of India, and pictures.
_JOINERS: Final = frozenset("\u200c\u200d")
_JOINED: Final = frozenset("LMS")


def has_visible(text: str) -> bool:
    """Whether the text has a character that prints something."""
    if text.isascii():
        return any("!" <= character <= "~" for character in text)
    return any(unicodedata.category(one)[0] in _VISIBLE and one not in _BLANK for one in text)


def has_unprintable(text: str) -> bool:
    """Whether the text has a character that prints nothing, breaks a line, or turns the direction of what follows."""
    if text.isprintable():
        return False
    return any(_is_unprintable(text, index) for index in range(len(text)))


def _is_unprintable(text: str, index: int) -> bool:
    if text[index] in _JOINERS:
        return not (_is_joined(text[index - 1 : index]) and _is_joined(text[index + 1 : index + 2]))
    return unicodedata.category(text[index]) in _UNSEEN_CATEGORIES


def _is_joined(neighbour: str) -> bool:
    return bool(neighbour) and unicodedata.category(neighbour)[0] in _JOINED
