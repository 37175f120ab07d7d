"""What the event store's commands have in common: which store, who operates, tables or JSON, one clear line on failure.

Invariant: a command that changes something says who asked for it. Imported by management commands.
"""

from __future__ import annotations

import getpass
import logging
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any, ClassVar, Final, NamedTuple, cast

import msgspec
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, DataError, InterfaceError, OperationalError, connections
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from eventstore import operations
from eventstore.metadata import actor_of
from eventstore.store import EventStore
from eventstore.subscriptions import parking

WIDEST: Final = 100_000
"""Columns that a table in a file or a pipe may take: as wide as what it holds, so that an id stays in one piece."""

NARROWEST: Final = 24
"""Columns that what folds may be pressed into; where a terminal has less room than that, each record is a block."""

MOST_DIGITS: Final = 9
"""Of a whole number in an argument: the database can take each of them."""

_REFUSALS: Final = (
    operations.DiscardFailed,
    operations.NoSuchSubscription,
    operations.NothingToDo,
    operations.RangesApart,
    operations.SubscriptionBusy,
    parking.NotDiscardable,
    parking.NotParked,
    ImproperlyConfigured,
)


class StoreCommand(BaseCommand):
    """A command on one event store: that of the project's database, unless a program calls it with its own `store`."""

    stealth_options = ("store",)
    changes: ClassVar[bool] = False  # whether it does something that is recorded with who did it
    away: ClassVar[int] = 1  # the exit code when there is no database, or it goes away, or holds what cannot be read

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What every such command takes."""
        parser.add_argument(
            "--database",
            default="default",
            choices=tuple(connections),
            help="the alias of the database that holds the events",
        )
        if self.changes:
            add_operator(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs; a refusal or a database that is away becomes one line."""
        store = options.get("store") or EventStore(using=options["database"])
        connect(store.using, away=self.away)
        try:
            self.run(store, options)
        except operations.ReasonMissing as refusal:
            raise CommandError(f"{sentence(refusal)[:-1]}: --reason TEXT.") from refusal
        except _REFUSALS as refusal:
            raise CommandError(sentence(refusal), returncode=self.away) from refusal
        except DataError as error:
            text = f"The database holds what cannot be read: {first_line(error)}"
            raise CommandError(text, returncode=self.away) from error
        except (DatabaseError, InterfaceError) as error:
            text = f"The database does not answer: {first_line(error)}"
            raise CommandError(text, returncode=self.away) from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        except BrokenPipeError:  # `… | head` has seen enough; nothing more must be written when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """What the command does."""
        raise NotImplementedError

    def print_table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        right: Collection[str] = (),
        folds: Collection[str] = (),
    ) -> None:
        """A table as wide as the terminal, of which only the columns that fold are broken; in a pipe nothing is.

        A terminal that has no room for it gets a block for each row: an id is copied in one piece everywhere.
        """
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            justify: Any = "right" if column in right else "left"
            table.add_column(column, justify=justify, overflow="fold", no_wrap=column not in folds)
        for row in rows:
            table.add_row(*row)
        console = Console(file=cast("IO[str]", self.stdout), markup=False, highlight=False)
        if not self.stdout.isatty():
            console.width = WIDEST
            console.width = max(1, console.measure(table).maximum)
        elif _narrowest(columns, rows, folds) > console.width:
            self.stdout.write("\n".join(_blocks(columns, rows)))
            return
        console.print(table)

    def print_json(self, found: object) -> None:
        """One JSON document in a line."""
        self.stdout.write(msgspec.json.encode(found).decode())


class Operator(NamedTuple):
    """Who operates."""

    actor: str  # as the record names them
    os_user: str  # the user of the operating system beside it; "" where that is the actor


def add_operator(parser: ArgumentParser) -> None:
    """Has a command take who operates; `operator_of` then tells."""
    parser.add_argument(
        "--as",
        dest="actor",
        metavar="NAME",
        help="which member of the staff does this, for the record; the user of the system is recorded, too",
    )


def operator_of(options: Mapping[str, Any]) -> Operator:
    """The member that was named, or the user of the operating system. Raises CommandError for who is no member."""
    name, os_user = options.get("actor"), getpass.getuser()
    if name is None:
        return Operator(f"os:{os_user}", "")
    try:
        member = get_user_model()._default_manager.get_by_natural_key(name)  # noqa: SLF001 - Django's public API
    except (ObjectDoesNotExist, ValueError):
        member = None
    if member is None or not member.is_active:
        raise CommandError(f"--as {name!r}: there is no active member of the staff of that name.")
    return Operator(actor_of(member), os_user)


def connect(using: str, *, away: int = 1) -> None:
    """Connects. Raises OperationalError with the exit code `away`: who runs the program knows why there is none."""
    try:
        connections[using].ensure_connection()
    except OperationalError as error:
        error.returncode = away  # type: ignore[attr-defined]
        raise


@contextmanager
def only_its_own_lines() -> Iterator[None]:
    """Keeps the log of what is done out of a terminal on which the command itself says what came of it."""
    log = logging.getLogger("eventstore")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def refuse_others(options: Mapping[str, Any], taken_by: Mapping[str, Collection[str]], *, returncode: int = 1) -> None:
    """Raises CommandError for an option that the action would not heed. `taken_by`: who heeds which, by its name."""
    action = options["action"]
    for flag, actions in taken_by.items():
        given = options.get("actor" if flag == "--as" else flag.removeprefix("--"))
        if given not in (None, False, "") and action not in actions:
            text = f"{flag} says nothing to `{action}`: it is for {' and '.join(actions)}."
            raise CommandError(text, returncode=returncode)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS) or int(text) < least:
            raise ArgumentTypeError(f"must be a whole number, {least} or more")
        return int(text)

    return parse


def sentence(error: BaseException) -> str:
    """An error as a sentence: it ends with a full stop, and begins with a capital unless that would change a name."""
    text = first_line(error) or type(error).__name__
    if text.partition(" ")[0].isalpha():
        text = f"{text[:1].upper()}{text[1:]}"
    return text.rstrip(".") + "."


def counted(count: int, thing: str) -> str:
    """How many of a thing, in words: `1 event`, `2,000 events`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


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


def _narrowest(columns: Sequence[str], rows: Sequence[Sequence[str]], folds: Collection[str]) -> int:
    """How many columns of a terminal a table needs: all of what is never broken, and a little of what is."""
    widths = [max(cell_len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]
    needed = [
        min(width, NARROWEST) if column in folds else width for column, width in zip(columns, widths, strict=True)
    ]
    return sum(needed) + 2 * (len(columns) - 1)  # rich leaves two between columns


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each row as lines; the terminal breaks them where it likes, and what is copied from it is in one piece."""
    widest = max(map(cell_len, columns))
    for row in rows:
        yield from (f"{column:{widest}}  {cell}" for column, cell in zip(columns, row, strict=True) if cell)
        yield ""
