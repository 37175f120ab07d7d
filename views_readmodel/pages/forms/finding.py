"""What transfers are looked for by: an amount, in Find and in their list, and there the days too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django import forms

from accounts.published.money import DECIMALS, parse_amount
from views_readmodel.pages.forms.currencies import currency_of
from views_readmodel.pages.forms.days import OpenSpanForm
from views_readmodel.pages.forms.fields import read_amount

_WITH_CURRENCY: Final = re.compile(r"(\D*?)([-\u2212\u2013]?\d(?:.*\d)?\.?)(\D*)", re.ASCII)
_ONE_OF_EACH: Final = {decimals: currency for currency, decimals in DECIMALS.items()}
"""A currency for each number of decimals that there is."""


class AskedAmountField(forms.CharField):
    """An amount that is looked for, alone (150) or with its currency before or behind it (150 EUR).

    Cleaned, it is what that comes to in minor units, by each currency that can be meant.
    """

    def clean(self, value: Any) -> Any:
        """The amounts; none when nothing was typed."""
        text = super().clean(value)
        if not text:
            return {}
        found = _WITH_CURRENCY.fullmatch(text)
        before, written, behind = found.groups() if found else ("", "", "")
        currency = _currency(before + behind)
        if not written or (before and behind) or currency is None:
            raise forms.ValidationError("This is not an amount. Write it like 1500.00 or 150 EUR.", code="invalid")
        return {currency: _minor(written, currency)} if currency else _of_any_currency(written)


class TransfersForm(OpenSpanForm):
    """What the list of transfers is narrowed down to, as far as anything is given."""

    amount = AskedAmountField(
        label="Amount",
        required=False,
        max_length=60,
        widget=forms.TextInput(attrs={"class": "input", "autocomplete": "off", "placeholder": "150 EUR"}),
    )

    field_order = ["amount", "first", "last"]


def amounts_in(text: str) -> Mapping[str, int]:
    """The amounts that somebody may be looking for, in minor units by currency; none for what is no amount."""
    try:
        found: Mapping[str, int] = AskedAmountField(required=False).clean(text)
    except forms.ValidationError:
        return {}
    return found


def _currency(text: str) -> str | None:
    """The code that is meant, "" when there is none, and None for what is no currency."""
    text = text.strip()
    return text.upper() if text.upper() in DECIMALS else currency_of(text) or (None if text else "")


def _of_any_currency(written: str) -> dict[str, int]:
    minor: dict[int, int] = {}
    for decimals, currency in _ONE_OF_EACH.items():
        try:
            minor[decimals] = _minor(written, currency)
        except forms.ValidationError:
            continue
    if not minor:
        read_amount(written, currency="")
        raise forms.ValidationError("This is more than the bank moves at once.", code="limit_exceeded")
    return {currency: minor[decimals] for currency, decimals in DECIMALS.items() if decimals in minor}


def _minor(written: str, currency: str) -> int:
    return parse_amount(read_amount(written, currency=currency), currency)
