"""`manage.py create_staff NAME --role ROLE`: a person of the bank who signs in with a password."""

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.staff.members import LONGEST_PASSWORD, MemberRefused, create_person
from config.staff.roles import Role

PEOPLE = [role.value for role in Role if role is not Role.SERVICE]


class Command(BaseCommand):
    """Make a person."""

    help = "Makes a person of the bank. Asks for the password, twice; it is never shown."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take a name and a role."""
        parser.add_argument("name", help="the name to sign in with")
        parser.add_argument("--role", required=True, choices=PEOPLE, help="what the person may do")
        parser.add_argument(
            "--password-stdin", action="store_true", help="read the password from one line of standard input"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, make, and say so."""
        password = _read_password(from_stdin=options["password_stdin"])
        try:
            member = create_person(name=options["name"], role=Role(options["role"]), password=password)
        except MemberRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{member.username} may sign in as {options['role']}.")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return _first_line()
    if not sys.stdin.isatty():
        raise CommandError("There is no terminal to ask on: give the password with --password-stdin.")
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise CommandError("The two passwords differ; nobody was made.")
    return password


def _first_line() -> str:
    """Of standard input, and no more of it than tells that it is too long."""
    try:
        return sys.stdin.readline(LONGEST_PASSWORD + 2).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise CommandError("The password is not text in UTF-8.") from error
