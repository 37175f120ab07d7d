"""The admin's forms for people: making one, changing one, giving one another password.

Invariant: whoever gets a password from somebody else has to choose their own when they sign in. Imported by
`config.staff.admin` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm, SetPasswordMixin
from django.contrib.auth.models import Group

from config.staff.members import MemberRefused, check_roles, clean_name
from config.staff.models import StaffMember
from config.staff.passwords import password_field
from config.staff.roles import Role
from eventstore.visible import has_unprintable, has_visible

if TYPE_CHECKING:
    _CreationForm = BaseUserCreationForm[StaffMember]
    _PasswordForm = SetPasswordMixin[StaffMember]
else:
    _CreationForm = BaseUserCreationForm
    _PasswordForm = SetPasswordMixin

_DIFFER: Final[dict[str, Any]] = {"password_mismatch": "This is not the same as above."}


class RolesForm(forms.ModelForm):  # type: ignore[type-arg]  # the name takes no argument at run time
    """Roles that go together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = self.fields.get("groups")
        if isinstance(roles, forms.ModelMultipleChoiceField) and not self.instance.is_service:
            roles.queryset = Group.objects.exclude(name=Role.SERVICE.value).order_by("name")

    def clean_groups(self) -> Any:
        """Refuses those that do not."""
        groups = self.cleaned_data["groups"]
        try:
            check_roles({group.name for group in groups}, is_service=self.instance.is_service)
        except MemberRefused as error:
            raise forms.ValidationError(str(error)) from error
        return groups


class NewPersonForm(RolesForm, _CreationForm):
    """A person with a first password and a role."""

    password1 = password_field("First password", help_text="At least 12 characters. They replace it when they sign in.")
    password2 = password_field("The same again")
    error_messages = _DIFFER

    class Meta:
        model = StaffMember
        fields = ("username", "groups")
        labels: ClassVar = {"username": "Name", "groups": "Roles"}
        help_texts: ClassVar = {
            "username": "What they sign in with, and what events name them by. It never changes. Letters, digits and"
            " @ . + - _ only, 150 at most.",
            "groups": "",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["groups"].required = True

    def clean_username(self) -> str:
        """Refuses a name that nobody can see, that looks like another or that somebody has."""
        try:
            return clean_name(self.cleaned_data["username"])
        except MemberRefused as error:
            raise forms.ValidationError(str(error), code="refused") from error

    def save(self, commit: bool = True) -> StaffMember:  # noqa: FBT001, FBT002 - Django's own signature
        """Keeps the password as one that was given."""
        self.instance.password_is_given = True
        return super().save(commit=commit)


class GivenPasswordForm(_PasswordForm, forms.Form):
    """Another password for somebody else."""

    password1 = password_field("New password", help_text="At least 12 characters. They replace it when they sign in.")
    password2 = password_field("The same again")
    error_messages = _DIFFER

    def __init__(self, member: StaffMember, data: Any = None) -> None:
        super().__init__(data, label_suffix="")
        self._member = member

    def clean(self) -> dict[str, Any]:
        """Refuses two that differ, and one that is easily guessed."""
        self.validate_passwords()
        self.validate_password_for_user(self._member)
        return self.cleaned_data

    def save(self) -> None:
        """Keeps it as one that was given."""
        self._member.password_is_given = True
        self.set_password_and_save(self._member)


class MemberForm(RolesForm):
    """What may be changed about a member; no password, not even its hash."""

    class Meta:
        model = StaffMember
        fields = ("is_active", "first_name", "last_name", "email", "groups")
        help_texts: ClassVar = {
            "username": "It never changes, for events hold it.",
            "is_active": "Without it nobody signs in. Taking it away signs out everywhere and takes every API key.",
        }

    def clean_first_name(self) -> str:
        """Refuses what cannot be printed or seen."""
        return _printable(self.cleaned_data["first_name"])

    def clean_last_name(self) -> str:
        """Refuses what cannot be printed or seen."""
        return _printable(self.cleaned_data["last_name"])


def _printable(text: str) -> str:
    if has_unprintable(text) or (text and not has_visible(text)):
        raise forms.ValidationError("This has a character that cannot be printed.")
    return text
