"""`manage.py parked`: what could not be handled; retries it, or gives it up."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.core.management.base import CommandError

from eventstore import inspection, operations
from eventstore.inspection import ParkedKey
from eventstore.management.operating import (
    StoreCommand,
    age,
    at_least,
    counted,
    duration,
    only_its_own_lines,
    operator_of,
    refuse_others,
)
from eventstore.store import EventStore
from eventstore.subscriptions import parking

MOST_LISTED: Final = 100
MOST_RETRIED: Final = 10_000
"""Keys of one bulk retry, unless it is told a limit."""
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
            "--limit",
            type=at_least(1),
            help=f"at most so many keys: for list ({MOST_LISTED}) and for retry --all ({MOST_RETRIED:,})",
        )
        parser.add_argument("--reason", default="", help="for retry and discard: why, for the record; discard needs it")
        parser.add_argument("--json", action="store_true", help="for list: one JSON document a line")

    def run(self, store: EventStore, options: dict[str, Any]) -> None:
        """Lists, retries or discards."""
        refuse_others(options, _TAKEN_BY)
        _check_subscription(store, options["subscription"])
        getattr(self, f"_{options['action']}")(store, options)

    def _list(self, store: EventStore, options: dict[str, Any]) -> None:
        key = None if options["key"] is None else _uuid(options["key"])
        found = inspection.parked_keys(
            using=store.using, subscription=options["subscription"], key=key, limit=options["limit"] or MOST_LISTED
        )
        if options["json"]:
            for parked in found:
                self.print_json(parked._asdict())
            return
        for one in inspection.count_parked(using=store.using).values():
            self.stdout.write(
                f"{one.subscription}: {counted(one.keys, 'key')} with {counted(one.events, 'event')} parked,"
                f" the oldest for {age(one.oldest)}."
            )
        if found:
            self.print_table(
                COLUMNS, [_row(parked) for parked in found], right=("events", "from", "attempts"), folds=("error",)
            )
        else:
            self.stdout.write("Nothing is parked.")

    def _retry(self, store: EventStore, options: dict[str, Any]) -> None:
        reason = options["reason"] or "by hand"
        if options["all"] == (options["key"] is not None):
            raise CommandError("Say which: `parked retry KEY`, or `parked retry --all`.")
        if options["all"]:
            self._retry_all(store, options, reason)
            return
        if options["limit"]:
            raise CommandError("--limit goes with --all: a key is one.")
        parked, operator = _find(store, options), operator_of(options)
        with only_its_own_lines():
            outcome = operations.retry(parked.id, **operator._asdict(), reason=reason, store=store)
        if outcome is not parking.Retry.FREED:
            raise CommandError(_why(store, parked, outcome))
        handled = "1 event was" if parked.events == 1 else f"{parked.events:,} events were"
        self.stdout.write(f"{parked.key} is free again: {handled} handled.")

    def _retry_all(self, store: EventStore, options: dict[str, Any], reason: str) -> None:
        limit, operator = options["limit"] or MOST_RETRIED, operator_of(options)
        found = inspection.parked_keys(
            using=store.using, subscription=options["subscription"], waiting=False, limit=limit
        )
        more = max(0, _count(store, options["subscription"]) - len(found))
        if not found:
            self.stdout.write("Nothing is parked.")
            return
        with only_its_own_lines():
            retried = operations.retry_many(
                [parked.id for parked in found],
                **operator._asdict(),
                reason=reason,
                store=store,
                budget_seconds=BUDGET_SECONDS,
            )
        told = f"{retried.freed:,} of {counted(len(found), 'key')} {'is' if retried.freed == 1 else 'are'} free again"
        told += f"; {more:,} more {'is' if more == 1 else 'are'} parked" if more else ""
        left = _left(retried)
        if left:
            raise CommandError(f"{told}; {left}.")
        self.stdout.write(f"{told}.")

    def _discard(self, store: EventStore, options: dict[str, Any]) -> None:
        if options["key"] is None:
            raise CommandError("Say which: `parked discard KEY --reason TEXT`.")
        parked, operator = _find(store, options), operator_of(options)
        position = operations.discard(parked.id, **operator._asdict(), reason=options["reason"], store=store)
        self.stdout.write(f"The event at position {position:,} is given up, and its story ended.")


_TAKEN_BY: Final = {
    "--all": ("retry",),
    "--limit": ("list", "retry"),
    "--reason": ("retry", "discard"),
    "--as": ("retry", "discard"),
    "--json": ("list",),
}


def _check_subscription(store: EventStore, name: str | None) -> None:
    """Raises CommandError for a name that neither the program nor anything parked knows."""
    if name is None or store.subscriptions.get(name) is not None:
        return
    using = store.using
    have_parked = {*inspection.count_parked(using=using), *inspection.count_waiting(using=using)}
    if name not in have_parked:
        known = sorted({found.id for found in store.subscriptions.all()} | have_parked)
        raise CommandError(f"There is no subscription {name!r}; there are {', '.join(known) or 'none'}.")


def _count(store: EventStore, subscription: str | None) -> int:
    """How many keys are parked."""
    found = inspection.count_parked(using=store.using)
    return sum(one.keys for name, one in found.items() if subscription in (None, name))


def _left(retried: operations.Retried) -> str:
    """What is not free, and why; "" where all are."""
    said = [
        (retried.still_parked, "is still parked", "are still parked"),
        (retried.busy, "was being retried already, or is gone", "were being retried already, or are gone"),
        (retried.begun, "was handled in part and goes on by itself", "were handled in part and go on by themselves"),
        (retried.left, "was not tried, for the time was up", "were not tried, for the time was up"),
    ]
    return ", ".join(f"{count:,} {one if count == 1 else many}" for count, one, many in said if count)


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
