"""A password of one's own: whoever signs in with one changes it here, operators and auditors too.

Invariants: the password up to now is asked for by the log-in's own check, so that who guesses it at an open desk is
locked out like anybody else; and who was given a password by an operator does nothing with it but choose
another, so that nobody else knows what they sign in with. `config.urls` routes here; settings name the middleware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from django import forms
from django.contrib import messages
from django.contrib.auth import SESSION_KEY, authenticate, update_session_auth_hash
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters

from config.health import PROBES
from config.paths import is_by_api
from config.staff.members import LONGEST_PASSWORD
from config.staff.models import StaffMember
from eventstore import operations
from eventstore.rest.problems import problem_response
from views_readmodel.pages.viewing import SIGNED_IN, go_to, page

GIVEN: Final = "Your password was given to you. Log in to the pages and choose one of your own; then it is good here."
_OPEN: Final = ("password", "log-in", "log-out", "theme")
"""The addresses, by name, that also somebody with a given password may go to."""


def password_field(label: str, *, autocomplete: str = "new-password", help_text: str = "") -> Any:
    """A field for a password, in the words and with the limits of every such field."""
    widget = forms.PasswordInput(attrs={"class": "input", "autocomplete": autocomplete})
    missing = {"required": f"{label} is missing."}
    return forms.CharField(
        label=label,
        max_length=LONGEST_PASSWORD,
        strip=False,
        widget=widget,
        help_text=help_text,
        error_messages=missing,
    )


class ChangePasswordForm(forms.Form):
    """The password up to now, and another one twice."""

    old = password_field("Password up to now", autocomplete="current-password")
    new = password_field(
        "New password",
        help_text="At least 12 characters: a few words that mean something to nobody else. Not your name, and none that"
        " many people use.",
    )
    again = password_field("New password again")

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.POST if request.method == "POST" else None, label_suffix="")
        self._request = request
        self._member = cast("StaffMember", request.user)  # nobody comes here without signing in

    def clean_old(self) -> str:
        """Refuses a wrong one, and counts it as a failed log-in."""
        old: str = self.cleaned_data["old"]
        if authenticate(self._request, username=self._member.get_username(), password=old) != self._member:
            raise forms.ValidationError("This is not your password.", code="wrong")
        return old

    def clean_new(self) -> str:
        """Refuses one that is easily guessed."""
        new: str = self.cleaned_data["new"]
        validate_password(new, self._member)
        return new

    def clean(self) -> dict[str, Any]:
        """Refuses two that differ, and one that is no other than before."""
        given = self.cleaned_data
        if "new" in given and "again" in given and given["new"] != given["again"]:
            self.add_error("again", forms.ValidationError("This is not the same as above.", code="differs"))
        if "new" in given and given["new"] == given.get("old"):
            self.add_error("new", forms.ValidationError("This is your password up to now.", code="same"))
        return given


@sensitive_post_parameters()
@page(SIGNED_IN, methods=["GET", "HEAD", "POST"])
def change_password(request: HttpRequest) -> HttpResponse:
    """Gives oneself another password, which ends what one is signed in to elsewhere."""
    form = ChangePasswordForm(request)
    if not form.is_valid():
        return render(request, "staff/password.html", {"form": form})
    member = cast("StaffMember", request.user)
    with transaction.atomic():
        member.set_password(form.cleaned_data["new"])
        member.password_is_given = False
        member.save()
        operations.record(actor=member.actor, action="change own password", detail={})
    update_session_auth_hash(request, member)
    messages.success(request, "Your password is changed. Wherever else you were signed in, you are no longer.")
    return HttpResponseRedirect(reverse("today"), status=303)


def given_password_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Leads who was given a password to the page where they choose their own. Stands after htmx's."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if request.path in PROBES or SESSION_KEY not in request.session:
            return get_response(request)
        if not getattr(request.user, "password_is_given", False):
            return get_response(request)
        if is_by_api(request.path):
            return problem_response(request, code="forbidden", detail=GIVEN)
        if request.path in {reverse(name) for name in _OPEN}:
            return get_response(request)
        return go_to(request, reverse("password"))

    return answer
