"""`manage.py migrate`, as the owner of the database: the app role may not change tables."""

from contextlib import nullcontext
from typing import Any

from django.core.management.commands import migrate

from config.database_roles import owner_role


class Command(migrate.Command):
    """Django's own command, logged in as the owner."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; the bank's own database as its owner, any other with the login that it is configured with."""
        with owner_role() if options["database"] == "default" else nullcontext():
            super().handle(*args, **options)
