"""A new transfer, written down and then looked at once more before it is sent."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.numbers import is_number
from accounts.published.text import MAX_DESCRIPTION_LENGTH
from views_readmodel import queries
from views_readmodel.pages.commanding import CommandForm
from views_readmodel.pages.forms.fields import AmountField, line, write_in


class AccountNumberField(forms.CharField):
    """An account by its number; cleaned, it is the account."""

    def clean(self, value: Any) -> Any:
        """The account. What was typed stays in the field, so that it can be mended."""
        text = "".join(super().clean(value).split())
        if not is_number(text):
            raise forms.ValidationError(
                "This is no account number: a digit is wrong or missing. Type a name to search for the account.",
                code="invalid",
            )
        found = queries.account_of_number(number=text)
        if found is None:
            raise forms.ValidationError("No account has this number.", code="account_not_found")
        return found


class NewTransferForm(CommandForm):
    """Who pays whom how much, and why."""

    refused_fields = {"same_account": "to_account", "currency_mismatch": "to_account", "limit_exceeded": "amount"}

    from_account = AccountNumberField(label="From", max_length=100)
    to_account = AccountNumberField(label="To", max_length=100)
    amount = AmountField(label="Amount")
    description = line(
        label="Description",
        max_length=MAX_DESCRIPTION_LENGTH,
        help_text="Stands on both statements.",
        autocomplete="off",
    )

    field_order = ["from_account", "to_account", "amount", "description"]

    def clean_from_account(self) -> queries.AccountView:
        """The paying account; its currency says how the amount is written."""
        payer: queries.AccountView = self.cleaned_data["from_account"]
        write_in(self, "amount", payer.currency)
        return payer

    def clean_to_account(self) -> queries.AccountView:
        """The receiving account; its currency serves for the amount while the payer's is not known."""
        payee: queries.AccountView = self.cleaned_data["to_account"]
        if "from_account" not in self.cleaned_data:
            write_in(self, "amount", payee.currency)
        return payee

    def clean(self) -> dict[str, Any]:
        """What can be seen to be wrong before it is sent; the accounts themselves judge the rest when it runs."""
        cleaned = super().clean()
        payer, payee = cleaned.get("from_account"), cleaned.get("to_account")
        if payer is None or payee is None:
            return cleaned
        if payer.account_id == payee.account_id:
            self.add_error("to_account", "This is the paying account itself. Choose another.")
        elif payer.currency != payee.currency:
            self.add_error(
                "to_account",
                f"This account is in {payee.currency}, the paying one in {payer.currency}. Choose another.",
            )
        return cleaned
