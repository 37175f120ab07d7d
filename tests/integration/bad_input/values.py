"""The classes of bad values, by the kind of field that they are bad for: in a body as the bytes of a JSON value."""

from __future__ import annotations

import json
from typing import Any

LONE_SURROGATES = ("\\ud800", "\\udfff", "a\\ud83d", "\\ude00\\ud83d")
ARABIC_DIGITS = "\u0661\u0662"
WIDE_DIGITS = "\uff11\uff12"
# What looks like nothing: spaces, fillers, an empty Braille cell, marks without a letter.
BLANK = (
    "", " ", "\t", "\n", "\u00a0", "\u3000", " \u2003 ", "\u2800", "\u115f", "\u1160", "\u3164", "\uffa0",
    "\u2800 \u3164", "\u034f", "\ufe0f", "\u180b",
)  # fmt: skip
# They look like another text: fillers and blanks, joiners of accents, choices of form, marks upon marks.
LOOKING_ALIKE = (
    "Alice\u3164", "Alice\u034f Fischer", "A\ufe0flice", "Alice\u1160", "\u17b4Alice", "Al\U000e0100ice",
    "Alice\u2800Berg", "a\u034fb@example.com", "a.\ufe0fb@example.com", "a+\ufe0fb@example.com", "Ali\uffa0ce",
    "Ali\u115fce", "Ali\u180bce", "Al\u200dice", "Al\u200cice", "12\ufe0f", "A" + "\u0301" * 30, "Ali\ufffdce",
    "Ali\ufffcce", "Alice\U00016fe4",
)  # fmt: skip
UNPRINTABLE = (
    *LOOKING_ALIKE,
    "a\x07b", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\nb", "a\rb", "a\tb", "a\u2028b", "a\u2029b",
    "a\u202eb", "a\u202ab", "a\u2066b", "a\u2069b",
    # Nobody sees them: zero width, joiners that join nothing, a soft hyphen, byte order marks, tags.
    "\u200b", "a\u200bb", "a\u200c", "\u200da", "a \u200d b", "a\u00adb", "a\ufeffb", "a\u2060b", "a\u2061b",
    "a\u180eb", "a\u200eb", "a\u200fb", "a\u061cb", "a\u206ab", "a\ufff9b", "a\U000e0041b", "a\U000e0001b",
    "a\U0001bca0b",
    # Nobody has assigned them, or somebody for themselves alone.
    "a\u0378b", "a\U000e0fffb", "a\uffffb", "a\ufdd0b", "a\U0010ffffb", "a\ue000b", "a\U000f0000b",
)  # fmt: skip

# What no reader of JSON may take, whatever the field.
NO_JSON = (
    b"NaN", b"Infinity", b"-Infinity", b"1e309", b"-1e309", b"1" * 5_000, b"01", b"+1", b".5", b"1.", b"0x10", b"1_000",
    b"undefined", b"'x'", b'"x', b"x", b"", b"[1,]", b'{"a": 1,}', b"{'a': 1}", b'{"a": 1, "a": 2}', b'"a\tb"',
    b'"a\nb"', b'"\\x41"', b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\\u0000"',
    b'"a\\u0000b"', b'"\x00"', b"/**/1", b"1 2", b"[" * 40 + b"]" * 40, b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 100_000,
    *(f'"{text}"'.encode() for text in LONE_SURROGATES),
)  # fmt: skip

_JSON_OF_TYPE = {
    "number": (b"0", b"1", b"-1", b"-0", b"150.00", b"1e3", b"1E-3", b"123456789012345678901234567890"),
    "boolean": (b"true", b"false"),
    "array": (b"[]", b'["x"]', b"[[]]", b"[null]"),
    "object": (b"{}", b'{"a": "b"}', b'{"$ne": null}'),
    "string": (b'""', b'"x"', b'"1"', b'"true"', b'"null"', b'"[]"', b'"{}"'),
}

NO_ID = (
    "x", "", " ", "0", "1", "null", "01990000-0000-7000-8000-00000000000", "01990000-0000-7000-8000-0000000000000",
    "01990000000070008000000000000000", "{01990000-0000-7000-8000-000000000000}", "' OR 1=1 --",
    "urn:uuid:01990000-0000-7000-8000-000000000000", "01990000-0000-7000-8000-000000000000\n",
    " 01990000-0000-7000-8000-000000000000", "0199000g-0000-7000-8000-000000000000",
    "\u0660\u0661990000-0000-7000-8000-000000000000", "\uff10\uff11990000-0000-7000-8000-000000000000",
    "01990000\u20100000\u20107000\u20108000\u2010000000000000", "9" * 10_000,
)  # fmt: skip
FOREIGN_ID = "01990000-0000-7000-8000-0000000000ff"

NO_AMOUNT = (
    "", " ", "x", "-1.00", "+1.00", "-0.00", "01.00", "00.00", "1", "1.0", "1.000", "1.005", "1,00", "1,000.00",
    "1.000,00", "1 000.00", "1'000.00", "1_000.00", " 1.00", "1.00 ", "1.00\n", "\n1.00", "1e3", "1E3", "1.00e0", "NaN",
    "Infinity", "-Infinity", "inf", "0x10", "0b1", "1.00EUR", "\u20ac1.00", "$1.00", ".50", "1.", "1..00", "1.0.0",
    "--1.00", "(1.00)", "1.00%", "1.00\u200b", "\u00bd", "\u2460.00", "1\u066b00", ARABIC_DIGITS + ".00",
    WIDE_DIGITS + ".00", "1." + ARABIC_DIGITS, "\u2212" + "1.00", "9" * 41, "0" * 40 + ".00", "9" * 10_000, "null",
    "true", "[]",
)  # fmt: skip
ZERO_AMOUNT = "0.00"

NO_CURRENCY = (
    "", " ", "eur", "Eur", "EU", "EURO", "XXX", "XAU", "XTS", "123", "EUR\n", " EUR", "\uff25\uff35\uff32", "E\u200bU",
    "\u20ac", "\u0395UR", "E R",
)  # fmt: skip

NO_WHOLE_NUMBER = (
    "", " ", "x", "-1", "+1", " 1", "1 ", "1\n", "01", "1.0", "1.5", "1e2", "1_0", "1,0", "NaN", "Infinity", "0x1",
    "null", "true", "[]", ARABIC_DIGITS, WIDE_DIGITS, "\u00b2", "\u2460", "9" * 19, "-" + "9" * 19, "9" * 5_000,
    "1\x00", "--1",
)  # fmt: skip

NO_MOMENT = (
    "", " ", "x", "now", "today", "0", "1700000000", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00Z",
    "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-01T24:00:00Z",
    "2026-01-01T23:60:00Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:61Z", "0000-01-01T00:00:00Z",
    "10000-01-01T00:00:00Z", "+2026-01-01T00:00:00Z", "-2026-01-01T00:00:00Z", "26-01-01T00:00:00Z",
    "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+00:60", "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00+1",
    "2026-01-01T00:00:00 01:00", "2026-01-01T00:00:00+0100", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
    "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.0000000000Z", "2026-01-01T00:00:00,5Z", "2026-W01-1T00:00:00Z",
    "2026-01-01T00:00:00Z\n", " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Zulu", "20260101T000000Z", "infinity",
    "-infinity", "epoch", "2026-01-01T00:00:00\x00Z", "\u0662\u0660\u0662\u0666-01-01T00:00:00Z",
    "\uff12\uff10\uff12\uff16-01-01T00:00:00Z", "2026-01-01T00:00:00[Europe/Berlin]", "NaN",
)  # fmt: skip
EDGE_MOMENTS = (
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999999Z", "2026-01-01t00:00:00z",
    "2026-01-01 00:00:00Z", "2024-02-29T00:00:00Z", "2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00-23:59",
    "2026-01-01T00:00:00-00:00",
)  # fmt: skip

NO_CURSOR = (
    "",
    " ",
    "x",
    "0",
    "null",
    "=",
    "====",
    "....",
    "W10",
    "bnVsbA",
    "A" * 400,
    "A" * 401,
    "A" * 5_000,
    "\u0661",
    "\x00",
)

# What is wanted, in parameters that are coded or in pieces: some of these cannot be put together.
NO_MEDIA_TYPE = (
    "application/json; q*=a; q*0=b", "application/json; x*; x*0", "*/*;x*0=a", "*/*;x*=utf-8''%ff", "*/*;x*=bogus''a",
    "*/*;x=\"a;y*=bogus''z\"", "text/html, application/json; x*1=a; x*=b", f"application/json; x*{'9' * 200}=a",
)  # fmt: skip


def token(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value).encode()


def of_other_types(*good: str) -> list[bytes]:
    """JSON values of every type but these."""
    found = [value for name, values in _JSON_OF_TYPE.items() if name not in good for value in values]
    return found if "null" in good else [*found, b"null"]
