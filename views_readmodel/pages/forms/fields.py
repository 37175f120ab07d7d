"""Fields that understand what a teller types."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms

from accounts.published.money import decimals_of, format_amount

_SPACES: Final = str.maketrans("", "", " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}'")
_PLAIN: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]*))?", re.ASCII)
# As the pages themselves show it; without decimals a comma could as well mean them, so that is refused.
_AS_SHOWN: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+\.[0-9]+", re.ASCII)


class AmountField(forms.CharField):
    """An amount as people write it (150, 150.5, 1,500.00), made into the one form that services take: 150.00."""

    def __init__(self, **kwargs: Any) -> None:
        self.currency = ""  # set before validation, by the form that knows the account
        super().__init__(
            max_length=40,
            widget=forms.TextInput(
                attrs={"inputmode": "decimal", "autocomplete": "off", "class": "input input-amount"}
            ),
            **kwargs,
        )

    def clean(self, value: Any) -> Any:
        """The amount as text with exactly the currency's decimals; the service judges how much it may be."""
        text = super().clean(value).translate(_SPACES)
        if not text or not self.currency:
            return text
        if _AS_SHOWN.fullmatch(text):
            text = text.replace(",", "")
        found = _PLAIN.fullmatch(text)
        decimals = decimals_of(self.currency)
        if found is None or len(found[2] or "") > decimals:
            raise forms.ValidationError(f"Write the amount like {_example(self.currency)}.", code="invalid")
        whole = found[1].lstrip("0") or "0"
        return f"{whole}.{(found[2] or '').ljust(decimals, '0')}" if decimals else whole


def _example(currency: str) -> str:
    decimals = decimals_of(currency)
    words = f"digits, a point, and {decimals} decimals" if decimals else "digits only"
    return f"{format_amount(1500 * 10**decimals, currency)}: {words}, no comma"


def write_in(form: forms.Form, name: str, currency: str) -> None:
    """Says which currency an amount of the form is written in."""
    field = form.fields[name]
    if isinstance(field, AmountField):
        field.currency = currency


def line(*, label: str, max_length: int, required: bool = False, help_text: str = "", **attributes: str) -> Any:
    """A text of one line."""
    widget = forms.TextInput(attrs=attributes)
    return forms.CharField(
        label=label, max_length=max_length, required=required, help_text=help_text, widget=widget, strip=True
    )
