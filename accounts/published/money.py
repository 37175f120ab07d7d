"""Money at the edges: decimal strings outside, integers in minor units inside. Pure.

Invariant: no float and no rounding anywhere. Text is accepted only in the one form that `format_amount` writes, so
that what a client sent and what it reads back are the same characters. Every context may import this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

from eventstore.refusals import InvalidValue, Refusal

MAX_AMOUNT_MINOR: Final = 999_999_999_999
"""The most that one movement may be, in minor units."""

CURRENCY_PATTERN: Final = "[A-Z]{3}"
"""How an ISO 4217 code is written, whether there is such a one or not."""

MAX_BALANCE_MINOR: Final = 999_999_999_999_999
"""The most that an account takes in, in minor units. Below 2**53, so that every JSON reader holds it exactly."""

AmountText = Annotated[
    str, msgspec.Meta(description="A decimal number with exactly the decimals of the currency.", examples=["150.00"])
]
"""An amount as answers give it: what `format_amount` writes."""

# ISO 4217, table A.1 as of 2026: every active code that has a minor unit, by the number of its decimals. Codes without
# one (metals, XDR, testing) are no money that an account could hold. A code that ISO withdraws moves to no other
# line: leave it as long as an account in it exists.
_CODES_BY_DECIMALS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
        CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF
        IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
        MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP
        SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER
        ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

DECIMALS: Final[Mapping[str, int]] = MappingProxyType(
    {code: decimals for decimals, codes in _CODES_BY_DECIMALS.items() for code in codes.split()}
)
"""The number of decimals of each currency that an account can be in."""

# Whole units without leading zeros, then exactly the decimals. ASCII digits: `\d` would take Arabic-Indic ones too.
_FORMS: Final = {
    decimals: re.compile(r"(0|[1-9][0-9]*)" + (rf"\.([0-9]{{{decimals}}})" if decimals else "()"))
    for decimals in _CODES_BY_DECIMALS
}
_LONGEST_TEXT: Final = 40  # far beyond the limit, far below what makes int() slow


class UnknownCurrency(InvalidValue):
    """The currency is not one of ISO 4217 that an account can be in."""

    code = "unknown_currency"


class InvalidAmount(InvalidValue):
    """The amount must be a text with exactly the currency's decimals, such as "150.00"."""

    code = "invalid_amount"


class AmountNotPositive(InvalidAmount):
    """The amount must be more than zero."""

    code = "amount_not_positive"


class LimitExceeded(Refusal):
    """The amount is more than the bank moves or holds at once."""

    code = "limit_exceeded"


class CurrencyMismatch(Refusal):
    """The currency is not the account's."""

    code = "currency_mismatch"


def decimals_of(currency: str) -> int:
    """How many decimals amounts in this currency have. Raises `UnknownCurrency`."""
    decimals = DECIMALS.get(currency)
    if decimals is None:
        raise UnknownCurrency(field="currency")
    return decimals


def parse_amount(text: object, currency: str, *, zero_allowed: bool = False) -> int:
    """The amount in minor units, from a text such as "150.00".

    Raises `UnknownCurrency`; `InvalidAmount` for anything but text in exactly the written form (a JSON number too:
    it may have been through a float); `AmountNotPositive` for zero, unless that is allowed; `LimitExceeded`.
    """
    decimals = decimals_of(currency)
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise InvalidAmount(_form_expected(currency), field="amount")
    match = _FORMS[decimals].fullmatch(text)
    if match is None:
        raise InvalidAmount(_form_expected(currency), field="amount")
    amount_minor = int(match[1] + match[2])
    if not (zero_allowed and amount_minor == 0):
        check_amount(amount_minor)
    return amount_minor


def format_amount(amount_minor: int, currency: str) -> str:
    """The amount as text with the currency's decimals, with a minus sign when negative. Raises `UnknownCurrency`."""
    decimals = decimals_of(currency)
    sign = "-" if amount_minor < 0 else ""
    digits = str(abs(amount_minor)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"


def check_amount(amount_minor: int) -> None:
    """Refuses an amount that no movement can have. Raises `AmountNotPositive`, `LimitExceeded`."""
    if amount_minor <= 0:
        raise AmountNotPositive(field="amount")
    if amount_minor > MAX_AMOUNT_MINOR:
        raise LimitExceeded


def _form_expected(currency: str) -> str:
    example = format_amount(150 * 10 ** decimals_of(currency), currency)
    return f'The amount must be a text with exactly the decimals of {currency}, such as "{example}".'
