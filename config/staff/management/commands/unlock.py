"""`manage.py unlock NAME`, `--address ADDRESS` or `--all`: lets in who was locked out after failed log-ins.

Invariant: it is recorded, with who did it, as whatever operators do.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.addresses import spelled
from config.staff.lockout import let_in
from config.staff.models import StaffMember
from eventstore.management.operating import add_operator, operator_of


class Command(BaseCommand):
    """End a lock before its time."""

    help = "Ends the lock of an account, of an address, or every lock, before its time. A lock ends by itself, too."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take an account's name, an address, or everything."""
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("name", nargs="?", help="the account's name")
        which.add_argument("--address", help="the address that log-ins came from")
        which.add_argument("--all", action="store_true", help="every account and every address")
        add_operator(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Forget the failures, and say how many there were."""
        name, address = options["name"], options["address"]
        if "" in (name, address):  # what is empty in a script must not let in everybody
            raise CommandError("Say whom: the name or the address is empty.")
        if name and not StaffMember.objects.filter(username=name).exists():
            raise CommandError(f"There is nobody named {name}.")
        if address and not spelled(address):
            raise CommandError(f"{address} is not an address: neither IPv4 nor IPv6.")
        forgotten = let_in(**operator_of(options)._asdict(), username=name, address=address)
        failures = "1 failed log-in is" if forgotten == 1 else f"{forgotten} failed log-ins are"
        self.stdout.write(f"{failures} forgotten; {name or address or 'everybody'} may try again.")
