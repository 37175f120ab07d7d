"""`manage.py prepare_database`: migrations, rights and read-model tables, in one process; harmless when repeated."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Bring the database to what this version of the code needs."""

    help = "Migrates as the owner role, grants the app role its rights and makes the read models' tables."
    requires_system_checks: list[str] = []  # the migrate command runs those that matter

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, then make the read models' tables as the app role."""
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
