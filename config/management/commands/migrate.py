"""`manage.py migrate`, as the owner of the database, with the app role's rights brought up to date afterwards."""

from typing import Any

from django.conf import settings
from django.core.management.commands import migrate

from config.database_roles import grant_app_role, owner_role


class Command(migrate.Command):
    """Django's own command, logged in as the owner: the app role may not change tables."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; a database other than the bank's own with the login that it is configured with."""
        if options["database"] != "default":
            super().handle(*args, **options)
            return
        with owner_role():
            super().handle(*args, **options)
            if not (options["plan"] or options["check_unapplied"]):
                grant_app_role(role=settings.DATABASE_APP_ROLE)
