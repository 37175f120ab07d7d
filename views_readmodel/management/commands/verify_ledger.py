"""`manage.py verify_ledger`: recomputes from the events all that can be recomputed, and names what differs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, Error

from eventstore.management.operating import at_least, connect, counted, first_line
from eventstore.progress import phases
from eventstore.verification.findings import Finding, Report, difference_in_words
from eventstore.verification.running import NAMED_DIFFERENCES, verify
from views_readmodel.verification.checks import AGGREGATES, ledger_checks

DIFFERS: Final = 1
CANNOT_TELL: Final = 2
INTERRUPTED: Final = 130


class Command(BaseCommand):
    """Check the ledger."""

    help = (
        "Checks the log, every stream, balance, transfer, read model and snapshot against the events, up to where the"
        " log ends now; the bank may go on working. Changes nothing. Exits with 1 when anything differs, with 2 when it"
        " could not be checked, or not all of it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the form of the answer, and how much of it."""
        parser.add_argument("--json", action="store_true", help="answer in JSON, on one line")
        parser.add_argument(
            "--limit",
            type=at_least(0),
            default=NAMED_DIFFERENCES,
            help=f"how many differences of each check are named; the rest is counted ({NAMED_DIFFERENCES})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, answer, and leave with what came of it."""
        try:
            connect(DEFAULT_DB_ALIAS, away=CANNOT_TELL)
            report = _checked(options["limit"])
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
        if options["json"]:
            self.stdout.write(as_json(report))
        else:
            for line in in_words(report):
                self.stdout.write(line)
        if not report.clean:
            sys.exit(DIFFERS)
        if not report.complete:
            sys.exit(CANNOT_TELL)


def _checked(limit: int) -> Report:
    """The report. Raises CommandError with the reason when there is none."""
    try:
        with phases(title="Checking", stream=sys.stderr) as told:
            return verify(ledger_checks(), aggregates=AGGREGATES, progress=told, limit=max(limit, 0))
    except (Error, ImproperlyConfigured) as error:
        raise CommandError(f"The ledger could not be checked: {first_line(error)}", returncode=CANNOT_TELL) from error


def as_json(report: Report) -> str:
    """The report for programs."""
    verdict = {"clean": report.clean and report.complete, "complete": report.complete}
    return msgspec.json.encode({**verdict, **msgspec.to_builtins(report)}).decode()


def in_words(report: Report) -> Iterator[str]:
    """The report for people."""
    for finding in report.findings:
        yield from _finding_in_words(finding)
    differences = sum(finding.differences for finding in report.findings)
    yield f"Checked up to position {report.position:,} in {report.seconds:.1f} s."
    if not report.complete:
        yield "Not everything could be compared."
    yield "Nothing differs." if report.clean else f"{counted(differences, 'difference')}."


def _finding_in_words(finding: Finding) -> Iterator[str]:
    fine = "not compared" if finding.not_compared else "ok"
    verdict = fine if not finding.differences else f"DIFFERS {counted(finding.differences, 'time')}"
    yield f"{finding.name}: {verdict} ({finding.examined:,} {finding.unit})"
    yield f"    {finding.proves}"
    for what in finding.not_compared:
        yield f"    NOT COMPARED: {what}"
    for kind, count in finding.counts.items():
        yield f"    {kind}: {count:,}"
    for remark in finding.remarks:
        yield f"    note: {remark}"
    for difference in finding.named:
        yield f"  - {difference_in_words(difference)}"
    unnamed = finding.differences - len(finding.named)
    if unnamed:
        yield f"  - and {unnamed:,} more"
