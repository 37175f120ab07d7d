"""Stories of one transfer: each step meets each state."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from accounts.published.money import (
    MAX_AMOUNT_MINOR,
    AmountNotPositive,
    CurrencyMismatch,
    LimitExceeded,
    UnknownCurrency,
)
from accounts.published.text import InvalidText, TextMissing, TextTooLong
from eventstore.refusals import EventCannotFollow, Refusal
from eventstore.testing import story
from tests.unit.cast import ALICES_ACCOUNT, rent
from transfers.domain.transfer import (
    MONEY_TRANSFER,
    Completed,
    Created,
    CreateTransfer,
    Debited,
    FailedDueToInsufficientFunds,
    Initial,
    InvalidMetadata,
    NotCreated,
    RecordCredit,
    RecordCreditRejection,
    RecordDebit,
    RecordDebitRejection,
    RecordFailedDebit,
    RecordRefund,
    Refunded,
    Refunding,
    Rejected,
    SameAccount,
    StepAlreadyRecorded,
    StepOutOfOrder,
    TransferAlreadyCreated,
    TransferNotFound,
    TransferState,
    TransferStep,
)
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
    TransferDetails,
    TransferEvent,
    TransferStatus,
)

given = story(MONEY_TRANSFER).given

created = MoneyTransferCreated(details=rent())
debit_recorded = DebitRecorded(details=rent(), account_version=2)
failed_debit_recorded = FailedDebitRecorded(account_version=2)
debit_rejection_recorded = DebitRejectionRecorded(reason="account_frozen", account_version=2)
credit_recorded = CreditRecorded(account_version=7)
credit_rejection_recorded = CreditRejectionRecorded(details=rent(), reason="account_closed", account_version=7)
refund_recorded = RefundRecorded(account_version=3)

record_debit = RecordDebit(account_version=2)
record_failed_debit = RecordFailedDebit(account_version=2)
record_debit_rejection = RecordDebitRejection(reason="account_frozen", account_version=2)
record_credit = RecordCredit(account_version=7)
record_credit_rejection = RecordCreditRejection(reason="account_closed", account_version=7)
record_refund = RecordRefund(account_version=3)

STEPS: list[TransferStep] = [
    record_debit,
    record_failed_debit,
    record_debit_rejection,
    record_credit,
    record_credit_rejection,
    record_refund,
]

PAST: dict[type[Created], list[TransferEvent]] = {
    Initial: [created],
    Debited: [created, debit_recorded],
    Completed: [created, debit_recorded, credit_recorded],
    Refunding: [created, debit_recorded, credit_rejection_recorded],
    Refunded: [created, debit_recorded, credit_rejection_recorded, refund_recorded],
    FailedDueToInsufficientFunds: [created, failed_debit_recorded],
    Rejected: [created, debit_rejection_recorded],
}


def create(details: TransferDetails, *, from_currency: str = "EUR", to_currency: str = "EUR") -> CreateTransfer:
    return CreateTransfer(details=details, from_currency=from_currency, to_currency=to_currency)


# Creating.


def test_it_sends_a_transfer_on_its_way() -> None:
    given().when(create(rent())).then(created).then_state(Initial(details=rent()))


def test_it_keeps_what_the_client_said_about_it() -> None:
    notes = {"invoice": " 2026-11 ", "empty": ""}
    said = rent(description="  Rent, November ", reference=" R-11 ", metadata=notes)
    given().when(create(said)).then(
        MoneyTransferCreated(details=rent(description="Rent, November", reference="R-11", metadata=notes))
    )


def test_it_keeps_as_much_as_a_client_may_say() -> None:
    notes = {f"{number:040}": "x" * 500 for number in range(20)}
    most = rent(MAX_AMOUNT_MINOR, description="x" * 200, reference="x" * 100, metadata=notes)
    given().when(create(most)).then(MoneyTransferCreated(details=most))


@pytest.mark.parametrize(
    ("command", "error", "code"),
    [
        (create(rent(to_account_id=ALICES_ACCOUNT)), SameAccount, "same_account"),
        (create(rent(0)), AmountNotPositive, "amount_not_positive"),
        (create(rent(-1)), AmountNotPositive, "amount_not_positive"),
        (create(rent(MAX_AMOUNT_MINOR + 1)), LimitExceeded, "limit_exceeded"),
        (create(rent(currency="EURO")), UnknownCurrency, "unknown_currency"),
        (create(rent(), from_currency="USD"), CurrencyMismatch, "currency_mismatch"),
        (create(rent(), to_currency="USD"), CurrencyMismatch, "currency_mismatch"),
        (create(rent(), from_currency="USD", to_currency="USD"), CurrencyMismatch, "currency_mismatch"),
        (create(rent(description="x" * 201)), TextTooLong, "text_too_long"),
        (create(rent(description="Re\u202ent")), InvalidText, "invalid_text"),
        (create(rent(reference="x" * 101)), TextTooLong, "text_too_long"),
        (create(rent(metadata={str(n): "" for n in range(21)})), InvalidMetadata, "invalid_metadata"),
        (create(rent(metadata={"": "x"})), TextMissing, "required"),
        (create(rent(metadata={"k" * 41: "x"})), TextTooLong, "text_too_long"),
        (create(rent(metadata={"key": "x" * 501})), TextTooLong, "text_too_long"),
        (create(rent(metadata={"key": "\u0000"})), InvalidText, "invalid_text"),
        (create(rent(metadata={"k\ud800": "x"})), InvalidText, "invalid_text"),
    ],
)
def test_it_refuses_a_bad_transfer_before_anything_is_written(
    command: CreateTransfer, error: type[Refusal], code: str
) -> None:
    given().when(command).then_raises(error)
    assert error.code == code


@pytest.mark.parametrize("past", PAST.values(), ids=[state.__name__ for state in PAST])
def test_it_is_created_once(past: list[TransferEvent]) -> None:
    given(*past).when(create(rent())).then_raises(TransferAlreadyCreated)


# The saga's steps.


@pytest.mark.parametrize(
    ("before", "step", "expected", "after"),
    [
        (Initial, record_debit, debit_recorded, Debited(details=rent())),
        (Initial, record_failed_debit, failed_debit_recorded, FailedDueToInsufficientFunds()),
        (Initial, record_debit_rejection, debit_rejection_recorded, Rejected()),
        (Debited, record_credit, credit_recorded, Completed()),
        (Debited, record_credit_rejection, credit_rejection_recorded, Refunding()),
        (Refunding, record_refund, refund_recorded, Refunded()),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_it_records_what_an_account_answered(
    before: type[Created], step: TransferStep, expected: TransferEvent, after: TransferState
) -> None:
    given(*PAST[before]).when(step).then(expected).then_state(after)


REPEATED: set[tuple[type[Created], type[TransferStep]]] = {
    (Debited, RecordDebit),
    (Completed, RecordDebit),
    (Completed, RecordCredit),
    (Refunding, RecordDebit),
    (Refunding, RecordCreditRejection),
    (Refunded, RecordDebit),
    (Refunded, RecordCreditRejection),
    (Refunded, RecordRefund),
    (FailedDueToInsufficientFunds, RecordFailedDebit),
    (Rejected, RecordDebitRejection),
}
EXPECTED: set[tuple[type[Created], type[TransferStep]]] = {
    (Initial, RecordDebit),
    (Initial, RecordFailedDebit),
    (Initial, RecordDebitRejection),
    (Debited, RecordCredit),
    (Debited, RecordCreditRejection),
    (Refunding, RecordRefund),
}


@pytest.mark.parametrize(
    ("before", "step"),
    [
        pytest.param(before, step, id=f"{type(step).__name__} when {before.__name__}")
        for before, step in product(PAST, STEPS)
        if (before, type(step)) not in EXPECTED
    ],
)
def test_it_refuses_a_repeat_and_a_step_out_of_order(before: type[Created], step: TransferStep) -> None:
    error = StepAlreadyRecorded if (before, type(step)) in REPEATED else StepOutOfOrder
    given(*PAST[before]).when(step).then_raises(error)


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_it_knows_no_transfer_before_it_is_created(step: TransferStep) -> None:
    given().when(step).then_raises(TransferNotFound)


def test_it_has_a_story_for_each_step_in_each_state() -> None:
    assert {type(step) for step in STEPS} == set(get_args(TransferStep))
    assert {NotCreated, *PAST} == set(get_args(TransferState))


# History.

EVENTS: list[TransferEvent] = [
    created,
    debit_recorded,
    failed_debit_recorded,
    debit_rejection_recorded,
    credit_recorded,
    credit_rejection_recorded,
    refund_recorded,
]
POSSIBLE: set[tuple[type[TransferState], type[TransferEvent]]] = {
    (NotCreated, MoneyTransferCreated),
    (Initial, DebitRecorded),
    (Initial, FailedDebitRecorded),
    (Initial, DebitRejectionRecorded),
    (Debited, CreditRecorded),
    (Debited, CreditRejectionRecorded),
    (Refunding, RefundRecorded),
}


@pytest.mark.parametrize(
    ("past", "event"),
    [
        pytest.param(past, event, id=f"{type(event).__name__} after {state.__name__}")
        for (state, past), event in product([(NotCreated, []), *PAST.items()], EVENTS)
        if (state, type(event)) not in POSSIBLE
    ],
)
def test_it_raises_on_an_event_that_cannot_follow(past: list[TransferEvent], event: TransferEvent) -> None:
    with pytest.raises(EventCannotFollow):
        MONEY_TRANSFER.evolve(MONEY_TRANSFER.fold(past), event)


@pytest.mark.parametrize(("state", "past"), PAST.items())
def test_it_publishes_the_status_that_its_state_has(state: type[Created], past: list[TransferEvent]) -> None:
    assert type(MONEY_TRANSFER.fold(past)) is state
    assert STATUS_AFTER[type(past[-1])] == state.status


def test_it_names_every_status_once() -> None:
    assert {state.status for state in PAST} == set(TransferStatus)
    assert set(STATUS_AFTER) == set(get_args(TransferEvent))


def test_it_ends_where_nothing_can_follow() -> None:
    unfinished = {state for state, _ in POSSIBLE}
    assert {state.status for state in PAST if state not in unfinished} == FINAL_STATUSES
