"""Who signs in: people of the bank and programs with an API key.

Invariant: a member is never deleted once an event names it as its actor; it is deactivated.
Imported by Django as `AUTH_USER_MODEL`, and by `config`; the contexts know only Django's user interface.
"""

from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models


class StaffMember(AbstractUser):
    """One person of the bank, or one program that acts for it."""

    is_service = models.BooleanField(
        "program",
        default=False,
        help_text="A program, which signs in with an API key and has no password.",
    )
    password_is_given = models.BooleanField(
        "password set by somebody else",
        default=False,
        db_default=False,
        help_text="The member has to choose another before anything else.",
    )

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Saves. With a new password every log-in by API ends, as the sessions do by themselves."""
        is_new_password = self._password is not None  # type: ignore[attr-defined]  # Django's own note of `set_password`
        super().save(*args, **kwargs)
        if is_new_password:
            self.auth_token_set.all().delete()  # type: ignore[attr-defined]  # knox makes it

    @property
    def actor(self) -> str:
        """How events name the member."""
        return f"{'service' if self.is_service else 'staff'}:{self.username}"
