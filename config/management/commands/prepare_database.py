"""`manage.py prepare_database`: migrations, rights and read models, in one process; harmless when repeated."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from config.checks import check_proxies
from config.server_checks import ServerUnfit, check_server
from eventstore.subscriptions import checkpoints
from eventstore.subscriptions.registry import subscriptions
from eventstore.tables import ensure_tables


class Command(BaseCommand):
    """Bring the database to what this version of the code needs."""

    help = "Migrates, grants the app role its rights, makes the read models' tables and rebuilds those that changed."
    requires_system_checks: list[str] = []  # the migrate command runs those that matter

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask the server whether it is fit, migrate as the owner, then make and rebuild read models as the app role."""
        try:
            for warning in [*(str(found.msg) for found in check_proxies()), *check_server()]:
                self.stderr.write(warning)
        except ServerUnfit as error:
            raise CommandError(str(error)) from error
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
        connection.close()  # it is opened again as the owner
        call_command("migrate", interactive=False, verbosity=options["verbosity"] if pending else 0)
        ensure_tables()
        checkpoints.ensure(subscriptions, using="default")
        try:
            call_command("replay_projections", changed=True, verbosity=0)
        except CommandError as error:  # what serves goes on serving; starting up is no time to give up
            self.stderr.write(str(error))
