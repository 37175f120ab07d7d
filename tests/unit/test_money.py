"""Money as text: one written form per amount, and nothing else is taken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.published.money import (
    DECIMALS,
    MAX_AMOUNT_MINOR,
    MAX_BALANCE_MINOR,
    AmountNotPositive,
    InvalidAmount,
    LimitExceeded,
    UnknownCurrency,
    format_amount,
    parse_amount,
)

LARGEST_EXACT_IN_JSON = 2**53 - 1


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("150.00", "EUR", 150_00),
        ("0.01", "EUR", 1),
        ("0.10", "USD", 10),
        ("9999999999.99", "EUR", MAX_AMOUNT_MINOR),
        ("1", "JPY", 1),
        ("150", "JPY", 150),
        ("999999999999", "JPY", MAX_AMOUNT_MINOR),
        ("1.500", "KWD", 1_500),
        ("0.001", "BHD", 1),
        ("12.3456", "CLF", 123_456),
    ],
)
def test_it_reads_what_it_writes(text: str, currency: str, minor: int) -> None:
    assert parse_amount(text, currency) == minor
    assert format_amount(minor, currency) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "150",
        "150.",
        "150.0",
        "150.000",
        ".50",
        "00.50",
        "0150.00",
        "+150.00",
        "-150.00",
        "\u2212150.00",
        "1e2",
        "1.5e2",
        "150,00",
        "1,500.00",
        "1 500.00",
        "1_500.00",
        " 150.00",
        "150.00 ",
        "150.00\n",
        "150.00\x00",
        "0x10.00",
        "NaN",
        "Infinity",
        "\u0661\u0665\u0660.\u0660\u0660",
        "\uff11\uff15\uff10.\uff10\uff10",
        "150\uff0e00",
        "\u00b2.00",
        "1" * 5_000 + ".00",
    ],
)
def test_it_refuses_an_amount_in_any_other_form(text: str) -> None:
    with pytest.raises(InvalidAmount) as caught:
        parse_amount(text, "EUR")
    assert (caught.value.code, caught.value.field) == ("invalid_amount", "amount")
    assert '"150.00"' in str(caught.value)


@pytest.mark.parametrize("value", [150, 150.0, True, None, b"150.00", ["150.00"], {"amount": "150.00"}])
def test_it_refuses_what_is_no_text(value: object) -> None:
    with pytest.raises(InvalidAmount):
        parse_amount(value, "EUR")


@pytest.mark.parametrize("text", ["150.00", "150.", "1.5", "0150"])
def test_it_refuses_decimals_where_the_currency_has_none(text: str) -> None:
    with pytest.raises(InvalidAmount, match='"150"'):
        parse_amount(text, "JPY")


@pytest.mark.parametrize(("text", "currency"), [("0.00", "EUR"), ("0", "JPY"), ("0.000", "KWD")])
def test_it_takes_zero_only_where_that_is_allowed(text: str, currency: str) -> None:
    with pytest.raises(AmountNotPositive):
        parse_amount(text, currency)
    assert parse_amount(text, currency, zero_allowed=True) == 0


@pytest.mark.parametrize("text", ["10000000000.00", "99999999999999999999999.99"])
def test_it_refuses_more_than_the_limit(text: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        parse_amount(text, "EUR")
    assert caught.value.code == "limit_exceeded"


@pytest.mark.parametrize("currency", ["", "EU", "EURO", "eur", "XXX", "XAU", "XTS", "DEM", "\u20ac"])
def test_it_refuses_a_currency_that_no_account_can_be_in(currency: str) -> None:
    with pytest.raises(UnknownCurrency):
        parse_amount("1.00", currency)
    with pytest.raises(UnknownCurrency):
        format_amount(100, currency)


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "EUR", "0.00"),
        (-1, "EUR", "-0.01"),
        (-150_00, "EUR", "-150.00"),
        (-150, "JPY", "-150"),
        (0, "JPY", "0"),
        (-5, "KWD", "-0.005"),
        (MAX_BALANCE_MINOR, "EUR", "9999999999999.99"),
    ],
)
def test_it_writes_balances_and_signs(minor: int, currency: str, text: str) -> None:
    assert format_amount(minor, currency) == text


@given(minor=st.integers(1, MAX_AMOUNT_MINOR), currency=st.sampled_from(sorted(DECIMALS)))
def test_it_comes_back_as_it_went(minor: int, currency: str) -> None:
    assert parse_amount(format_amount(minor, currency), currency) == minor


@given(text=st.text(), currency=st.sampled_from(sorted(DECIMALS)))
def test_it_takes_a_text_as_it_would_write_it_or_not_at_all(text: str, currency: str) -> None:
    try:
        minor = parse_amount(text, currency)
    except (InvalidAmount, LimitExceeded):
        return
    assert format_amount(minor, currency) == text


def test_it_stays_within_what_every_json_reader_holds_exactly() -> None:
    assert MAX_AMOUNT_MINOR < MAX_BALANCE_MINOR < LARGEST_EXACT_IN_JSON
    assert int(json.loads(json.dumps(MAX_BALANCE_MINOR), parse_int=float)) == MAX_BALANCE_MINOR


def test_it_knows_each_currency_by_three_letters() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in DECIMALS)
    assert {code: DECIMALS[code] for code in ("EUR", "USD", "JPY", "KWD", "CLF")} == {
        "EUR": 2,
        "USD": 2,
        "JPY": 0,
        "KWD": 3,
        "CLF": 4,
    }


@pytest.mark.parametrize("gone", ["DEM", "HRK", "BGN", "ANG", "SLL", "ZWL", "XXX", "XTS", "XAU", "XDR"])
def test_it_leaves_out_what_is_no_money_any_more(gone: str) -> None:
    assert gone not in DECIMALS
