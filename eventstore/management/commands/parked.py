"""`manage.py parked`: what could not be handled; retries it, or gives it up."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.core.management.base import CommandError

from eventstore import inspection, operations
from eventstore.inspection import ParkedKey
from eventstore.management.operating import StoreCommand, actor_of, age, at_least, duration
from eventstore.store import EventStore
from eventstore.subscriptions import parking

MOST_RETRIED: Final = 100
BUDGET_SECONDS: Final = 60.0
"""How long a bulk retry goes on at most."""
COLUMNS: Final = ("subscription", "key", "events", "from", "parked for", "attempts", "next", "error")


class Command(StoreCommand):
    """Lists what is parked, and operates it."""

    help = (
        "Tells what could not be handled, how much waits behind it, since when and why. It is retried by itself, with "
        "growing delays; `retry` does so now (one KEY, or --all of them up to --limit), `discard` gives up the first "
        "event behind a KEY and ends its story, where that can be done soundly (it needs --reason)."
    )
    changes = True

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with which key."""
        super().add_arguments(parser)
        parser.add_argument("action", nargs="?", choices=["list", "retry", "discard"], default="list")
        parser.add_argument("key", nargs="?", metavar="KEY", help="the id of the story or stream that is parked")
        parser.add_argument("--subscription", metavar="NAME", help="only what this one has parked")
        parser.add_argument("--all", action="store_true", help="for retry: every key, the oldest first")
        parser.add_argument(
            "--limit", type=at_least(1), default=MOST_RETRIED, help=f"at most so many keys ({MOST_RETRIED})"
        )
        parser.add_argument("--reason", default="", help="why, for the record; required for discard")
        parser.add_argument("--json", action="store_true", help="for list: one JSON document a line")

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """Lists, retries or discards."""
        getattr(self, f"_{options['action']}")(store, options)

    def _list(self, store: EventStore, options: dict[str, Any]) -> None:
        key = None if options["key"] is None else _uuid(options["key"])
        found = inspection.parked_keys(
            using=store.using, subscription=options["subscription"], key=key, limit=options["limit"]
        )
        if options["json"]:
            for parked in found:
                self.print_json(parked._asdict())
            return
        for counted in inspection.count_parked(using=store.using).values():
            self.stdout.write(
                f"{counted.subscription}: {counted.keys:,} keys with {counted.events:,} events parked,"
                f" the oldest for {age(counted.oldest)}."
            )
        if found:
            self.print_table(COLUMNS, [_row(parked) for parked in found], right=("events", "from", "attempts"))
        else:
            self.stdout.write("Nothing is parked.")

    def _retry(self, store: EventStore, options: dict[str, Any]) -> None:
        reason = options["reason"] or "by hand"
        if options["all"] == (options["key"] is not None):
            raise CommandError("Say which: `parked retry KEY`, or `parked retry --all`.")
        if options["all"]:
            self._retry_all(store, options, reason)
            return
        parked = _find(store, options)
        outcome = operations.retry(parked.id, actor=actor_of(options), reason=reason, store=store)
        if outcome is not parking.Retry.FREED:
            raise CommandError(_why(store, parked, outcome))
        self.stdout.write(f"{parked.key} is free again: {parked.events:,} events were handled.")

    def _retry_all(self, store: EventStore, options: dict[str, Any], reason: str) -> None:
        found = inspection.parked_keys(using=store.using, subscription=options["subscription"], limit=options["limit"])
        retried = operations.retry_many(
            [parked.id for parked in found],
            actor=actor_of(options),
            reason=reason,
            store=store,
            budget_seconds=BUDGET_SECONDS,
        )
        told = f"{retried.freed:,} of {len(found):,} keys are free again"
        if retried.still_parked or retried.busy or retried.left:
            told += f"; {retried.still_parked:,} are still parked, {retried.busy:,} were being retried already"
            raise CommandError(f"{told}, for {retried.left:,} there was no time.")
        self.stdout.write(f"{told}.")

    def _discard(self, store: EventStore, options: dict[str, Any]) -> None:
        if options["key"] is None:
            raise CommandError("Say which: `parked discard KEY --reason TEXT`.")
        parked = _find(store, options)
        position = operations.discard(parked.id, actor=actor_of(options), reason=options["reason"], store=store)
        self.stdout.write(f"The event at position {position:,} is given up, and its story ended.")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise CommandError(f"{text!r} is no key: a key looks like {UUID(int=1)}.") from None


def _find(store: EventStore, options: dict[str, Any]) -> ParkedKey:
    """The one parked key that is meant. Raises CommandError when there is none, or more than one."""
    found = inspection.parked_keys(
        using=store.using, subscription=options["subscription"], key=_uuid(options["key"]), limit=10
    )
    if not found:
        raise CommandError(f"Nothing is parked under {options['key']}.")
    if len(found) > 1:
        names = ", ".join(sorted(parked.subscription for parked in found))
        raise CommandError(f"Several have parked {options['key']}: give --subscription, one of {names}.")
    return found[0]


def _why(store: EventStore, parked: ParkedKey, outcome: parking.Retry) -> str:
    """Why a retry has not freed the key."""
    if outcome is parking.Retry.BUSY:
        return f"{parked.key} is being retried by another process, or is free already."
    now = inspection.parked_keys(using=store.using, subscription=parked.subscription, key=parked.key, limit=1)
    return f"{parked.key} is still parked: {now[0].error if now else parked.error}"


def _row(parked: ParkedKey) -> tuple[str, ...]:
    next_in = (parked.next_attempt_at - datetime.now(UTC)).total_seconds()
    return (
        parked.subscription,
        str(parked.key),
        f"{parked.events:,}",
        "" if parked.first_position is None else f"{parked.first_position:,}",
        age(parked.parked_at),
        str(parked.attempts),
        "now" if next_in <= 0 else f"in {duration(next_in)}",
        parked.error,
    )
