"""`manage.py replay_projections`: rebuilds read models from the log while the live ones serve."""

from __future__ import annotations

import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from eventstore import replay
from eventstore.exclusion import MigrationRunning
from eventstore.management.operating import connect, counted, first_line, only_its_own_lines
from eventstore.registry import UnknownEventType
from eventstore.shadow import ReplayInProgress
from eventstore.store import EventStore
from eventstore.subscriptions.registry import Projection

LINE_EVERY_SECONDS: Final = 5.0

_REFUSALS: Final = (
    MigrationRunning,
    ReplayInProgress,
    replay.LiveVersionChanged,
    replay.SwapHeldUp,
    replay.TooManyFailures,
    UnknownEventType,
)


class Command(BaseCommand):
    """Replays projections; resumable, and harmless when repeated."""

    help = (
        "Rebuilds read models from the log, beside the live ones, which serve until the new ones take their place. "
        "An interrupted replay says with which command it goes on where it stood; what was done before stays done."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which projections, and how."""
        parser.add_argument("names", nargs="*", metavar="NAME", help="the id of a projection, such as views.accounts")
        parser.add_argument("--all", action="store_true", help="every projection")
        parser.add_argument(
            "--changed", action="store_true", help="those whose live tables are of an earlier version than this program"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--restart", action="store_true", help="do not resume what was interrupted: begin anew")
        parser.add_argument(
            "--database",
            default="default",
            choices=tuple(connections),
            help="the alias of the database that holds the events",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Replays one projection after the other. Raises CommandError at the first that cannot be replayed."""
        store = EventStore(using=options["database"])
        connect(store.using)
        projections = _chosen(store, options)
        if not projections and options["verbosity"] > 0:
            self.stdout.write("Every read model is of this program's version: nothing to do.")
        if options["dry_run"]:
            for projection in projections:
                self.stdout.write(_described(replay.plan(projection, store=store)))
            return
        done: list[replay.Rebuilt] = []
        try:
            with _stopped_by_sigterm(), _reporting(self) as report, only_its_own_lines():
                for number, projection in enumerate(projections):
                    go_on = _go_on(projections[number:], options)
                    done.append(_rebuild(projection, store, report, restart=options["restart"], go_on=go_on))
        finally:  # not before, or it would stand in the middle of the progress bar
            for rebuilt in done:
                self.stdout.write(_told(rebuilt))
        parked = sum(rebuilt.parked_keys for rebuilt in done)
        if parked:
            they = "It is parked and retried by itself" if parked == 1 else "They are parked and retried by themselves"
            raise CommandError(
                f"The read models are rebuilt and live, but {counted(parked, 'stream')} could not be handled. {they}:"
                " see `manage.py parked list`."
            )


def _chosen(store: EventStore, options: dict[str, Any]) -> list[Projection]:
    given = [bool(options["names"]), options["all"], options["changed"]]
    if sum(given) != 1:
        known = ", ".join(projection.id for projection in store.subscriptions.projections())
        raise CommandError(f"Name projections, or give --all or --changed. There are: {known}")
    if options["changed"]:
        return replay.changed_projections(store=store)
    try:
        return replay.find_projections(options["names"], store=store)
    except LookupError as error:
        raise CommandError(error.args[0]) from error


def _go_on(left: Sequence[Projection], options: dict[str, Any]) -> str:
    """What to type to rebuild what is left, and nothing that is done: the first of it goes on where it stood."""
    first, *others = [projection.id for projection in left]
    runs = [[first], [*others, "--restart"]] if others and options["restart"] else [[first, *others]]
    more = [] if options["database"] == "default" else ["--database", options["database"]]
    return ", then ".join(f"`manage.py replay_projections {' '.join([*run, *more])}`" for run in runs)


def _rebuild(
    projection: Projection, store: EventStore, report: replay.Report, *, restart: bool, go_on: str
) -> replay.Rebuilt:
    """Replays one. Raises CommandError, whose line says what became of it and what to do."""
    untouched = f"Its live read model is untouched; go on with {go_on}."
    try:
        return replay.rebuild(projection, store=store, restart=restart, report=report)
    except _REFUSALS as refusal:
        raise CommandError(f"{projection.id}: {refusal}. {untouched}") from refusal
    except DatabaseError as error:
        raise CommandError(f"{projection.id}: {first_line(error).rstrip('.')}. {untouched}") from error
    except KeyboardInterrupt:
        raise CommandError(f"{projection.id}: interrupted. {untouched}", returncode=130) from None


def _described(plan: replay.Plan) -> str:
    versions = f"version {plan.version}"
    if plan.live_version not in (None, plan.version):
        versions += f", live is {plan.live_version}"
    text = f"{plan.projection} ({versions}): {counted(plan.head - plan.position, 'event')} to read"
    if plan.position:
        text += f", going on from position {plan.position:,}"
    if plan.running:
        return text + "; another process is at it"
    return text if plan.seconds is None else text + f"; about {max(1, round(plan.seconds))} s"


def _told(rebuilt: replay.Rebuilt) -> str:
    events = rebuilt.position - rebuilt.resumed_from
    text = f"{rebuilt.projection} version {rebuilt.version}: {counted(events, 'event')} read in {rebuilt.seconds:.1f} s"
    text += f", live at position {rebuilt.position:,}"
    return text + (f"; {counted(rebuilt.parked_keys, 'stream')} parked" if rebuilt.parked_keys else "")


@contextmanager
def _reporting(command: BaseCommand) -> Iterator[replay.Report]:
    """A progress bar on a terminal, a line now and then elsewhere."""
    if not sys.stdout.isatty():
        yield _Lines(command)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=Console(file=sys.stdout), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def draw(progress: replay.Progress) -> None:
            if progress.projection not in tasks:
                tasks[progress.projection] = bar.add_task(progress.projection)
            text = progress.projection if progress.doing == "building" else f"{progress.projection} ({progress.doing})"
            bar.update(tasks[progress.projection], description=text, total=progress.head, completed=progress.position)

        yield draw


class _Lines:
    """Writes a line every few seconds."""

    def __init__(self, command: BaseCommand) -> None:
        self._command = command
        self._next_at = time.monotonic() + LINE_EVERY_SECONDS

    def __call__(self, progress: replay.Progress) -> None:
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + LINE_EVERY_SECONDS
            percent = 100 * progress.position // max(1, progress.head)
            self._command.stdout.write(
                f"{progress.projection}: {progress.doing}, {progress.position:,} of {progress.head:,} ({percent} %)"
            )
            self._command.stdout.flush()


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does: the replay gives back its lease."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread, where nobody can be stopped that way
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
