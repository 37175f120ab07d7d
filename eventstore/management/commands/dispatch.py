"""`manage.py dispatch`: does what the workers do, in this process, without Celery."""

from __future__ import annotations

import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NamedTuple

from django.core.management.base import CommandError
from django.db import connections, transaction

from eventstore import inspection
from eventstore.dispatch import drain
from eventstore.failures import is_passing
from eventstore.management.operating import StoreCommand, counted, first_line
from eventstore.progress import progress
from eventstore.seals import sealer
from eventstore.store import EventStore
from eventstore.subscriptions import parking

TURN_SECONDS: Final = 1.0
"""How long one drain goes on at most: a request to stop is heeded after it."""
POLL_SECONDS: Final = 0.2
AWAY_SECONDS: Final = 1.0
"""How long to wait when the database does not answer."""
HELD_SECONDS: Final = 15.0
"""How long `--until-empty` waits for what is held: what passes has passed by then."""

# One snapshot for the whole transaction: what is handled goes from one table to another, and back to the first.
_ONE_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class _Left(NamedTuple):
    """What this program has still to do."""

    events: int  # by who has most of them before it; a key that waits for a stream counts as one
    held: list[str]  # who has something to do and may not, in words


class Command(StoreCommand):
    """Sequences what was committed and advances every subscription."""

    help = (
        "Does what the workers do, in this process and without Celery: gives events their place in the log, "
        "advances sagas and read models, and seals the log. Any number of dispatchers and workers may run at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How long."""
        super().add_arguments(parser)
        parser.add_argument(
            "--until-empty", action="store_true", help="end when nothing is left (without it: on Ctrl-C or SIGTERM)"
        )

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """Dispatches."""
        with _stoppable() as stopped:
            if options["until_empty"]:
                self._empty(store, stopped)
            else:
                self._go_on(store, stopped)

    def _empty(self, store: EventStore, stopped: threading.Event) -> None:
        before = inspection.log_state(using=store.using).position
        remaining = _left(store).events
        held: list[str] = []
        held_until = time.monotonic() + HELD_SECONDS
        with progress(title="Dispatching", total=remaining, stream=sys.stderr) as advance:
            while True:
                if stopped.is_set():
                    raise KeyboardInterrupt
                is_empty = drain(store=store, budget_seconds=TURN_SECONDS)
                left = _left(store)
                advance(max(0, remaining - left.events))
                if is_empty and not left.events:
                    break
                held = left.held or held
                if not is_empty or left.events < remaining:
                    held_until = time.monotonic() + HELD_SECONDS
                elif time.monotonic() > held_until:
                    no_fewer = f"{counted(left.events, 'event')} left, and no fewer for {HELD_SECONDS:.0f} s."
                    raise CommandError(held[0] if held else no_fewer)
                remaining = left.events
                if is_empty:
                    stopped.wait(POLL_SECONDS)
        sealer.seal_all(using=store.using)
        self.stdout.write(_told(store, before))

    def _go_on(self, store: EventStore, stopped: threading.Event) -> None:
        self.stdout.write("Dispatching; Ctrl-C stops.")
        self.stdout.flush()
        before: int | None = None
        while not stopped.is_set():
            try:
                if before is None:
                    before = inspection.log_state(using=store.using).position
                is_empty = drain(store=store, budget_seconds=TURN_SECONDS)
            except Exception as error:
                if not is_passing(error):
                    raise
                self.stderr.write(f"The database does not answer, trying again: {first_line(error)}")
                connections[store.using].close()
                stopped.wait(AWAY_SECONDS)
                continue
            if is_empty:
                stopped.wait(POLL_SECONDS)
        self.stdout.write(_stopped(store, before))


def _left(store: EventStore) -> _Left:
    """What is still to be done, seen in one moment."""
    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:
        cursor.execute(_ONE_SNAPSHOT)
        unsequenced = inspection.log_state(using=store.using).unsequenced
        running = _running(store)
        waiting = inspection.count_waiting(using=store.using)
    names = {part.subscription for part in running}
    keys = {subscription: count for subscription, count in waiting.items() if subscription in names}
    held = [
        f"{part.subscription} is held at position {part.position:,}: {part.held_reason}"
        for part in running
        if part.lag_events and part.held_reason
    ]
    held += [f"{subscription} {parking.WAITING}: {count:,} left" for subscription, count in keys.items()]
    lag = max((part.lag_events for part in running), default=0)
    return _Left(unsequenced + lag + sum(keys.values()), held)


def _running(store: EventStore) -> list[inspection.Part]:
    """The ranges that this program would advance."""
    return [
        part
        for part in inspection.parts(using=store.using)
        if part.status == "running"
        and store.subscriptions.get(part.subscription) is not None
        and not inspection.is_outdated(part, store=store)
    ]


def _told(store: EventStore, before: int) -> str:
    """One line about what came of it, with what is left for a person."""
    position = inspection.log_state(using=store.using).position
    text = f"Nothing is left: {counted(position - before, 'event')} sequenced, the log is at position {position:,}."
    keys = sum(parked.keys for parked in inspection.count_parked(using=store.using).values())
    if keys:
        text += f" {keys:,} parked: see `parked list`."
    behind = [part for part in inspection.parts(using=store.using) if part.lag_events]
    paused = sorted({part.subscription for part in behind if part.status == "paused"})
    outdated = sorted({part.subscription for part in behind if inspection.is_outdated(part, store=store)})
    if paused:
        text += f" Paused and behind: {', '.join(paused)}."
    if outdated:
        text += f" Waiting for a replay: {', '.join(outdated)}."
    return text


def _stopped(store: EventStore, before: int | None) -> str:
    """One line about how far it came, as far as the database says so."""
    try:
        position = inspection.log_state(using=store.using).position
    except Exception as error:
        if not is_passing(error):
            raise
        return f"Stopped. The database does not answer: {first_line(error)}"
    done = position - (position if before is None else before)
    return f"Stopped after {counted(done, 'event')}; the log is at position {position:,}."


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a batch is ended rather than cut off; a second Ctrl-C cuts."""
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    if threading.current_thread() is not threading.main_thread():  # where nobody can be stopped that way
        yield stopped
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
