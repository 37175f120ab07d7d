"""The saga's two halves: which event asks whom for what."""

from __future__ import annotations

from uuid import UUID

import pytest

import accounts.handlers
from accounts.domain.account import ACCOUNT, CreditAccount, DebitAccount, RefundDebit
from accounts.published.events import (
    AccountCredited,
    AccountCreditRejected,
    AccountDebited,
    AccountDebitFailedDueToInsufficientFunds,
    AccountDebitRefunded,
    AccountDebitRejected,
    AccountEvent,
)
from eventstore.events import Event, RecordedEvent
from eventstore.subscriptions.registry import (
    Execute,
    Follows,
    Reactor,
    SubscriptionRegistry,
    discards,
    handles,
    subscriptions,
)
from tests.unit.bank import reactor
from tests.unit.cast import ALICES_ACCOUNT, BOBS_ACCOUNT, RENT, opened, recorded, rent
from transfers.domain.transfer import (
    MONEY_TRANSFER,
    RecordCredit,
    RecordCreditRejection,
    RecordDebit,
    RecordDebitRejection,
    RecordFailedDebit,
    RecordRefund,
    TransferStep,
)
from transfers.published.events import (
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferEvent,
)

created = MoneyTransferCreated(details=rent())
debit_recorded = DebitRecorded(details=rent(), account_version=2)
credit_rejection_recorded = CreditRejectionRecorded(details=rent(), reason="account_closed", account_version=7)

debited = AccountDebited(
    amount=150_00, balance=0, transfer_id=RENT, counterparty_account_id=BOBS_ACCOUNT, description="Rent"
)
debit_failed = AccountDebitFailedDueToInsufficientFunds(amount=150_00, balance=0, transfer_id=RENT)
debit_rejected = AccountDebitRejected(amount=150_00, transfer_id=RENT, reason="account_frozen")
credited = AccountCredited(
    amount=150_00, balance=150_00, transfer_id=RENT, counterparty_account_id=ALICES_ACCOUNT, description="Rent"
)
credit_rejected = AccountCreditRejected(amount=150_00, transfer_id=RENT, reason="account_closed")
refunded = AccountDebitRefunded(amount=150_00, balance=150_00, transfer_id=RENT, counterparty_account_id=BOBS_ACCOUNT)


def of_transfer(event: TransferEvent) -> RecordedEvent[TransferEvent]:
    return recorded(event, stream_type="transfer", stream_id=RENT, version=1)


def of_account(event: AccountEvent) -> RecordedEvent[AccountEvent]:
    return recorded(event, stream_type="account", stream_id=ALICES_ACCOUNT, version=4)


@pytest.mark.parametrize(
    ("event", "account", "command"),
    [
        (
            created,
            ALICES_ACCOUNT,
            DebitAccount(
                transfer_id=RENT,
                amount=150_00,
                currency="EUR",
                counterparty_account_id=BOBS_ACCOUNT,
                description="Rent",
            ),
        ),
        (
            debit_recorded,
            BOBS_ACCOUNT,
            CreditAccount(
                transfer_id=RENT,
                amount=150_00,
                currency="EUR",
                counterparty_account_id=ALICES_ACCOUNT,
                description="Rent",
            ),
        ),
        (
            credit_rejection_recorded,
            ALICES_ACCOUNT,
            RefundDebit(transfer_id=RENT, amount=150_00, counterparty_account_id=BOBS_ACCOUNT),
        ),
    ],
    ids=["created", "debited", "refunding"],
)
def test_it_asks_the_right_account(
    event: TransferEvent, account: UUID, command: DebitAccount | CreditAccount | RefundDebit
) -> None:
    saga = reactor("accounts.saga")
    answer = saga.handlers[type(event)](of_transfer(event))
    assert answer == Execute(aggregate=ACCOUNT, stream_id=account, command=command)
    assert subscriptions.route_of(event) == account
    assert saga.key(of_transfer(event)) == RENT


@pytest.mark.parametrize(
    ("event", "step"),
    [
        (debited, RecordDebit(account_version=4)),
        (debit_failed, RecordFailedDebit(account_version=4)),
        (debit_rejected, RecordDebitRejection(reason="account_frozen", account_version=4)),
        (credited, RecordCredit(account_version=4)),
        (credit_rejected, RecordCreditRejection(reason="account_closed", account_version=4)),
        (refunded, RecordRefund(account_version=4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_records_what_the_account_answered_and_at_which_version(event: AccountEvent, step: TransferStep) -> None:
    saga = reactor("transfers.saga")
    answer = saga.handlers[type(event)](of_account(event))
    assert answer == Execute(aggregate=MONEY_TRANSFER, stream_id=RENT, command=step)
    assert subscriptions.route_of(event) == RENT
    assert saga.key(of_account(event)) == RENT


def test_it_handles_each_event_that_the_saga_goes_on_from() -> None:
    assert set(reactor("accounts.saga").handlers) == {
        MoneyTransferCreated,
        DebitRecorded,
        CreditRejectionRecorded,
    }
    assert set(reactor("transfers.saga").handlers) == {
        AccountDebited,
        AccountDebitFailedDueToInsufficientFunds,
        AccountDebitRejected,
        AccountCredited,
        AccountCreditRejected,
        AccountDebitRefunded,
    }
    assert reactor("accounts.saga").follows is reactor("transfers.saga").follows is Follows.ROUTE


@pytest.mark.parametrize("event", [FailedDebitRecorded, DebitRejectionRecorded, CreditRecorded, RefundRecorded])
def test_it_ends_where_nobody_is_asked(event: type[Event]) -> None:
    assert event not in reactor("accounts.saga").handlers


def test_it_routes_nothing_that_the_saga_does_not_handle() -> None:
    assert subscriptions.route_of(opened(0)) is None
    assert subscriptions.route_of(CreditRecorded(account_version=2)) is None


# What an operator may discard.


@pytest.mark.parametrize(
    ("event", "step"),
    [
        (created, RecordDebitRejection(reason="discarded_by_operator", account_version=0)),
        (debit_recorded, RecordCreditRejection(reason="discarded_by_operator", account_version=0)),
    ],
    ids=["created", "debited"],
)
def test_it_ends_a_transfer_whose_account_could_not_be_asked(event: TransferEvent, step: TransferStep) -> None:
    ending = reactor("accounts.saga").discards[type(event)](of_transfer(event))
    assert ending == Execute(aggregate=MONEY_TRANSFER, stream_id=RENT, command=step)


def test_it_offers_no_end_that_would_contradict_an_account() -> None:
    assert set(reactor("accounts.saga").discards) == {MoneyTransferCreated, DebitRecorded}
    assert not reactor("transfers.saga").discards


# Declaring subscriptions.


def test_it_takes_the_ending_of_another_reactor_declared_earlier_or_later() -> None:
    registry = SubscriptionRegistry()

    class Owner:
        @discards(DebitRecorded, of="asker")
        def end(self, _: RecordedEvent[DebitRecorded]) -> None:
            """Ends it."""

    class Asker:
        @handles(DebitRecorded)
        def ask(self, _: RecordedEvent[DebitRecorded]) -> None:
            """Asks."""

        @discards(CreditRecorded)
        def end(self, _: RecordedEvent[CreditRecorded]) -> None:
            """Ends it."""

    registry.subscriber(id="owner")(Owner)
    registry.subscriber(id="asker")(Asker)
    asker, owner = registry.get("asker"), registry.get("owner")
    assert isinstance(asker, Reactor)
    assert isinstance(owner, Reactor)
    assert set(asker.discards) == {DebitRecorded, CreditRecorded}
    assert not owner.discards
    assert not owner.handlers


def test_it_refuses_a_subscription_id_that_is_taken() -> None:
    with pytest.raises(ValueError, match="is taken"):
        subscriptions.subscriber(id="accounts.saga")(accounts.handlers.AccountsSaga)


def test_it_refuses_a_second_route_of_one_event() -> None:
    registry = SubscriptionRegistry()
    registry.subscriber(id="one", follows=Follows.ROUTE)(accounts.handlers.AccountsSaga)
    with pytest.raises(ValueError, match="already have a route"):
        registry.subscriber(id="two", follows=Follows.ROUTE)(accounts.handlers.AccountsSaga)


def test_it_refuses_to_follow_a_route_that_is_not_given() -> None:
    class Lost:
        @handles(DebitRecorded)
        def ask(self, _: RecordedEvent[DebitRecorded]) -> None:
            """Asks."""

    with pytest.raises(ValueError, match="needs one"):
        SubscriptionRegistry().subscriber(id="lost", follows=Follows.ROUTE)(Lost)
