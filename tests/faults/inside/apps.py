"""The application that poisons the saga's handlers, and knows events of a newer version once those are released.

Invariant: with an empty control folder everything is as the product has it. The control folder (FAULTS_CONTROL) has a
file for each poison, named as the description of the transfer that it is for; a link to it, named by the transfer's id,
for the events that have no description; and `released`, a line for each event type that this version of the program
knows beside the product's. Only the settings of processes under faults name it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from django.apps import AppConfig
from django.db.backends.signals import connection_created

from eventstore.events import Event, RecordedEvent
from eventstore.registry import events
from eventstore.subscriptions.registry import Projection, Reactor, subscriptions

Handler = Callable[[RecordedEvent[Any]], Any]
Project = Callable[[Sequence[RecordedEvent[Any]], Any], None]
SAGA = "saga"  # what a poison names that is for whichever part of the saga handles the event
POLL_SECONDS = 0.05

# The clock of the faults, once there is one, before the server's own.
_USE_CLOCK = """
SELECT set_config('search_path', 'faults, public, pg_catalog, pg_temp', false)
FROM pg_catalog.pg_namespace WHERE nspname = 'faults'
"""


class Poisoned(Exception):
    """This handler was told to fail."""


class InsideConfig(AppConfig):
    """Poisons what can be poisoned."""

    name = "tests.faults.inside"
    label = "faults_inside"

    def ready(self) -> None:
        """Puts a taster before each of the saga's handlers and each projection; declares the newer version's events."""
        control = os.environ.get("FAULTS_CONTROL")
        if control is None:
            return
        connection_created.connect(use_clock, dispatch_uid="faults.clock")  # after the product's own
        folder = Path(control)
        for name in (*released(folder), *os.environ.get("FAULTS_KNOWS", "").split()):
            declare(name)
        for subscription in subscriptions.all():
            if isinstance(subscription, Reactor):
                for event, handler in dict(subscription.handlers).items():
                    subscription.handlers[event] = partial(taste, folder, handler)  # type: ignore[index]
            elif isinstance(subscription, Projection):
                projecting: Any = subscription.handler
                projecting.project = partial(taste_batch, folder, subscription.id, projecting.project)


def use_clock(*, connection: Any, **_: Any) -> None:
    """Has the connection read the clock that can be told to go ahead."""
    with connection.cursor() as cursor:
        cursor.execute(_USE_CLOCK)


def released(folder: Path) -> list[str]:
    """The types of events that the newer version of the program brought."""
    file = folder / "released"
    return file.read_text(encoding="utf-8").split() if file.exists() else []


def declare(name: str) -> None:
    """An event of a newer version, that says nothing but its name."""
    cls: Any = msgspec.defstruct(name, [], bases=(Event,), frozen=True)
    events.event(name)(cls)


def taste(folder: Path, handler: Handler, recorded: RecordedEvent[Any]) -> Any:
    """Handles the event, unless it is poisoned."""
    poison = poison_of(folder, recorded)
    if poison is not None:
        swallow(poison, event_type=recorded.name, by=SAGA)
    return handler(recorded)


def taste_batch(
    folder: Path, subscription_id: str, project: Project, events: Sequence[RecordedEvent[Any]], tables: Any
) -> None:
    """Applies the batch, unless something in it is poisoned."""
    for recorded in events:
        poison = poison_of(folder, recorded)
        if poison is not None:
            swallow(poison, event_type=recorded.name, by=subscription_id)
    project(events, tables)


def poison_of(folder: Path, recorded: RecordedEvent[Any]) -> Path | None:
    """The poison of the transfer that the event is about, whether it is there any more or not."""
    data: Any = recorded.data
    description: str | None = getattr(data, "description", None) or getattr(
        getattr(data, "details", None), "description", None
    )
    if description:
        if not description.startswith("poison-"):
            return None
        if recorded.stream_type == "transfer":  # the first of its story that a handler sees
            with suppress(FileExistsError):
                (folder / str(recorded.stream_id)).symlink_to(description)
        return folder / description
    transfer_id = getattr(data, "transfer_id", None)
    link = folder / str(transfer_id)
    return folder / link.readlink() if transfer_id is not None and link.is_symlink() else None


def swallow(poison: Path, *, event_type: str, by: str) -> None:
    """Does what the poison does, if there is one for this type of event in these hands, and leaves a trace of it."""
    try:
        told = json.loads(poison.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    if (told["event_type"], told["by"]) != (event_type, by):
        return
    with poison.with_suffix(".met").open("a", encoding="ascii") as trace:
        trace.write(f"{os.getpid()}\n")
    match told["does"]:
        case "fails once":
            poison.unlink(missing_ok=True)
            raise Poisoned("once")
        case "fails":
            raise Poisoned("always")
        case "dies":
            os._exit(1)
        case "hangs":
            while poison.exists():
                time.sleep(POLL_SECONDS)
