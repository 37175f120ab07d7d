"""`manage.py load_demo`: demo staff, customers, accounts and transfers, through the services."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.demo import SIGN_IN, Asked, bank_is_empty, load, people_can_sign_in
from eventstore.management.operating import at_least
from eventstore.progress import progress


class Command(BaseCommand):
    """Load demo data."""

    help = (
        "Loads demo data through the services, into an empty bank only. People sign in as teller, supervisor, auditor"
        " or operator, each with the password daybook-demo: never load it into a bank that others reach."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take how much of each, and the seed."""
        parser.add_argument("--customers", type=at_least(2), default=12, help="how many customers (12)")
        parser.add_argument("--transfers", type=at_least(0), default=60, help="how many transfers (60)")
        parser.add_argument("--seed", type=at_least(0), default=1, help="the same seed asks for the same data (1)")
        parser.add_argument("--if-empty", action="store_true", help="where there is a history, do nothing and succeed")

    def handle(self, *args: Any, **options: Any) -> None:
        """Load into an empty bank: log-ins that everybody knows have no place in another."""
        if bank_is_empty():
            asked = Asked(customers=options["customers"], transfers=options["transfers"], seed=options["seed"])
            with progress(title="Demo data", total=asked.steps, stream=sys.stderr) as advance:
                load(asked, advance=advance)
        elif not options["if_empty"]:
            raise CommandError("This bank has a history already; demo data goes into an empty one only.")
        if people_can_sign_in():
            self.stdout.write(SIGN_IN)
