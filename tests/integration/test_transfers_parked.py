"""A transfer that cannot be handled, in the bank itself: nobody else notices, and an operator ends it or mends it.

What is poisoned in front of a real worker names an account that does not exist: no service would accept it, but nothing
in the store keeps it out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from accounts import services as accounts
from accounts.published import events as of_accounts
from config.processes import wait_until
from eventstore import operations
from eventstore.dispatch import drain
from eventstore.events import Event
from eventstore.ids import new_id
from eventstore.subscriptions.parking import NotDiscardable, Retry
from eventstore.subscriptions.registry import Reactor, subscriptions
from eventstore.verification.running import verify
from tests.conftest import Database
from tests.integration.ledgers import STORE, context
from tests.integration.shops import make_due, rows, value
from tests.workers import Worker
from transfers import services as transfers
from transfers.domain.transfer import MONEY_TRANSFER
from transfers.published import events as of_transfers
from transfers.published.events import FINAL_STATUSES, TransferDetails, TransferStatus
from views_readmodel.verification.checks import AGGREGATES, ledger_checks

OLGA: Final = "staff:olga"
PATIENCE_SECONDS: Final = 60.0
GOOD: Final = 12


class Bank:
    """A payer, a payee, a closed and a frozen account."""

    def __init__(self) -> None:
        customer = accounts.register_customer(context=context(), name="Alice Abel").value.customer_id
        self.customer = customer
        self.payer, self.payee = self.open("500.00"), self.open("100.00")
        self.closed, self.frozen = self.open(None), self.open("50.00")
        accounts.close_account(context=context(), account_id=self.closed, reason="Moved away")
        accounts.freeze_account(context=context(), account_id=self.frozen, reason="Court order")

    def open(self, balance: str | None) -> UUID:
        """Opens an account."""
        opened = accounts.open_account(
            context=context(), customer_id=self.customer, title="One", currency="EUR", initial_balance=balance
        )
        return opened.value.account_id

    def transfer(self, payer: UUID, payee: UUID, amount: str = "5.00") -> UUID:
        """Sends a transfer on its way."""
        accepted = transfers.create_transfer(
            context=context(), from_account_id=payer, to_account_id=payee, amount=amount
        )
        return accepted.value.transfer_id

    def poison(self, payer: UUID, payee: UUID) -> UUID:
        """Writes a transfer past the services, which would look whether there are such accounts."""
        details = TransferDetails(
            from_account_id=payer, to_account_id=payee, amount=500, currency="EUR", initiated_by=OLGA
        )
        created: list[Event] = [of_transfers.MoneyTransferCreated(details=details)]
        return STORE.save(MONEY_TRANSFER, created, metadata=context().metadata).stream_id


def _state(transfer_id: UUID) -> TransferStatus:
    return transfers.transfer_now(transfer_id=transfer_id).state


def _balance(account_id: UUID) -> int:
    return int(
        value(
            """
            SELECT (data ->> 'balance')::bigint FROM eventstore_event
            WHERE stream_id = %s AND data ? 'balance' ORDER BY version DESC LIMIT 1
            """,
            [account_id],
        )
    )


def _parked_key(transfer_id: UUID) -> int:
    return int(value("SELECT id FROM eventstore_parked_key WHERE key = %s AND attempts > 0", [transfer_id]))


def _is_parked(transfer_id: UUID) -> bool:
    return bool(value("SELECT count(*) FROM eventstore_parked_key WHERE key = %s AND attempts > 0", [transfer_id]))


def _differences() -> dict[str, Any]:
    report = verify(ledger_checks(), aggregates=AGGREGATES)
    found: dict[str, Any] = msgspec.to_builtins(report)
    return {} if report.clean and report.complete else found


def _eventually(condition: Any) -> bool:
    return wait_until(condition, timeout_seconds=PATIENCE_SECONDS)


# --- Nobody else notices ------------------------------------------------------------------------------------


def test_a_poisoned_transfer_delays_no_other_not_even_on_the_same_hot_account(
    worker: Worker, fresh_database: Database
) -> None:
    bank, nobody = Bank(), new_id()
    good = [bank.transfer(bank.payer, bank.payee) for _ in range(GOOD // 2)]
    undebited = bank.poison(nobody, bank.payee)
    uncredited = bank.poison(bank.payer, nobody)
    good += [bank.transfer(bank.payee, bank.payer, "1.00") for _ in range(GOOD // 2)]
    assert _eventually(lambda: all(_state(one) is TransferStatus.COMPLETED for one in good)), worker.output
    assert _eventually(lambda: _is_parked(undebited) and _is_parked(uncredited)), worker.output
    assert (_state(undebited), _state(uncredited)) == (TransferStatus.INITIAL, TransferStatus.DEBITED)
    later = [bank.transfer(bank.payer, bank.payee, "1.00"), bank.transfer(bank.payee, bank.payer, "1.00")]
    assert _eventually(lambda: all(_state(one) is TransferStatus.COMPLETED for one in later)), worker.output
    before = _balance(bank.payer)

    for poisoned in (undebited, uncredited):
        operations.discard(_parked_key(poisoned), actor=OLGA, reason="No such account", store=STORE)
    assert _eventually(lambda: _state(undebited) is TransferStatus.REJECTED), worker.output
    assert _eventually(lambda: _state(uncredited) is TransferStatus.REFUNDED), worker.output
    assert _balance(bank.payer) == before + 500
    assert value("SELECT count(*) FROM eventstore_parked_key") == 0
    assert rows("SELECT actor, action, subscription, detail ->> 'key' FROM eventstore_operation ORDER BY id") == [
        (OLGA, "discard", "accounts.saga", str(undebited)),
        (OLGA, "discard", "accounts.saga", str(uncredited)),
    ]


# --- Wherever it is parked ----------------------------------------------------------------------------------


@contextmanager
def _choking(reactor_id: str, cls: type[Event], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The reactor cannot handle events of that class while the block runs."""
    reactor = subscriptions.get(reactor_id)
    assert isinstance(reactor, Reactor)

    def choke(recorded: object) -> None:
        raise ArithmeticError("it sticks in the throat")

    choking = msgspec.structs.replace(reactor, handlers={**reactor.handlers, cls: choke})
    with monkeypatch.context() as patched:
        patched.setitem(subscriptions._by_id, reactor_id, choking)
        yield


# From which account to which, how much, and how it ends once what was broken is mended.
COMPLETES = ("payer", "payee", "5.00", TransferStatus.COMPLETED)
FAILS = ("payer", "payee", "9999.00", TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS)
IS_REJECTED = ("frozen", "payee", "5.00", TransferStatus.REJECTED)
IS_REFUNDED = ("payer", "closed", "5.00", TransferStatus.REFUNDED)

STEPS: Final = {
    ("accounts.saga", of_transfers.MoneyTransferCreated): (COMPLETES, TransferStatus.REJECTED),
    ("accounts.saga", of_transfers.DebitRecorded): (COMPLETES, TransferStatus.REFUNDED),
    ("accounts.saga", of_transfers.CreditRejectionRecorded): (IS_REFUNDED, None),
    ("transfers.saga", of_accounts.AccountDebited): (COMPLETES, None),
    ("transfers.saga", of_accounts.AccountDebitFailedDueToInsufficientFunds): (FAILS, None),
    ("transfers.saga", of_accounts.AccountDebitRejected): (IS_REJECTED, None),
    ("transfers.saga", of_accounts.AccountCredited): (COMPLETES, None),
    ("transfers.saga", of_accounts.AccountCreditRejected): (IS_REFUNDED, None),
    ("transfers.saga", of_accounts.AccountDebitRefunded): (IS_REFUNDED, None),
}
"""Each step of the saga: a transfer that takes it, and how it ends when the step is given up; None: it may not be."""


def test_the_table_names_every_step_of_the_saga() -> None:
    steps = {(found.id, cls) for found in subscriptions.all() if isinstance(found, Reactor) for cls in found.handlers}
    assert steps == set(STEPS)


@pytest.fixture
def bank(fresh_database: Database) -> Bank:
    found = Bank()
    assert drain(store=STORE)
    return found


def _park_at(step: tuple[str, type[Event]], bank: Bank, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A transfer that is parked at the step."""
    payer, payee, amount, _ = STEPS[step][0]
    with _choking(*step, monkeypatch):
        found = bank.transfer(getattr(bank, payer), getattr(bank, payee), amount)
        assert drain(store=STORE)
        other = bank.transfer(bank.payee, bank.open("1.00"), "1.00")
        assert drain(store=STORE)
    assert _is_parked(found)
    assert _is_parked(other) or _state(other) in FINAL_STATUSES
    return found


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[0]} {step[1].__name__}")
def test_wherever_it_is_parked_it_is_ended_soundly_or_only_retried(
    bank: Bank, step: tuple[str, type[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, _, _, mended), given_up = STEPS[step]
    before = _balance(bank.payer)
    parked = _park_at(step, bank, monkeypatch)
    assert not _differences()  # a parked transfer is in order
    if given_up is None:
        with pytest.raises(NotDiscardable):
            operations.discard(_parked_key(parked), actor=OLGA, reason="Tired of it", store=STORE)
        assert _is_parked(parked)
        outcome = operations.retry(_parked_key(parked), actor=OLGA, reason="Mended", store=STORE)
        assert outcome is Retry.FREED
    else:
        operations.discard(_parked_key(parked), actor=OLGA, reason="Unreachable", store=STORE)
    assert drain(store=STORE)
    make_due()
    assert drain(store=STORE)
    assert _state(parked) is (given_up or mended)
    assert _balance(bank.payer) == before - (500 if _state(parked) is TransferStatus.COMPLETED else 0)
    assert value("SELECT count(*) FROM eventstore_parked_key") == 0
    action = "retry" if given_up is None else "discard"
    assert rows("SELECT actor, action, detail ->> 'key' FROM eventstore_operation") == [(OLGA, action, str(parked))]
    assert not _differences()


def test_a_discard_records_what_ended_it_or_nothing_at_all(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    parked = _park_at(("accounts.saga", of_transfers.MoneyTransferCreated), bank, monkeypatch)

    def refuse(*_: Any) -> None:
        raise ArithmeticError

    with monkeypatch.context() as patched:
        patched.setattr("eventstore.subscriptions.parking._remove", refuse)
        with pytest.raises(operations.DiscardFailed, match="ArithmeticError"):
            operations.discard(_parked_key(parked), actor=OLGA, reason="Unreachable", store=STORE)
    assert _state(parked) is TransferStatus.INITIAL
    assert _is_parked(parked)
    assert value("SELECT count(*) FROM eventstore_operation") == 0


# --- Many at once -------------------------------------------------------------------------------------------


def test_retrying_many_stops_when_its_time_is_up_and_says_what_is_left(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ("accounts.saga", of_transfers.MoneyTransferCreated)
    with _choking(*step, monkeypatch):
        waiting = [bank.transfer(bank.payer, bank.payee, "1.00") for _ in range(6)]
        assert drain(store=STORE)
    ids = [_parked_key(one) for one in waiting]
    none = operations.retry_many(ids, actor=OLGA, reason="Mended", store=STORE, budget_seconds=0)
    assert (none.freed, none.left) == (0, 6)
    clock = iter([0.0, 0.0, 0.0, 0.0, 9.0])
    with monkeypatch.context() as patched:
        patched.setattr(time, "monotonic", lambda: next(clock, 9.0))
        some = operations.retry_many(ids, actor=OLGA, reason="Mended", store=STORE, budget_seconds=5)
    assert 0 < some.freed < 6
    assert some.freed + some.left == 6
    rest = operations.retry_many(ids, actor=OLGA, reason="Mended", store=STORE, budget_seconds=30)
    assert rest.freed == some.left
    assert rest.busy == some.freed  # they are gone
    assert drain(store=STORE)
    assert all(_state(one) is TransferStatus.COMPLETED for one in waiting)
    assert not _differences()
