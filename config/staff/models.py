"""Who signs in: people of the bank and programs with an API key.

Invariant: a member is never deleted once an event names it as its actor; it is deactivated.
Imported by Django as `AUTH_USER_MODEL`, and by `config`; the contexts know only Django's user interface.
"""

from django.contrib.auth.models import AbstractUser


class StaffMember(AbstractUser):
    """One person of the bank, or one program that acts for it."""
