"""Who signs in: people of the bank and programs with an API key.

Invariant: a member is never deleted once an event names it as its actor; it is deactivated.
Imported by Django as `AUTH_USER_MODEL`, and by `config`; the contexts know only Django's user interface.
"""

from django.contrib.auth.models import AbstractUser
from django.db import models


class StaffMember(AbstractUser):
    """One person of the bank, or one program that acts for it."""

    is_service = models.BooleanField(
        "program",
        default=False,
        help_text="A program, which signs in with an API key and has no password.",
    )

    @property
    def actor(self) -> str:
        """How events name the member."""
        return f"{'service' if self.is_service else 'staff'}:{self.username}"
