"""`manage.py create_api_key NAME --role ROLE`: a program that signs in with a key."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.staff.members import MemberRefused, create_api_key
from config.staff.roles import Role


class Command(BaseCommand):
    """Make a program and its key."""

    help = "Makes a program, or gives a known one a further key. The key is shown once, on standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a name and a role."""
        parser.add_argument("name", help="the program's name")
        parser.add_argument(
            "--role", required=True, choices=[role.value for role in Role], help="what the program may do"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it; the key alone goes to standard output, so that it can be piped into a secret store."""
        try:
            made = create_api_key(name=options["name"], role=Role(options["role"]))
        except MemberRefused as error:
            raise CommandError(str(error)) from error
        self.stderr.write(
            f"{options['name']} may sign in as {options['role']} until {made.expires_at:%Y-%m-%d}."
            " Keep this key; it is not shown again:"
        )
        self.stdout.write(made.key)
