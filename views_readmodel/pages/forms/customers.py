"""Registering customers and changing how they are reached."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.published.text import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH, MAX_PHONE_LENGTH, MAX_REFERENCE_LENGTH
from eventstore.rest.requests import MAX_VERSION
from views_readmodel.pages.commanding import CommandForm
from views_readmodel.pages.forms.fields import line


class RegisterCustomerForm(CommandForm):
    """A new customer. What an address or a number must look like, the service says."""

    name = line(label="Name", max_length=MAX_NAME_LENGTH, required=True, autocomplete="off")
    email = line(label="E-mail", max_length=MAX_EMAIL_LENGTH, inputmode="email", autocomplete="off")
    phone = line(label="Telephone", max_length=MAX_PHONE_LENGTH, inputmode="tel", autocomplete="off")
    reference = line(
        label="Reference",
        max_length=MAX_REFERENCE_LENGTH,
        help_text="The number they have in another system. Never a name: it is not sealed as names are.",
        autocomplete="off",
    )


class VersionField(forms.CharField):
    """The version of what the form was shown with, so that what somebody else has changed since is not undone."""

    def clean(self, value: Any) -> Any:
        """The version as a number."""
        text = super().clean(value)
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_VERSION)) and int(text) <= MAX_VERSION):
            raise forms.ValidationError("This is no version.", code="invalid")
        return int(text)


class ChangeCustomerForm(CommandForm):
    """What can be changed of a customer."""

    version = VersionField(widget=forms.HiddenInput)
    name = line(label="Name", max_length=MAX_NAME_LENGTH, required=True, autocomplete="off")
    email = line(label="E-mail", max_length=MAX_EMAIL_LENGTH, inputmode="email", autocomplete="off")
    phone = line(label="Telephone", max_length=MAX_PHONE_LENGTH, inputmode="tel", autocomplete="off")
