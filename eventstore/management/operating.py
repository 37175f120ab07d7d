"""What the event store's commands have in common: which store, who operates, tables or JSON, one clear line on failure.

Invariant: a command that changes something says who asked for it. Imported by management commands.
"""

from __future__ import annotations

import getpass
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import IO, Any, ClassVar, Final, cast

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, connections
from rich.console import Console
from rich.table import Table

from eventstore import operations
from eventstore.store import EventStore
from eventstore.subscriptions import parking

WIDEST: Final = 100_000
"""Columns that a table in a file or a pipe may take: as wide as what it holds, so that an id stays in one piece."""

MOST_DIGITS: Final = 9
"""Of a whole number in an argument: the database can take each of them."""

_REFUSALS: Final = (
    operations.NoSuchSubscription,
    operations.NothingToDo,
    operations.RangesApart,
    operations.ReasonMissing,
    operations.SubscriptionBusy,
    parking.NotDiscardable,
    parking.NotParked,
    ImproperlyConfigured,
)


class StoreCommand(BaseCommand):
    """A command on one event store: that of the project's database, unless a program calls it with its own `store`."""

    stealth_options = ("store",)
    changes: ClassVar[bool] = False  # whether it does something that is recorded with who did it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What every such command takes."""
        parser.add_argument(
            "--database",
            default="default",
            choices=tuple(connections),
            help="the alias of the database that holds the events",
        )
        if self.changes:
            parser.add_argument(
                "--as", dest="actor", metavar="NAME", help="who does this, for the record (the user of the system)"
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs; a refusal or a database that is away becomes one line."""
        store = options.get("store") or EventStore(using=options["database"])
        connections[store.using].ensure_connection()  # whoever runs the program knows best why there is none
        try:
            self.run(store, options)
        except _REFUSALS as refusal:
            raise CommandError(sentence(refusal)) from refusal
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"The database does not answer: {first_line(error)}") from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        except BrokenPipeError:  # `… | head` has seen enough; nothing more must be written when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """What the command does."""
        raise NotImplementedError

    def print_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
        """A table as wide as the terminal; in a pipe nothing is cut."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console = Console(file=cast("IO[str]", self.stdout), markup=False, highlight=False)
        if not self.stdout.isatty():
            console.width = WIDEST
            console.width = max(1, console.measure(table).maximum)
        console.print(table)

    def print_json(self, found: object) -> None:
        """One JSON document in a line."""
        self.stdout.write(msgspec.json.encode(found).decode())


def actor_of(options: dict[str, Any]) -> str:
    """Who operates: the person that was named, or the user of the operating system."""
    named = options.get("actor")
    return f"staff:{named}" if named else f"os:{getpass.getuser()}"


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS) or int(text) < least:
            raise ArgumentTypeError(f"must be a whole number, {least} or more")
        return int(text)

    return parse


def sentence(error: BaseException) -> str:
    """An error as a sentence: it begins with a capital and ends with a full stop."""
    text = first_line(error) or type(error).__name__
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    return str(error).strip().partition("\n")[0]


def age(since: datetime) -> str:
    """How long ago that was."""
    return duration((datetime.now(UTC) - since).total_seconds())


def duration(seconds: float) -> str:
    """Seconds as a person says them: `4 s`, `12 min`, `3 h`, `5 d`."""
    span = timedelta(seconds=max(0.0, seconds))
    if span < timedelta(minutes=2):
        return f"{span.total_seconds():.0f} s"
    if span < timedelta(hours=2):
        return f"{span.total_seconds() / 60:.0f} min"
    if span < timedelta(days=2):
        return f"{span.total_seconds() / 3600:.0f} h"
    return f"{span.days} d"
