"""`manage.py seals`: how far the log is sealed; exports the head, and checks a later log against it."""

from __future__ import annotations

import os
import secrets
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError

from eventstore import inspection
from eventstore.inspection import SealRange
from eventstore.management.operating import StoreCommand, age, at_least, counted, duration, refuse_others, sentence
from eventstore.progress import phases
from eventstore.seals import heads, sealer
from eventstore.seals.heads import Comparison, Head, Verdict
from eventstore.store import EventStore
from eventstore.verification.findings import Finding, difference_in_words
from eventstore.verification.running import NAMED_DIFFERENCES, verify
from eventstore.verification.seals import SealsCheck

COLUMNS: Final = ("positions", "events", "sealed", "hash")

LISTED: Final = 20

CANNOT_TELL: Final = 2
EXIT_CODES: Final = {Verdict.EXTENDS: 0, Verdict.ALTERED: 1, Verdict.TRUNCATED: 3, Verdict.FOREIGN: 4}


class Command(StoreCommand):
    """Lists seals, exports their head, checks the log against it."""

    help = (
        "Tells how far the log is sealed. `export` writes the head of the seals, to be kept elsewhere; `check FILE` "
        "hashes the whole log anew and compares it with a head that was exported: it ends with 0 when the log goes on "
        "from it, 1 when it was altered, 2 when it could not be checked, 3 when it was truncated, 4 when it is another "
        "log."
    )

    away = CANNOT_TELL

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do."""
        super().add_arguments(parser)
        parser.add_argument("action", nargs="?", choices=["list", "export", "check"], default="list")
        parser.add_argument("file", nargs="?", metavar="FILE", type=Path, help="for check: the head; for export: where")
        parser.add_argument("--limit", type=at_least(1), help="for list: how many, the newest first (20)")
        parser.add_argument("--json", action="store_true", help="for list and check: JSON, one document a line")
        parser.add_argument("--force", action="store_true", help="for export: in the place of a file that is there")

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """Lists, exports or checks."""
        taken_by = {"--limit": ("list",), "--json": ("list", "check"), "--force": ("export",)}
        refuse_others(options, taken_by, returncode=CANNOT_TELL)
        try:
            getattr(self, f"_{options['action']}")(store, options)
        except (heads.NoLog, heads.NotAHead, heads.SealAltered, sealer.NotSealable) as error:
            raise CommandError(sentence(error), returncode=CANNOT_TELL) from error
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}.", returncode=CANNOT_TELL) from error

    def _list(self, store: EventStore, options: dict[str, Any]) -> None:
        found = inspection.last_seals(limit=options["limit"] or LISTED, using=store.using)
        if options["json"]:
            for seal in found:
                self.print_json(seal._asdict())
            return
        self.print_table(COLUMNS, [_row(seal) for seal in found], right=("events",))
        waiting = sealer.backlog(using=store.using)
        self.stdout.write(f"The log is sealed up to position {waiting.sealed_to:,}; {_waiting(waiting)}.")
        beyond = sum(seal.last_position > waiting.sealed_to for seal in found)
        if beyond:
            lies = "1 of these seals lies" if beyond == 1 else f"{beyond:,} of these seals lie"
            self.stdout.write(f"{lies} beyond the end of the log: `seals check` and `verify_ledger` name each.")

    def _export(self, store: EventStore, options: dict[str, Any]) -> None:
        head = heads.export(using=store.using)
        path: Path | None = options["file"]
        if path is None:
            self.stdout.write(heads.as_json(head))
            return
        _write(path, heads.as_json(head) + "\n", over=options["force"])
        self.stdout.write(f"The head at position {head.position:,} is in {path}. Keep it where nobody can rewrite it.")

    def _check(self, store: EventStore, options: dict[str, Any]) -> None:
        if options["file"] is None:
            raise CommandError("Say against which head: `seals check FILE`.", returncode=CANNOT_TELL)
        head = heads.read_head(options["file"])
        compared, found = _compare(head, store)
        if options["json"]:
            told = {"verdict": compared.verdict.value, "text": compared.text, "head": head}
            self.print_json({**told, "differences": found.named if found else (), "total": _count(found)})
        else:
            self._tell(compared, found)
        if EXIT_CODES[compared.verdict]:
            sys.exit(EXIT_CODES[compared.verdict])

    def _tell(self, compared: Comparison, found: Finding | None) -> None:
        self.stdout.write(compared.text)
        named = found.named if found else ()
        for difference in named:
            self.stdout.write(f"  - {difference_in_words(difference)}")
        if unnamed := _count(found) - len(named):
            self.stdout.write(f"  - and {unnamed:,} more")
        if compared.verdict is Verdict.EXTENDS:
            self.stdout.write("Every sealed event is what it was when it was sealed.")


def _compare(head: Head, store: EventStore) -> tuple[Comparison, Finding | None]:
    """What came of comparing the log with the head, and with its own seals.

    Raises `NotAHead`, and CommandError when it cannot tell.
    """
    try:
        compared = heads.compare(head, using=store.using)
    except heads.AtAnotherTime:
        found = _check_seals(store)
        if not found.differences:  # the log is what its seals say: it is the head that was altered
            raise
        return _altered(found), found
    if compared.verdict is Verdict.FOREIGN:
        return compared, None
    found = _check_seals(store)
    if compared.verdict is Verdict.EXTENDS and found.differences:
        return _altered(found), found
    if compared.verdict is Verdict.EXTENDS and found.not_compared:
        raise CommandError(f"Not compared: {found.not_compared[0]}.", returncode=CANNOT_TELL)
    return compared, found


def _altered(found: Finding) -> Comparison:
    text = f"The log is not what its seals say: {counted(found.differences, 'difference')}."
    return Comparison(verdict=Verdict.ALTERED, text=text)


def _count(found: Finding | None) -> int:
    return found.differences if found else 0


def _check_seals(store: EventStore) -> Finding:
    """What the seals and the log differ in; that somebody has yet to seal the end is no difference here."""
    with phases(title="Checking", stream=sys.stderr) as told:
        check = SealsCheck(late_seconds=float("inf"))
        report = verify([check], aggregates=(), using=store.using, progress=told, limit=NAMED_DIFFERENCES)
    (found,) = report.findings
    return found


def _write(path: Path, text: str, *, over: bool) -> None:
    """Writes all of a file or nothing. Raises CommandError where one is there already that it may not write `over`."""
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is no file.", returncode=CANNOT_TELL)
    if path.exists() and not over:
        raise CommandError(f"{path} is there already: name another file, or add --force.", returncode=CANNOT_TELL)
    target = path.resolve()  # where a link leads
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with unfinished.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _row(seal: SealRange) -> tuple[str, ...]:
    positions = f"{seal.first_position:,}-{seal.last_position:,}"
    events = f"{seal.last_position - seal.first_position + 1:,}"
    sealed = "at no moment" if seal.sealed_at is None else f"{age(seal.sealed_at)} ago"
    return positions, events, sealed, seal.hash


def _waiting(waiting: sealer.Backlog) -> str:
    if not waiting.entries:
        return "nothing waits to be sealed"
    wait = "1 entry waits" if waiting.entries == 1 else f"{waiting.entries:,} entries wait"
    return f"{wait}, the first for {duration(waiting.waiting_seconds or 0)}"
