"""From events to rows, without a database: what each event does to each read model, and that none is forgotten."""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

import pytest

from accounts.published.events import (
    AccountClosed,
    AccountCredited,
    AccountCreditRejected,
    AccountDebited,
    AccountDebitFailedDueToInsufficientFunds,
    AccountDebitRefunded,
    AccountDebitRejected,
    AccountEvent,
    AccountFrozen,
    AccountUnfrozen,
    CashDeposited,
    CashEntryKind,
    CashEntryReversed,
    CashWithdrawn,
    CustomerContactChanged,
    CustomerEvent,
    CustomerRegistered,
    CustomerRenamed,
)
from eventstore.events import Event, RecordedEvent
from eventstore.refusals import EventCannotFollow
from eventstore.subscriptions.registry import Projection, subscriptions
from tests.unit.cast import ALICE, ALICES_ACCOUNT, BOBS_ACCOUNT, CAROL, RENT, STORY, opened, recorded, rent
from transfers.published.events import (
    FINAL_STATUSES,
    STATUS_AFTER,
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferEvent,
)
from views_readmodel.projections.accounts import AccountRow, EntryRow, entries_of, evolve_account
from views_readmodel.projections.customers import CustomerRow, evolve_customer
from views_readmodel.projections.transfers import TransferRow, evolve_transfer, step_of


def on(stream_type: str, stream_id: UUID, *events: Event) -> list[RecordedEvent[Any]]:
    return [
        recorded(event, stream_type=stream_type, stream_id=stream_id, version=version)
        for version, event in enumerate(events, start=1)
    ]


def account_after(*events: Event) -> AccountRow:
    row = None
    for event in on("account", ALICES_ACCOUNT, *events):
        row = evolve_account(row, event)
    assert row is not None
    return row


def statement_after(*events: Event) -> list[EntryRow]:
    return [entry for event in on("account", ALICES_ACCOUNT, *events) for entry in entries_of(event)]


def transfer_after(*events: Event) -> TransferRow:
    row = None
    for event in on("transfer", RENT, *events):
        row = evolve_transfer(row, event)
    assert row is not None
    return row


def customer_after(*events: Event) -> CustomerRow:
    row = None
    for event in on("customer", ALICE, *events):
        row = evolve_customer(row, event)
    assert row is not None
    return row


DEBITED = AccountDebited(
    amount=150_00, balance=350_00, transfer_id=RENT, counterparty_account_id=BOBS_ACCOUNT, description="Rent"
)
CREDITED = AccountCredited(
    amount=20_00, balance=370_00, transfer_id=RENT, counterparty_account_id=BOBS_ACCOUNT, description="Change"
)
REFUNDED = AccountDebitRefunded(amount=150_00, balance=500_00, transfer_id=RENT, counterparty_account_id=BOBS_ACCOUNT)


def test_an_account_shows_what_it_was_opened_with() -> None:
    row = account_after(opened(500_00))
    assert (row.account_id, row.customer_id, row.number, row.title) == (ALICES_ACCOUNT, ALICE, "1000-8", "Household")
    assert (row.currency, row.balance, row.state, row.version) == ("EUR", 500_00, "OPEN", 1)
    assert row.opened_at == row.changed_at


@pytest.mark.parametrize(
    ("event", "balance", "state"),
    [
        (CashDeposited(amount=1_00, balance=501_00, description=""), 501_00, "OPEN"),
        (CashWithdrawn(amount=1_00, balance=499_00, description=""), 499_00, "OPEN"),
        (DEBITED, 350_00, "OPEN"),
        (CREDITED, 370_00, "OPEN"),
        (REFUNDED, 500_00, "OPEN"),
        (AccountDebitFailedDueToInsufficientFunds(amount=900_00, balance=500_00, transfer_id=RENT), 500_00, "OPEN"),
        (AccountDebitRejected(amount=1, transfer_id=RENT, reason="account_frozen"), 500_00, "OPEN"),
        (AccountCreditRejected(amount=1, transfer_id=RENT, reason="account_closed"), 500_00, "OPEN"),
        (AccountFrozen(reason="Asked for"), 500_00, "FROZEN"),
        (AccountUnfrozen(reason="Settled"), 500_00, "OPEN"),
        (AccountClosed(reason="Moved"), 500_00, "CLOSED"),
        (
            CashEntryReversed(
                entry_id=STORY,
                entry_kind=CashEntryKind.DEPOSIT,
                amount=1_00,
                balance=499_00,
                reason="Counted twice",
            ),
            499_00,
            "OPEN",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)
def test_an_account_takes_balance_state_and_version_from_each_event(event: Event, balance: int, state: str) -> None:
    row = account_after(opened(500_00), event)
    assert (row.balance, row.state, row.version) == (balance, state, 2)


def test_a_statement_has_a_line_for_each_movement_and_no_other() -> None:
    lines = statement_after(
        opened(500_00),
        DEBITED,
        AccountDebitRejected(amount=1, transfer_id=RENT, reason="account_frozen"),
        CREDITED,
        AccountFrozen(reason="Asked for"),
        CashWithdrawn(amount=70_00, balance=300_00, description="At the counter"),
    )
    assert [(line.version, line.kind, line.amount, line.balance_after) for line in lines] == [
        (1, "opening", 500_00, 500_00),
        (2, "debit", -150_00, 350_00),
        (4, "credit", 20_00, 370_00),
        (6, "withdrawal", -70_00, 300_00),
    ]
    assert [(line.transfer_id, line.counterparty_account_id, line.description) for line in lines] == [
        (None, None, ""),
        (RENT, BOBS_ACCOUNT, "Rent"),
        (RENT, BOBS_ACCOUNT, "Change"),
        (None, None, "At the counter"),
    ]


def test_an_account_that_is_opened_empty_has_an_empty_statement() -> None:
    assert statement_after(opened(0)) == []


@pytest.mark.parametrize(("kind", "amount"), [(CashEntryKind.DEPOSIT, -5_00), (CashEntryKind.WITHDRAWAL, 5_00)])
def test_a_reversal_names_the_entry_that_it_undoes_and_goes_the_other_way(kind: CashEntryKind, amount: int) -> None:
    undone = CashEntryReversed(entry_id=STORY, entry_kind=kind, amount=5_00, balance=500_00, reason="Counted twice")
    (line,) = statement_after(undone)
    assert (line.kind, line.amount, line.reverses, line.description) == ("reversal", amount, STORY, "Counted twice")


def test_a_transfer_shows_its_details_from_the_first_event_on() -> None:
    row = transfer_after(MoneyTransferCreated(details=rent(reference="rent-11", metadata={"month": "11"})))
    assert (row.transfer_id, row.from_account_id, row.to_account_id) == (RENT, ALICES_ACCOUNT, BOBS_ACCOUNT)
    assert (row.amount, row.currency, row.description) == (150_00, "EUR", "Rent")
    assert (row.reference, row.metadata, row.initiated_by) == ("rent-11", {"month": "11"}, CAROL)
    assert (row.state, row.completed_at, row.correlation_id, row.version) == ("INITIAL", None, STORY, 1)


CREATED = MoneyTransferCreated(details=rent())
TAKEN = DebitRecorded(details=rent(), account_version=7)
REFUSED = CreditRejectionRecorded(details=rent(), reason="account_closed", account_version=4)


@pytest.mark.parametrize(
    ("events", "state", "reason", "versions"),
    [
        ([TAKEN], "DEBITED", None, (7, None)),
        ([TAKEN, CreditRecorded(account_version=3)], "COMPLETED", None, (7, 3)),
        (
            [FailedDebitRecorded(account_version=7)],
            "FAILED_DUE_TO_INSUFFICIENT_FUNDS",
            "insufficient_funds",
            (7, None),
        ),
        (
            [DebitRejectionRecorded(reason="account_frozen", account_version=7)],
            "REJECTED",
            "account_frozen",
            (7, None),
        ),
        ([TAKEN, REFUSED], "REFUNDING", "account_closed", (7, 4)),
        ([TAKEN, REFUSED, RefundRecorded(account_version=8)], "REFUNDED", "account_closed", (8, 4)),
        (
            [DebitRejectionRecorded(reason="discarded_by_operator", account_version=0)],
            "REJECTED",
            "discarded_by_operator",
            (None, None),
        ),
    ],
)
def test_a_transfer_shows_how_far_it_came_why_it_failed_and_what_to_wait_for(
    events: list[Event], state: str, reason: str | None, versions: tuple[int | None, int | None]
) -> None:
    row = transfer_after(CREATED, *events)
    assert (row.state, row.failure_reason) == (state, reason)
    assert (row.from_account_version, row.to_account_version) == versions
    assert (row.completed_at is not None) == (row.state in FINAL_STATUSES)


def test_a_transfer_s_steps_are_its_events() -> None:
    steps = [step_of(event) for event in on("transfer", RENT, CREATED, TAKEN)]
    assert [(step.version, step.event_type, step.actor) for step in steps] == [
        (1, "MoneyTransferCreated", CAROL),
        (2, "DebitRecorded", CAROL),
    ]


def test_a_customer_shows_what_was_last_said_of_them() -> None:
    row = customer_after(
        CustomerRegistered(name="Alice Andersson", email="alice@example.com", phone="1", reference="crm-1"),
        CustomerRenamed(name="Alice Brückner"),
        CustomerContactChanged(phone=None),
    )
    assert (row.name, row.email, row.phone, row.reference) == ("Alice Brückner", "alice@example.com", None, "crm-1")
    assert row.version == 3


@pytest.mark.parametrize(
    ("evolve", "stream_type", "stream_id", "events"),
    [
        (evolve_account, "account", ALICES_ACCOUNT, [opened(500_00), DEBITED, CREDITED]),
        (evolve_transfer, "transfer", RENT, [CREATED, TAKEN, CreditRecorded(account_version=3)]),
        (evolve_customer, "customer", ALICE, [CustomerRegistered(name="Alice"), CustomerRenamed(name="Al")]),
    ],
    ids=["account", "transfer", "customer"],
)
def test_a_row_is_not_changed_by_what_it_holds_already(
    evolve: Any, stream_type: str, stream_id: UUID, events: list[Event]
) -> None:
    history = on(stream_type, stream_id, *events)
    row = None
    for event in history:
        row = evolve(row, event)
    for event in (*history, *reversed(history)):
        assert evolve(row, event) is row


@pytest.mark.parametrize(
    ("evolve", "event"),
    [(evolve_account, DEBITED), (evolve_transfer, TAKEN), (evolve_customer, CustomerRenamed(name="Al"))],
    ids=["account", "transfer", "customer"],
)
def test_a_row_does_not_begin_in_the_middle_of_a_stream(evolve: Any, event: Event) -> None:
    with pytest.raises(EventCannotFollow):
        evolve(None, recorded(event, stream_type="any", stream_id=ALICE, version=2))


@pytest.mark.parametrize(
    ("id", "events"),
    [("views.accounts", AccountEvent), ("views.transfers", TransferEvent), ("views.customers", CustomerEvent)],
)
def test_no_event_of_a_stream_is_left_out_for_each_moves_the_version(id: str, events: Any) -> None:
    projection = subscriptions.get(id)
    assert isinstance(projection, Projection)
    assert projection.handles == frozenset(get_args(events))


def test_every_event_of_a_transfer_says_where_it_stands() -> None:
    assert set(STATUS_AFTER) == set(get_args(TransferEvent))
