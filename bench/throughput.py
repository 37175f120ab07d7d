"""Transfers, appends and replays a second, in this process, on a Postgres whose commits reach the disk."""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from accounts import services as accounts
from bench import orm_peer
from bench.banks import OPENED_WITH_MINOR, STORE, accept, context, dispatch, fresh_bank, random_transfers
from bench.measuring import Comparison, Figures, by_turns, stopwatch
from eventstore.ids import new_id
from eventstore.replay import rebuild
from eventstore.subscriptions.registry import subscriptions
from tests.servers import Servers
from transfers import services as transfer_services
from views_readmodel.models import Transfer

NAME: Final = "daybook_bench"
WARM_UP: Final = 300

_COUNT_EVENTS = "SELECT count(*) FROM eventstore_event"


def transfers(servers: Servers, *, count: int, runs: int) -> list[Comparison]:
    """Transfers from their first event to COMPLETED in the read models, beside a plain Django transfer."""
    accepted: list[float] = []
    dispatched: list[float] = []

    def daybook() -> float:
        with fresh_bank(servers, name=NAME) as ids:
            accept(random_transfers(ids, WARM_UP, seed=0))
            dispatch()
            asked = random_transfers(ids, count, seed=1)
            with stopwatch() as accepting:
                accept(asked)
            with stopwatch() as dispatching:
                dispatch()
            _check_completed(count + WARM_UP)
        accepted.append(count / accepting.seconds)
        dispatched.append(count / dispatching.seconds)
        return count / (accepting.seconds + dispatching.seconds)

    def plain() -> float:
        with fresh_bank(servers, name=NAME) as ids:
            orm_peer.prepare(servers, name=NAME, ids=ids, balance=OPENED_WITH_MINOR)
            for details in random_transfers(ids, WARM_UP, seed=0):
                orm_peer.transfer(details)
            asked = random_transfers(ids, count, seed=1)
            with stopwatch() as moving:
                for details in asked:
                    orm_peer.transfer(details)
        return count / moving.seconds

    whole, beside = by_turns(runs, daybook, plain)
    return [
        Comparison(
            ours=Figures(what="transfers, from acceptance to the read models", unit="/s", runs=whole),
            peer=Figures(what="plain Django ORM transfer, one process", unit="/s", runs=beside),
        ),
        Comparison(ours=Figures(what="transfers, dispatching alone", unit="/s", runs=dispatched)),
        Comparison(ours=Figures(what="transfers, accepting by 500", unit="/s", runs=accepted)),
    ]


def appends(servers: Servers, *, count: int, runs: int) -> list[Comparison]:
    """One request, one transaction: through the services, beside the least that any program does, one INSERT."""
    with fresh_bank(servers, name=NAME) as ids:
        orm_peer.prepare(servers, name=NAME, ids=ids, balance=OPENED_WITH_MINOR)

        def deposits() -> float:
            with stopwatch() as watch:
                for number in range(count):
                    accounts.deposit(context=context(), account_id=ids[number % len(ids)], amount="1.00")
            return count / watch.seconds

        def created() -> float:
            asked = random_transfers(ids, count, seed=2)
            with stopwatch() as watch:
                for details in asked:
                    transfer_services.create_transfer(
                        context=context(),
                        from_account_id=details.from_account_id,
                        to_account_id=details.to_account_id,
                        amount="1.00",
                    )
            return count / watch.seconds

        def inserts() -> float:
            rows = [orm_peer.PlainAccount(balance=number) for number in range(count)]
            with stopwatch() as watch:
                for row in rows:
                    row.id = new_id()
                    with transaction.atomic():
                        row.save(force_insert=True)
            return count / watch.seconds

        deposited, accepted, inserted = by_turns(runs, deposits, created, inserts)
    floor = Figures(what="one Django INSERT in a transaction", unit="/s", runs=inserted)
    return [
        Comparison(ours=Figures(what="deposits, one by one", unit="/s", runs=deposited), peer=floor),
        Comparison(ours=Figures(what="transfers accepted, one by one", unit="/s", runs=accepted), peer=floor),
    ]


def replays(servers: Servers, *, count: int, runs: int) -> list[Comparison]:
    """Rebuilding all read models from the log."""
    with fresh_bank(servers, name=NAME) as ids:
        accept(random_transfers(ids, count, seed=3))
        dispatch()
        with connection.cursor() as cursor:
            cursor.execute(_COUNT_EVENTS)
            events = int(cursor.fetchone()[0])

        def replay() -> float:
            with stopwatch() as watch:
                for projection in subscriptions.projections():
                    rebuild(projection, store=STORE)
            return events / watch.seconds

        (replayed,) = by_turns(runs, replay)
    return [
        Comparison(ours=Figures(what=f"replay of all read models, {events} events", unit="events/s", runs=replayed))
    ]


def _check_completed(count: int) -> None:
    completed = Transfer.objects.filter(state="COMPLETED").count()
    if completed != count:
        raise AssertionError(f"{completed} of {count} transfers are completed")
