"""`manage.py prepare_database`: migrations, rights and read-model tables, in one process; harmless when repeated."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from eventstore.tables import ensure_tables


class Command(BaseCommand):
    """Bring the database to what this version of the code needs."""

    help = "Migrates as the owner role, grants the app role its rights and makes the read models' tables."
    requires_system_checks: list[str] = []  # the migrate command runs those that matter

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate, then make the read models' tables as the app role."""
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
        connection.close()  # it is opened again as the owner
        call_command("migrate", interactive=False, verbosity=options["verbosity"] if pending else 0)
        ensure_tables()
