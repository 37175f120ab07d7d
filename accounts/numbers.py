"""Account numbers: short, for people, with a check digit that catches a wrong or a swapped digit.

Invariant: no two accounts have one number, whatever is rolled back. `services` takes new ones; whoever reads a number
that somebody typed may check it here.
"""

from __future__ import annotations

from typing import Final

from django.db import connection
from stdnum import damm

# The next number, for good: a sequence does not roll back.
_NEXT: Final = "SELECT nextval('accounts_account_number')"


def next_number() -> str:
    """A new account number: eight digits, the last one checking the others."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT)
        (base,) = cursor.fetchone()
    return f"{base}{damm.calc_check_digit(str(base))}"


def is_number(text: str) -> bool:
    """Whether the text can be an account number at all: digits, and the check digit agrees."""
    return text.isascii() and text.isdigit() and bool(damm.is_valid(text))
