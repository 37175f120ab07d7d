"""Spans of days: of the bank's days, the first and the last included."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator

from views_readmodel.pages.days import begins

_FIRST_DAY: Final = date(1900, 1, 1)
_LAST_DAY: Final = date(2999, 12, 31)  # beyond them a day may have no beginning or no end in some time zone


def _day(label: str, *, required: bool) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=required,
        widget=forms.DateInput(attrs={"type": "date", "class": "input"}),
        validators=[MinValueValidator(_FIRST_DAY), MaxValueValidator(_LAST_DAY)],
    )


class SpanForm(forms.Form):
    """The days that a statement is about."""

    first = _day("From", required=True)
    last = _day("To", required=True)

    def clean(self) -> dict[str, Any]:
        """Refuses a span that ends before it begins."""
        cleaned = super().clean() or self.cleaned_data
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last and last < first:
            self.add_error("last", "This is before the first day.")
        return cleaned

    def moments(self) -> dict[str, Any]:
        """The span as the queries take it: when its first day begins, and when its last has ended."""
        first, last = self.cleaned_data["first"], self.cleaned_data["last"]
        return {
            "created_from": begins(first) if first else None,
            "created_to": begins(last + timedelta(days=1)) if last else None,
        }


class OpenSpanForm(SpanForm):
    """The days that a list is narrowed down to, as far as any are given."""

    first = _day("From", required=False)
    last = _day("To", required=False)
