"""Opening accounts, moving cash, and what a supervisor does to an account."""

from __future__ import annotations

from typing import cast

from django.forms import HiddenInput
from django.http import QueryDict

from accounts.published.text import (
    MAX_DESCRIPTION_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_TITLE_LENGTH,
)
from eventstore.refusals import Refusal
from views_readmodel.pages.commanding import CommandForm
from views_readmodel.pages.forms.currencies import CurrencyField, currency_of
from views_readmodel.pages.forms.fields import AmountField, line, write_in


class OpenAccountForm(CommandForm):
    """A new account for a customer."""

    title = line(
        label="Title", max_length=MAX_TITLE_LENGTH, required=True, help_text="What it is for: Household, Savings …"
    )
    currency = CurrencyField(
        label="Currency",
        max_length=40,
        initial="EUR",
        help_text="Its code or its name: EUR, Swiss franc … It never changes afterwards.",
    )
    initial_balance = AmountField(label="Cash paid in now", required=False, zero_allowed=True)
    reference = line(
        label="Reference", max_length=MAX_REFERENCE_LENGTH, help_text="The number it has in another system."
    )

    def __init__(self, data: QueryDict | None = None) -> None:
        super().__init__(data)
        write_in(self, "initial_balance", currency_of(self.data.get("currency", "").strip()))


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
    """What refunds brought back to a closed account is paid out whole, so there is no amount to type.

    The form keeps what was seen to be there: that much is counted out, whatever has come in since.
    """

    amount = AmountField(label="Amount", widget=HiddenInput)
    description = line(label="Description", max_length=MAX_DESCRIPTION_LENGTH, help_text="Stands on the statement.")

    def __init__(self, data: QueryDict | None = None, *, held: str, currency: str) -> None:
        super().__init__(data, initial={"amount": held})
        write_in(self, "amount", currency)
        self._held = held

    def refuse(self, refusal: Refusal) -> None:
        """Shows the refusal; sent again, the form is about what the account holds now, which the page says."""
        super().refuse(refusal)
        anew = cast("QueryDict", self.data).copy()
        anew["amount"] = self._held
        self.data = anew


class ReasonForm(CommandForm):
    """Why somebody does it; kept for good."""

    reason = line(
        label="Reason",
        max_length=MAX_REASON_LENGTH,
        required=True,
        help_text="Kept in the history for good.",
        autocomplete="off",
    )
