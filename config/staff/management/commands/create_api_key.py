"""`manage.py create_api_key NAME --role ROLE`: a program that signs in with a key.

`NAME --replace` gives it another one, `NAME --revoke` takes it away.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.staff.members import MemberRefused, create_api_key, revoke_api_keys
from config.staff.roles import Role


class Command(BaseCommand):
    """Make a program and its key, replace the key, or revoke it."""

    help = "Makes a program and its one key, or replaces or revokes that. A key is shown once, on standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a name and a role."""
        parser.add_argument("name", help="the program's name")
        parser.add_argument(
            "--role",
            choices=[role.value for role in Role],
            help="what a new program may do; a known one keeps its role",
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--replace", action="store_true", help="revoke the program's older keys, make a new one")
        instead.add_argument("--revoke", action="store_true", help="revoke the program's keys and make none")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; a refusal is one line."""
        name, role = options["name"], options["role"]
        if role is not None and options["revoke"]:
            raise CommandError("--role says nothing to --revoke, which makes no key.")
        try:
            if options["revoke"]:
                self._revoke(name)
            else:
                self._make(name, None if role is None else Role(role), replace=options["replace"])
        except MemberRefused as error:
            raise CommandError(str(error)) from error

    def _revoke(self, name: str) -> None:
        revoked = revoke_api_keys(name=name)
        self.stderr.write(f"{name} had {revoked} {'key' if revoked == 1 else 'keys'}; now it has none.")

    def _make(self, name: str, role: Role | None, *, replace: bool) -> None:
        """The key alone goes to standard output, so that it can be piped into a secret store."""
        made = create_api_key(name=name, role=role, replace=replace)
        self.stderr.write(
            f"{name} may sign in as {made.role.value} until {made.expires_at:%Y-%m-%d}."
            " Keep this key; it is not shown again:"
        )
        self.stdout.write(made.key)
