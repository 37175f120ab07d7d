"""`manage.py events`: reads the store: a stream, a story or the end of the log."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any, Final
from uuid import UUID

import msgspec
from django.core.management.base import CommandError

from eventstore import inspection, operations
from eventstore.inspection import StoredEvent
from eventstore.management.operating import StoreCommand, at_least, operator_of
from eventstore.store import EventStore

PAGE: Final = 500
POLL_SECONDS: Final = 0.5
COLUMNS: Final = ("position", "recorded at (UTC)", "stream", "version", "event", "data", "actor")


class Command(StoreCommand):
    """Shows events as they are stored."""

    help = (
        "Reads the event store. `show` tells one stream (TYPE/ID or ID), `trace` one story across streams (its "
        "correlation id), `tail` the end of the log. Personal fields are shown as [sealed]."
    )
    changes = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to show."""
        super().add_arguments(parser)
        parser.add_argument("action", nargs="?", choices=["show", "trace", "tail"], default="tail")
        parser.add_argument("what", nargs="?", metavar="STREAM|CORRELATION", help="for show and trace")
        parser.add_argument("--limit", type=at_least(1), help="at most so many events (tail: 20; show and trace: 1000)")
        parser.add_argument("--follow", action="store_true", help="for tail: go on with what comes, until Ctrl-C")
        parser.add_argument("--json", action="store_true", help="one JSON document a line")
        parser.add_argument(
            "--unseal",
            action="store_true",
            help="show personal fields; that you did, where and why, is recorded (it needs --reason)",
        )
        parser.add_argument("--reason", default="", help="with --unseal, which needs it: why, for the record")

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """Reads and prints."""
        action, what = options["action"], options["what"]
        if (action == "tail") != (what is None):
            raise CommandError("Say which: `events show STREAM`, `events trace CORRELATION`, or just `events tail`.")
        if options["follow"] and action != "tail":
            raise CommandError("Only the tail of the log can be followed.")
        for flag in ("actor", "reason"):
            if options.get(flag) and not options["unseal"]:
                raise CommandError(f"--{flag.replace('actor', 'as')} goes with --unseal, which alone is recorded.")
        if action == "tail":
            self._record_unsealing(store, options)
            self._tail(store, options)
            return
        stream_type, id = _named(what)
        self._record_unsealing(store, options, id)
        limit, unseal = options["limit"] or 1_000, options["unseal"]
        if action == "show":
            found = inspection.stream(id, store=store, stream_type=stream_type, limit=limit, unseal=unseal)
        else:
            found = inspection.story(id, store=store, limit=limit, unseal=unseal)
        if not found:
            raise CommandError(f"There is no {'stream' if action == 'show' else 'story'} {what}.")
        self._print(found, as_json=options["json"])
        if len(found) == limit:
            these = "This is the first event" if limit == 1 else f"These are the first {limit:,} events"
            self.stderr.write(f"{these}; give --limit for more.")

    def _record_unsealing(self, store: EventStore, options: dict[str, Any], id: UUID | None = None) -> None:
        if options["unseal"]:
            operations.record_unsealing(
                **operator_of(options)._asdict(),
                action=options["action"],
                what=options["what"] or "",
                key=id,
                reason=options["reason"],
                using=store.using,
            )

    def _tail(self, store: EventStore, options: dict[str, Any]) -> None:
        limit, unseal = options["limit"] or 20, options["unseal"]
        found = inspection.last_events(store=store, limit=limit, unseal=unseal)
        self._print(found, as_json=options["json"])
        position = found[-1].position if found else 0
        while options["follow"]:
            self.stdout.flush()
            found = inspection.events_after(position or 0, store=store, limit=PAGE, unseal=unseal)
            if found:
                self._print(found, as_json=options["json"])
                position = found[-1].position
            if len(found) < PAGE:
                time.sleep(POLL_SECONDS)

    def _print(self, found: list[StoredEvent], *, as_json: bool) -> None:
        if as_json:
            for event in found:
                self.print_json(event)
        elif found:
            self.print_table(COLUMNS, [_row(event) for event in found], right=("position", "version"), folds=("data",))
        else:
            self.stdout.write("No events.")


def _named(what: str) -> tuple[str | None, UUID]:
    """The stream type, when one was given, and the id."""
    stream_type, _, text = what.rpartition("/")
    try:
        return stream_type or None, UUID(text)
    except ValueError:
        raise CommandError(f"{what!r} names nothing: an id looks like {UUID(int=1)}.") from None


def _row(event: StoredEvent) -> tuple[str, ...]:
    version = "" if event.schema_version == 1 else f" v{event.schema_version}"
    return (
        "-" if event.position is None else str(event.position),
        event.recorded_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        f"{event.stream_type}/{event.stream_id}",
        str(event.version),
        f"{event.name}{version}",
        " ".join(f"{name}={_value(value)}" for name, value in event.data.items()),
        event.actor,
    )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
