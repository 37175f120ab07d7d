"""What an operator does through the admin: a page that says what will happen, a reason, and then it is done.

Invariant: nothing happens on a GET, nor without a reason; who it was is the signed-in user's own name for events.
"""

from __future__ import annotations

from typing import Final

from django import forms
from django.http import HttpRequest

from eventstore.operations import MAX_REASON_LENGTH, ReasonMissing, clean_reason

CONFIRMED: Final = "confirmed"


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        label="Why",
        max_length=MAX_REASON_LENGTH,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
        help_text="It is recorded with your name, for good. No names of customers.",
        error_messages={"required": "Say why, in a few words."},
    )

    def clean_reason(self) -> str:
        """The reason as it is recorded."""
        try:
            return clean_reason(self.cleaned_data["reason"])
        except ReasonMissing as error:
            said = str(error)
            raise forms.ValidationError(f"{said[:1].upper()}{said[1:]}.") from error


def reason_form(request: HttpRequest) -> ReasonForm:
    """The form, bound once the operator has confirmed."""
    return ReasonForm(request.POST) if request.method == "POST" and CONFIRMED in request.POST else ReasonForm()
