"""`manage.py subscriptions`: how far sagas and projections have come; pauses, resumes and splits them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import CommandError

from eventstore import inspection, operations
from eventstore.inspection import MOST_LAG, Part
from eventstore.management.operating import (
    StoreCommand,
    at_least,
    counted,
    duration,
    operator_of,
    refuse_others,
    sentence,
)
from eventstore.store import EventStore
from eventstore.subscriptions.registry import Projection

COLUMNS: Final = ("subscription", "kind", "buckets", "position", "lag", "for", "parked", "status")


class Command(StoreCommand):
    """Lists subscriptions, and operates them."""

    help = (
        "Tells how far each saga and projection has come. `pause` stops one (it needs --reason), `resume` lets it go "
        "on, `split` has it handled in --into ranges of buckets, so that as many workers can advance it."
    )
    changes = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with whom."""
        super().add_arguments(parser)
        parser.add_argument("action", nargs="?", choices=["list", "pause", "resume", "split"], default="list")
        parser.add_argument("name", nargs="?", metavar="NAME", help="the id of a subscription, such as accounts.saga")
        parser.add_argument("--reason", default="", help="for all but list: why, for the record; pause needs it")
        parser.add_argument("--into", type=at_least(1), help="for split: how many ranges, 1 to 256")
        parser.add_argument("--json", action="store_true", help="for list: one JSON document a line")

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """Lists, or operates one."""
        refuse_others(options, _TAKEN_BY)
        action, name = options["action"], options["name"]
        if action == "list":
            self._list(store, name, as_json=options["json"])
        elif name is None:
            raise CommandError(f"Say which: `subscriptions {action} NAME`.")
        else:
            self.stdout.write(getattr(self, f"_{action}")(store, name, options))

    def _list(self, store: EventStore, name: str | None, *, as_json: bool) -> None:
        parts = [part for part in inspection.parts(using=store.using) if name in (None, part.subscription)]
        if name is not None and not parts:
            raise operations.NoSuchSubscription(f"there is no subscription {name!r}")
        parked = {id: found.keys for id, found in inspection.count_parked(using=store.using).items()}
        if as_json:
            for part in parts:
                told = {**part._asdict(), "kind": _kind(part, store), "parked_keys": parked.get(part.subscription, 0)}
                self.print_json(told)
            return
        rows = [_row(part, parked.get(part.subscription, 0), store) for part in parts]
        self.print_table(COLUMNS, rows, right=("position", "lag", "for", "parked"), folds=("status",))
        log = inspection.log_state(using=store.using)
        self.stdout.write(
            f"The log is at position {log.position:,}; {_waiting(log.unsequenced)} for theirs; a sequencer was there"
            f" {duration(log.heartbeat_seconds)} ago."
        )

    def _pause(self, store: EventStore, name: str, options: dict[str, Any]) -> str:
        count = operations.pause(name, **operator_of(options)._asdict(), reason=options["reason"], using=store.using)
        return f"{name} is paused ({counted(count, 'range')}). `subscriptions resume {name}` lets it go on."

    def _resume(self, store: EventStore, name: str, options: dict[str, Any]) -> str:
        reason = options["reason"] or "by hand"
        operations.resume(name, **operator_of(options)._asdict(), reason=reason, using=store.using)
        return f"{name} goes on where it stood."

    def _split(self, store: EventStore, name: str, options: dict[str, Any]) -> str:
        into = options["into"]
        if into is None:
            raise CommandError("Say into how many ranges: --into 4.")
        operator, reason = operator_of(options), options["reason"] or "by hand"
        try:
            before = operations.split(name, into=into, **operator._asdict(), reason=reason, using=store.using)
        except operations.ReasonMissing:
            raise
        except ValueError as error:
            raise CommandError(sentence(error)) from error
        return f"{name} is handled in {counted(into, 'range')} now; it was {before:,}."


_TAKEN_BY: Final = {
    "--reason": ("pause", "resume", "split"),
    "--as": ("pause", "resume", "split"),
    "--into": ("split",),
    "--json": ("list",),
}


def _row(part: Part, parked_keys: int, store: EventStore) -> tuple[str, ...]:
    return (
        part.subscription,
        _kind(part, store),
        f"{part.bucket_low}-{part.bucket_high} by {part.follows}",
        f"{part.position:,}",
        _count(part.lag_events),
        duration(part.lag_seconds) if part.lag_events else "",
        f"{parked_keys:,}" if parked_keys else "",
        _status(part, store),
    )


def _kind(part: Part, store: EventStore) -> str:
    subscription = store.subscriptions.get(part.subscription)
    if subscription is None:
        return "unknown"
    return "projection" if isinstance(subscription, Projection) else "reactor"


def _status(part: Part, store: EventStore) -> str:
    if part.status == "paused":
        return f"paused by {part.paused_by}: {part.paused_reason}"
    if inspection.is_outdated(part, store=store):
        return f"of version {part.projection_version}: waits for a replay"
    if part.held_reason:
        return f"held: {part.held_reason}"
    return part.status


def _count(events: int) -> str:
    return f"{MOST_LAG:,} or more" if events >= MOST_LAG else f"{events:,}"


def _waiting(events: int) -> str:
    return "1 event waits" if events == 1 else f"{_count(events)} events wait"
