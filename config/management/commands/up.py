"""`manage.py up`: all of Daybook in one foreground command; it parses, starts and stops, `config.up` knows how."""

import argparse
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.up.running import CannotStart, run
from config.up.supervisor import Stopped


class Command(BaseCommand):
    """Run the servers, the web, the workers and the clock until Ctrl-C or SIGTERM."""

    help = (
        "Runs Daybook in the foreground: embedded Postgres and Redis (unless DATABASE_URL and REDIS_URL are set),"
        " migrations, web, workers and beat. Ctrl-C or SIGTERM stops everything it started; the data stays."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare `--demo` and `--no-demo`."""
        parser.add_argument(
            "--demo",
            action=argparse.BooleanOptionalAction,
            default=settings.DAYBOOK_EMBEDDED_POSTGRES,
            help="load demo data into an empty database (by default only into the embedded one)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until stopped. Raises CommandError with one line when Daybook cannot start."""
        try:
            with suppress(Stopped):
                run(demo=options["demo"])
        except CannotStart as error:
            raise CommandError(str(error)) from error
