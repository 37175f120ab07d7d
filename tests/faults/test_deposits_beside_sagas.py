"""Deposits and saga batches write to the same few accounts at once: every deposit counts, every transfer ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from threading import Event
from typing import TypeVar
from uuid import UUID

from django.db import connection

from accounts import services as accounts
from accounts.domain.account import ACCOUNT
from eventstore.context import CommandContext
from eventstore.dispatch import drain
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.models import Event as StoredEvent
from eventstore.store import EventStore
from eventstore.verification.running import verify
from tests.conftest import Database
from transfers import services as transfers
from transfers.domain.transfer import MONEY_TRANSFER
from views_readmodel.models import Account
from views_readmodel.verification.checks import AGGREGATES, ledger_checks

DEPOSITORS = 4
DEPOSITS_EACH = 40
TRANSFERS = 300
OPENED_WITH_MINOR = 1_000_00
STORE = EventStore()
T = TypeVar("T")


def _context() -> CommandContext:
    return CommandContext(metadata=Metadata(actor="staff:carol", correlation_id=new_id()))


def _open_accounts(count: int) -> list[UUID]:
    customer_id = accounts.register_customer(context=_context(), name="Alice").value.customer_id
    return [
        accounts.open_account(
            context=_context(), customer_id=customer_id, title="Till", currency="EUR", initial_balance="1000.00"
        ).value.account_id
        for _ in range(count)
    ]


def _in_a_thread(work: Callable[[], T]) -> Callable[[], T]:
    """The work, with the connection that its thread opens closed at the end."""

    def run() -> T:
        try:
            return work()
        finally:
            connection.close()

    return run


def test_it_loses_no_deposit_beside_saga_batches(fresh_database: Database) -> None:
    ids = _open_accounts(3)
    for number in range(TRANSFERS):
        payer, payee = Random(number).sample(ids, 2)
        transfers.create_transfer(context=_context(), from_account_id=payer, to_account_id=payee, amount="1.00")
    over = Event()

    def deposit(seed: int) -> Counter[UUID]:
        random = Random(seed)
        chosen = [random.choice(ids) for _ in range(DEPOSITS_EACH)]
        for account_id in chosen:
            accounts.deposit(context=_context(), account_id=account_id, amount="0.01")
        return Counter(chosen)

    def dispatch() -> None:
        while not over.is_set():
            drain(store=STORE, batch_size=50)

    with ThreadPoolExecutor(DEPOSITORS + 2) as pool:
        dispatchers = [pool.submit(_in_a_thread(dispatch)) for _ in range(2)]
        depositors = [pool.submit(_in_a_thread(partial(deposit, seed))) for seed in range(DEPOSITORS)]
        try:
            deposited = sum((depositor.result() for depositor in depositors), Counter[UUID]())
        finally:
            over.set()
        for dispatcher in dispatchers:
            dispatcher.result()
    assert drain(store=STORE)

    assert sum(deposited.values()) == DEPOSITORS * DEPOSITS_EACH
    recorded = StoredEvent.objects.filter(event_type="CashDeposited").values_list("stream_id", flat=True)
    assert Counter(recorded) == deposited
    states = [
        STORE.find(MONEY_TRANSFER, id).state.status
        for id in StoredEvent.objects.filter(event_type="MoneyTransferCreated").values_list("stream_id", flat=True)
    ]
    assert Counter(states) == {"COMPLETED": TRANSFERS}
    held = {id: STORE.find(ACCOUNT, id).state.balance for id in ids}
    assert sum(held.values()) == len(ids) * OPENED_WITH_MINOR + sum(deposited.values())
    assert {row.account_id: row.balance for row in Account.objects.all()} == held
    report = verify(ledger_checks(), aggregates=AGGREGATES)
    assert report.clean
    assert report.complete
