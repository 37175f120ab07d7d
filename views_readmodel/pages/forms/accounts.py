"""Opening accounts, moving cash, and what a supervisor does to an account."""

from __future__ import annotations

from typing import Final

from django import forms
from django.http import QueryDict

from accounts.published.money import DECIMALS
from accounts.published.text import (
    MAX_DESCRIPTION_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_TITLE_LENGTH,
)
from views_readmodel.pages.commanding import CommandForm
from views_readmodel.pages.forms.fields import AmountField, line, write_in

# The ones at hand first; every other one that an account can be in follows.
_USUAL: Final = ("EUR", "USD", "GBP", "CHF", "JPY")
_CURRENCIES: Final = [
    ("Usual", [(code, code) for code in _USUAL]),
    ("All others", [(code, code) for code in sorted(DECIMALS) if code not in _USUAL]),
]


class OpenAccountForm(CommandForm):
    """A new account for a customer."""

    title = line(
        label="Title", max_length=MAX_TITLE_LENGTH, required=True, help_text="What it is for: Household, Savings …"
    )
    currency = forms.ChoiceField(
        label="Currency", choices=_CURRENCIES, initial="EUR", help_text="It never changes afterwards."
    )
    initial_balance = AmountField(label="Cash paid in now", required=False)
    reference = line(
        label="Reference", max_length=MAX_REFERENCE_LENGTH, help_text="The number it has in another system."
    )

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data)
        currency = self.data.get("currency", "")
        write_in(self, "initial_balance", currency if currency in DECIMALS else "")


class CashForm(CommandForm):
    """Cash over the counter, in the account's currency."""

    refused_fields = {"insufficient_funds": "amount", "limit_exceeded": "amount"}

    amount = AmountField(label="Amount")
    description = line(
        label="Description", max_length=MAX_DESCRIPTION_LENGTH, help_text="Stands on the statement.", autocomplete="off"
    )

    def __init__(self, data: QueryDict | None = None, *, currency: str) -> None:
        super().__init__(data)
        write_in(self, "amount", currency)


class PayOutForm(CommandForm):
    """What refunds brought back to a closed account is paid out whole, so there is no amount to type."""

    description = line(label="Description", max_length=MAX_DESCRIPTION_LENGTH, help_text="Stands on the statement.")


class ReasonForm(CommandForm):
    """Why somebody does it; kept for good."""

    reason = line(
        label="Reason",
        max_length=MAX_REASON_LENGTH,
        required=True,
        help_text="Kept in the history for good.",
        autocomplete="off",
    )
