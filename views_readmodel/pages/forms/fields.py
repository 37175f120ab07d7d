"""Fields that understand what a teller types."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms

from accounts.published.money import DECIMALS, MAX_AMOUNT_MINOR, decimals_of, format_amount
from accounts.published.text import InvalidText, check_text

_BETWEEN: Final = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}'"
_WITHOUT: Final = str.maketrans("", "", _BETWEEN)
_MINUSES: Final = ("-", "\N{MINUS SIGN}", "\N{EN DASH}")
_MOST_DECIMALS: Final = max(DECIMALS.values())
_LONGEST_WHOLE: Final = len(str(MAX_AMOUNT_MINOR))
_PLAIN: Final = re.compile(r"([0-9]+)(?:\.([0-9]*))?", re.ASCII)
# As the pages themselves show it. Without decimals a comma could as well mean them, and is refused, unless the currency
# has none.
_AS_SHOWN: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+\.[0-9]+", re.ASCII)
_WHOLE_AS_SHOWN: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+", re.ASCII)
# One and the same space or apostrophe, and only before three digits: 12 50 may be two numbers, or one with decimals.
_GROUPED: Final = re.compile(rf"[0-9]{{1,3}}([{_BETWEEN}])[0-9]{{3}}(?:\1[0-9]{{3}})*(?:\.[0-9]*)?", re.ASCII)

_SPLIT: Final = "This may be more than one number: a space or an apostrophe stands only before groups of three digits."


class AmountField(forms.CharField):
    """An amount as people write it (150, 150.5, 1,500.00, 1 500), made into the one form that services take: 150.00.

    Whatever no amount can be is refused in words of its own.
    """

    def __init__(self, *, zero_allowed: bool = False, **kwargs: Any) -> None:
        self.currency = ""  # set before validation, by the form that knows the account
        self.zero_allowed = zero_allowed
        typed = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off", "class": "input input-amount"})
        super().__init__(max_length=40, **{"widget": typed} | kwargs)

    def clean(self, value: Any) -> Any:
        """The amount as text with exactly the currency's decimals; without a currency, as much as can be judged."""
        text = super().clean(value)
        return read_amount(text, currency=self.currency, zero_allowed=self.zero_allowed) if text else text


def read_amount(text: str, *, currency: str, zero_allowed: bool = False) -> str:
    """The amount in the form that services take; with "" for the currency, as much as can be judged.

    Raises `ValidationError` for what is no amount of the currency.
    """
    decimals = decimals_of(currency) if currency else _MOST_DECIMALS
    whole, rest = _parts(_ungrouped(text, decimals), currency)
    if len(rest) > decimals:
        raise forms.ValidationError(_too_many_decimals(len(rest), currency), code="too_many_decimals")
    if not zero_allowed and not (whole + rest).strip("0"):
        raise forms.ValidationError("The amount must be more than zero.", code="amount_not_positive")
    if len(whole) > _LONGEST_WHOLE or (currency and int(whole + rest.ljust(decimals, "0")) > MAX_AMOUNT_MINOR):
        raise forms.ValidationError(_too_large(currency), code="limit_exceeded")
    return f"{whole}.{rest.ljust(decimals, '0')}" if decimals else whole


def _ungrouped(text: str, decimals: int) -> str:
    """The text without what stands between groups of three digits; as it is when that stands elsewhere, too."""
    if _AS_SHOWN.fullmatch(text) or (decimals == 0 and _WHOLE_AS_SHOWN.fullmatch(text)):
        return text.replace(",", "")
    return text.translate(_WITHOUT) if _GROUPED.fullmatch(text) else text


def _parts(text: str, currency: str) -> tuple[str, str]:
    """Whole units without leading zeros, and the decimals as they were written."""
    found = _PLAIN.fullmatch(text)
    if found is not None:
        return found[1].lstrip("0") or "0", found[2] or ""
    joined = text.translate(_WITHOUT)
    if joined.startswith(_MINUSES) and _PLAIN.fullmatch(joined[1:]):
        raise forms.ValidationError("An amount is never negative. Write it without the sign.", code="negative")
    if joined != text and _PLAIN.fullmatch(joined):
        raise forms.ValidationError(f"{_SPLIT} Write it like {_example(currency)}.", code="split")
    raise forms.ValidationError(f"This is not an amount. Write it like {_example(currency)}.", code="invalid")


def _example(currency: str) -> str:
    currency = currency or "EUR"
    decimals = decimals_of(currency)
    words = f"digits, a point, and {decimals} decimals, no comma" if decimals else "digits only"
    return f"{format_amount(1500 * 10**decimals, currency)}: {words}"


def _too_many_decimals(written: int, currency: str) -> str:
    if not currency:
        return f"No currency has {written} decimals."
    return f"{currency} has {decimals_of(currency) or 'no'} decimals, and this has {written}."


def _too_large(currency: str) -> str:
    if not currency:
        return "This is more than the bank moves at once."
    whole, point, rest = format_amount(MAX_AMOUNT_MINOR, currency).partition(".")
    return f"This is more than the bank moves at once, which is {int(whole):,}{point}{rest} {currency}."


def write_in(form: forms.Form, name: str, currency: str) -> None:
    """Says which currency an amount of the form is written in."""
    field = form.fields[name]
    if isinstance(field, AmountField):
        field.currency = currency


def line(*, label: str, max_length: int, required: bool = False, help_text: str = "", **attributes: str) -> Any:
    """A text of one line."""
    widget = forms.TextInput(attrs=attributes)
    return forms.CharField(
        label=label,
        max_length=max_length,
        required=required,
        help_text=help_text,
        widget=widget,
        strip=True,
        validators=[_check_line],
    )


def _check_line(text: str) -> None:
    try:
        check_text(text, field="", max_length=len(text))
    except InvalidText as error:
        raise forms.ValidationError(str(error), code=error.code) from error
