"""Stories of one account: each command meets each state."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args
from uuid import UUID

import pytest
from msgspec import structs

from accounts.domain.account import (
    ACCOUNT,
    AccountAlreadyOpened,
    AccountCommand,
    AccountIsClosed,
    AccountIsFrozen,
    AccountNotClosed,
    AccountNotEmpty,
    AccountNotFound,
    AccountNotFrozen,
    AccountState,
    CloseAccount,
    Closed,
    CreditAccount,
    DebitAccount,
    Deposit,
    FreezeAccount,
    Frozen,
    InsufficientFunds,
    NothingToPayOut,
    NotOpened,
    Open,
    OpenAccount,
    PayOutClosedAccount,
    RefundDebit,
    ReverseCashEntry,
    UnfreezeAccount,
    Withdraw,
)
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
    AccountOpened,
    AccountUnfrozen,
    CashDeposited,
    CashEntryKind,
    CashEntryReversed,
    CashWithdrawn,
)
from accounts.published.money import (
    MAX_AMOUNT_MINOR,
    MAX_BALANCE_MINOR,
    AmountNotPositive,
    CurrencyMismatch,
    LimitExceeded,
    UnknownCurrency,
)
from accounts.published.text import InvalidText, TextMissing, TextTooLong
from eventstore.refusals import EventCannotFollow, Refusal
from eventstore.testing import story
from tests.unit.cast import ALICE, BOBS_ACCOUNT, RENT, opened

given = story(ACCOUNT).given

ENTRY = UUID("01990000-0000-7000-8000-00000000e417")

open_account = OpenAccount(customer_id=ALICE, number="1000-8", title="Household", currency="EUR")
deposit = Deposit(amount=50_00, currency="EUR", description="Coins")
withdraw = Withdraw(amount=50_00, currency="EUR", description="Market")
reverse_deposit = ReverseCashEntry(entry_id=ENTRY, entry_kind=CashEntryKind.DEPOSIT, amount=50_00, reason="Typed twice")
reverse_withdrawal = ReverseCashEntry(
    entry_id=ENTRY, entry_kind=CashEntryKind.WITHDRAWAL, amount=50_00, reason="Typed twice"
)
debit = DebitAccount(
    transfer_id=RENT, amount=150_00, currency="EUR", counterparty_account_id=BOBS_ACCOUNT, description="Rent"
)
credit = CreditAccount(
    transfer_id=RENT, amount=150_00, currency="EUR", counterparty_account_id=BOBS_ACCOUNT, description="Rent"
)
refund = RefundDebit(transfer_id=RENT, amount=150_00, counterparty_account_id=BOBS_ACCOUNT)
freeze = FreezeAccount(reason="Court order")
unfreeze = UnfreezeAccount(reason="Order lifted")
close = CloseAccount(reason="Moved away")
pay_out = PayOutClosedAccount(reason="Paid to Alice")

frozen = AccountFrozen(reason="Court order")
unfrozen = AccountUnfrozen(reason="Order lifted")
closed = AccountClosed(reason="Moved away")


def refunded(*, balance: int) -> AccountDebitRefunded:
    return AccountDebitRefunded(amount=150_00, balance=balance, transfer_id=RENT, counterparty_account_id=BOBS_ACCOUNT)


def debit_rejected(reason: str) -> AccountDebitRejected:
    return AccountDebitRejected(amount=150_00, transfer_id=RENT, reason=reason)


def credit_rejected(reason: str) -> AccountCreditRejected:
    return AccountCreditRejected(amount=150_00, transfer_id=RENT, reason=reason)


# Opening.


def test_it_opens_an_empty_account() -> None:
    given().when(open_account).then(opened(0)).then_state(Open(balance=0, currency="EUR"))


def test_it_opens_an_account_with_an_initial_balance_and_a_reference() -> None:
    command = OpenAccount(
        customer_id=ALICE,
        number="1000-8",
        title="  Household ",
        currency="EUR",
        initial_balance=500_00,
        reference="core-17",
    )
    given().when(command).then(
        AccountOpened(
            customer_id=ALICE,
            number="1000-8",
            title="Household",
            currency="EUR",
            initial_balance=500_00,
            balance=500_00,
            reference="core-17",
        )
    )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"currency": "EURO"}, UnknownCurrency),
        ({"currency": "eur"}, UnknownCurrency),
        ({"currency": "XXX"}, UnknownCurrency),
        ({"initial_balance": -1}, AmountNotPositive),
        ({"initial_balance": MAX_AMOUNT_MINOR + 1}, LimitExceeded),
        ({"title": " "}, TextMissing),
        ({"title": "x" * 101}, TextTooLong),
        ({"title": "House\x00hold"}, InvalidText),
        ({"reference": "x" * 101}, TextTooLong),
    ],
)
def test_it_refuses_to_open_an_account_with_a_bad_field(changes: dict[str, Any], error: type[Exception]) -> None:
    fields: dict[str, Any] = {
        "customer_id": ALICE,
        "number": "1000-8",
        "title": "Household",
        "currency": "EUR",
        **changes,
    }
    given().when(OpenAccount(**fields)).then_raises(error)


# What every command does in every state.

EMPTY: list[AccountEvent] = [opened(0)]
RICH: list[AccountEvent] = [opened(500_00)]
POOR: list[AccountEvent] = [opened(10_00)]
FROZEN: list[AccountEvent] = [opened(500_00), frozen]
CLOSED: list[AccountEvent] = [opened(0), closed]
CLOSED_WITH_REFUND: list[AccountEvent] = [opened(0), closed, refunded(balance=150_00)]


NEED_AN_ACCOUNT: list[AccountCommand] = [
    deposit,
    withdraw,
    reverse_deposit,
    debit,
    credit,
    refund,
    freeze,
    unfreeze,
    close,
    pay_out,
]


@pytest.mark.parametrize("command", NEED_AN_ACCOUNT, ids=repr)
def test_it_knows_no_account_before_it_is_opened(command: AccountCommand) -> None:
    given().when(command).then_raises(AccountNotFound)


ANSWERS: list[tuple[list[AccountEvent], AccountCommand, AccountEvent]] = [
    # open, with money
    (RICH, deposit, CashDeposited(amount=50_00, balance=550_00, description="Coins")),
    (RICH, withdraw, CashWithdrawn(amount=50_00, balance=450_00, description="Market")),
    (
        RICH,
        reverse_deposit,
        CashEntryReversed(
            entry_id=ENTRY,
            entry_kind=CashEntryKind.DEPOSIT,
            amount=50_00,
            balance=450_00,
            reason="Typed twice",
        ),
    ),
    (
        RICH,
        reverse_withdrawal,
        CashEntryReversed(
            entry_id=ENTRY,
            entry_kind=CashEntryKind.WITHDRAWAL,
            amount=50_00,
            balance=550_00,
            reason="Typed twice",
        ),
    ),
    (
        RICH,
        debit,
        AccountDebited(
            amount=150_00,
            balance=350_00,
            transfer_id=RENT,
            counterparty_account_id=BOBS_ACCOUNT,
            description="Rent",
        ),
    ),
    (
        RICH,
        credit,
        AccountCredited(
            amount=150_00,
            balance=650_00,
            transfer_id=RENT,
            counterparty_account_id=BOBS_ACCOUNT,
            description="Rent",
        ),
    ),
    (RICH, refund, refunded(balance=650_00)),
    (RICH, freeze, frozen),
    # open, with little or nothing
    (
        POOR,
        debit,
        AccountDebitFailedDueToInsufficientFunds(amount=150_00, balance=10_00, transfer_id=RENT),
    ),
    (EMPTY, close, closed),
    # frozen
    (FROZEN, debit, debit_rejected("account_frozen")),
    (FROZEN, credit, credit_rejected("account_frozen")),
    (FROZEN, refund, refunded(balance=650_00)),
    (FROZEN, unfreeze, unfrozen),
    # closed
    (CLOSED, debit, debit_rejected("account_closed")),
    (CLOSED, credit, credit_rejected("account_closed")),
    (CLOSED, refund, refunded(balance=150_00)),
    (CLOSED_WITH_REFUND, debit, debit_rejected("account_closed")),
    (
        CLOSED_WITH_REFUND,
        pay_out,
        CashWithdrawn(amount=150_00, balance=0, description="Paid to Alice"),
    ),
]


@pytest.mark.parametrize(("past", "command", "expected"), ANSWERS)
def test_it_answers_a_command_with_an_event(
    past: list[AccountEvent], command: AccountCommand, expected: AccountEvent
) -> None:
    given(*past).when(command).then(expected)


REFUSALS: list[tuple[list[AccountEvent], AccountCommand, type[Refusal], str]] = [
    (RICH, open_account, AccountAlreadyOpened, "invalid_state"),
    (RICH, unfreeze, AccountNotFrozen, "invalid_state"),
    (RICH, close, AccountNotEmpty, "account_not_empty"),
    (RICH, pay_out, AccountNotClosed, "invalid_state"),
    (POOR, withdraw, InsufficientFunds, "insufficient_funds"),
    (POOR, reverse_deposit, InsufficientFunds, "insufficient_funds"),
    (FROZEN, open_account, AccountAlreadyOpened, "invalid_state"),
    (FROZEN, deposit, AccountIsFrozen, "account_frozen"),
    (FROZEN, withdraw, AccountIsFrozen, "account_frozen"),
    (FROZEN, reverse_deposit, AccountIsFrozen, "account_frozen"),
    (FROZEN, reverse_withdrawal, AccountIsFrozen, "account_frozen"),
    (FROZEN, freeze, AccountIsFrozen, "account_frozen"),
    (FROZEN, close, AccountIsFrozen, "account_frozen"),
    (FROZEN, pay_out, AccountNotClosed, "invalid_state"),
    (CLOSED, open_account, AccountAlreadyOpened, "invalid_state"),
    (CLOSED, deposit, AccountIsClosed, "account_closed"),
    (CLOSED, withdraw, AccountIsClosed, "account_closed"),
    (CLOSED, reverse_deposit, AccountIsClosed, "account_closed"),
    (CLOSED, reverse_withdrawal, AccountIsClosed, "account_closed"),
    (CLOSED, freeze, AccountIsClosed, "account_closed"),
    (CLOSED, unfreeze, AccountIsClosed, "account_closed"),
    (CLOSED, close, AccountIsClosed, "account_closed"),
    (CLOSED, pay_out, NothingToPayOut, "invalid_state"),
    (CLOSED_WITH_REFUND, withdraw, AccountIsClosed, "account_closed"),
]


@pytest.mark.parametrize(("past", "command", "error", "code"), REFUSALS)
def test_it_refuses_a_command_and_writes_nothing(
    past: list[AccountEvent], command: AccountCommand, error: type[Refusal], code: str
) -> None:
    given(*past).when(command).then_raises(error)
    assert error.code == code


def test_it_has_a_story_for_each_command_in_each_state() -> None:
    told = {(type(ACCOUNT.fold(past)), type(command)) for past, command, _ in ANSWERS}
    told |= {(type(ACCOUNT.fold(past)), type(command)) for past, command, _, _ in REFUSALS}
    told |= {(NotOpened, type(command)) for command in [open_account, *NEED_AN_ACCOUNT]}
    assert told == set(product(get_args(AccountState), get_args(AccountCommand)))


# Amounts, currencies, limits.


@pytest.mark.parametrize("amount", [0, -1, -150_00])
@pytest.mark.parametrize("command", [Deposit, Withdraw])
def test_it_refuses_cash_of_nothing_or_less(command: type[Deposit | Withdraw], amount: int) -> None:
    given(*RICH).when(command(amount=amount, currency="EUR")).then_raises(AmountNotPositive)


@pytest.mark.parametrize("command", [Deposit, Withdraw])
def test_it_refuses_cash_beyond_the_limit(command: type[Deposit | Withdraw]) -> None:
    given(*RICH).when(command(amount=MAX_AMOUNT_MINOR + 1, currency="EUR")).then_raises(LimitExceeded)


@pytest.mark.parametrize("command", [Deposit, Withdraw])
def test_it_refuses_cash_in_another_currency(command: type[Deposit | Withdraw]) -> None:
    given(*RICH).when(command(amount=1_00, currency="USD")).then_raises(CurrencyMismatch)


def test_it_pays_out_the_last_cent_but_not_one_more() -> None:
    given(*RICH).when(Withdraw(amount=500_00, currency="EUR")).then_state(Open(balance=0, currency="EUR"))
    given(*RICH).when(Withdraw(amount=500_01, currency="EUR")).then_raises(InsufficientFunds)


def test_it_debits_the_last_cent_but_not_one_more() -> None:
    exactly = DebitAccount(transfer_id=RENT, amount=500_00, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*RICH).when(exactly).then_state(Open(balance=0, currency="EUR"))
    more = DebitAccount(transfer_id=RENT, amount=500_01, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*RICH).when(more).then(
        AccountDebitFailedDueToInsufficientFunds(amount=500_01, balance=500_00, transfer_id=RENT)
    )


def nearly_full() -> list[AccountEvent]:
    """An account that takes 100.00 more."""
    past: list[AccountEvent] = [opened(0)]
    balance = 0
    while balance < MAX_BALANCE_MINOR - 100_00:
        amount = min(MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR - 100_00 - balance)
        balance += amount
        past.append(CashDeposited(amount=amount, balance=balance, description=""))
    return past


def test_it_is_filled_to_the_limit_and_no_further() -> None:
    full = given(*nearly_full()).when(Deposit(amount=100_00, currency="EUR"))
    full.then_state(Open(balance=MAX_BALANCE_MINOR, currency="EUR"))
    given(*nearly_full()).when(Deposit(amount=100_01, currency="EUR")).then_raises(LimitExceeded)
    too_much = ReverseCashEntry(
        entry_id=ENTRY, entry_kind=CashEntryKind.WITHDRAWAL, amount=100_01, reason="Typed twice"
    )
    given(*nearly_full()).when(too_much).then_raises(LimitExceeded)


def test_it_rejects_a_credit_that_would_overflow() -> None:
    given(*nearly_full()).when(credit).then(credit_rejected("limit_exceeded"))


def test_it_takes_a_credit_that_fills_it_to_the_limit() -> None:
    filling = CreditAccount(transfer_id=RENT, amount=100_00, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*nearly_full()).when(filling).then_state(Open(balance=MAX_BALANCE_MINOR, currency="EUR"))


@pytest.mark.parametrize("kind", CashEntryKind)
def test_it_reverses_only_what_could_have_been_an_entry(kind: CashEntryKind) -> None:
    for amount, error in ((0, AmountNotPositive), (-1, AmountNotPositive), (MAX_AMOUNT_MINOR + 1, LimitExceeded)):
        broken = ReverseCashEntry(entry_id=ENTRY, entry_kind=kind, amount=amount, reason="Typed twice")
        given(*RICH).when(broken).then_raises(error)


def test_it_takes_a_refund_even_when_it_is_full() -> None:
    given(*nearly_full()).when(refund).then(refunded(balance=MAX_BALANCE_MINOR + 50_00))


def test_it_refunds_only_what_could_have_been_debited() -> None:
    broken = RefundDebit(transfer_id=RENT, amount=0, counterparty_account_id=BOBS_ACCOUNT)
    given(*RICH).when(broken).then_raises(AmountNotPositive)


@pytest.mark.parametrize("amount", [1, MAX_AMOUNT_MINOR])
def test_it_moves_the_smallest_and_the_largest_amount(amount: int) -> None:
    holding = [opened(0), CashDeposited(amount=MAX_AMOUNT_MINOR, balance=MAX_AMOUNT_MINOR, description="")]
    taking = DebitAccount(transfer_id=RENT, amount=amount, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*holding).when(taking).then_state(Open(balance=MAX_AMOUNT_MINOR - amount, currency="EUR"))
    giving = CreditAccount(transfer_id=RENT, amount=amount, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*holding).when(giving).then_state(Open(balance=MAX_AMOUNT_MINOR + amount, currency="EUR"))


@pytest.mark.parametrize("amount", [0, -150_00, MAX_AMOUNT_MINOR + 1])
def test_it_rejects_a_transfer_with_an_impossible_amount(amount: int) -> None:
    taking = DebitAccount(transfer_id=RENT, amount=amount, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*RICH).when(taking).then(AccountDebitRejected(amount=amount, transfer_id=RENT, reason="invalid_amount"))
    giving = CreditAccount(transfer_id=RENT, amount=amount, currency="EUR", counterparty_account_id=BOBS_ACCOUNT)
    given(*RICH).when(giving).then(AccountCreditRejected(amount=amount, transfer_id=RENT, reason="invalid_amount"))


def test_it_rejects_a_transfer_in_another_currency() -> None:
    given(opened(500_00, currency="USD")).when(debit).then(debit_rejected("currency_mismatch"))
    given(opened(500_00, currency="USD")).when(credit).then(credit_rejected("currency_mismatch"))


# Texts.


def test_it_takes_texts_as_long_as_they_may_be_and_no_longer() -> None:
    given().when(structs.replace(open_account, title="x" * 100, reference="x" * 100)).then_state(
        Open(balance=0, currency="EUR")
    )
    given(*RICH).when(structs.replace(deposit, description="x" * 200)).then(
        CashDeposited(amount=50_00, balance=550_00, description="x" * 200)
    )
    given(*RICH).when(structs.replace(deposit, description="x" * 201)).then_raises(TextTooLong)
    given(*RICH).when(FreezeAccount(reason="x" * 500)).then(AccountFrozen(reason="x" * 500))
    given(*RICH).when(FreezeAccount(reason="x" * 501)).then_raises(TextTooLong)


@pytest.mark.parametrize(
    "command",
    [
        FreezeAccount(reason=""),
        CloseAccount(reason=" \t"),
        ReverseCashEntry(entry_id=ENTRY, entry_kind=CashEntryKind.WITHDRAWAL, amount=1, reason=""),
    ],
    ids=repr,
)
def test_it_demands_a_reason(command: AccountCommand) -> None:
    given(*EMPTY).when(command).then_raises(TextMissing)


@pytest.mark.parametrize(
    ("past", "command"), [(FROZEN, UnfreezeAccount(reason="")), (CLOSED_WITH_REFUND, PayOutClosedAccount(reason=""))]
)
def test_it_demands_a_reason_for_what_undoes(past: list[AccountEvent], command: AccountCommand) -> None:
    given(*past).when(command).then_raises(TextMissing)


def test_it_trims_a_description() -> None:
    given(*RICH).when(Deposit(amount=1_00, currency="EUR", description="  Coins \n")).then(
        CashDeposited(amount=1_00, balance=501_00, description="Coins")
    )


# History.


def test_it_moves_money_again_after_it_was_unfrozen() -> None:
    given(opened(500_00), frozen, unfrozen).when(withdraw).then_state(Open(balance=450_00, currency="EUR"))


def test_it_keeps_its_balance_while_frozen() -> None:
    given(*RICH).when(freeze).then_state(Frozen(balance=500_00, currency="EUR"))


def test_it_ends_empty() -> None:
    given(*EMPTY).when(close).then_state(Closed(balance=0, currency="EUR"))
    given(*CLOSED_WITH_REFUND).when(pay_out).then_state(Closed(balance=0, currency="EUR"))


IMPOSSIBLE_NEXT: dict[str, tuple[list[AccountEvent], list[AccountEvent]]] = {
    "before it is opened": (
        [],
        [
            CashDeposited(amount=1, balance=1, description=""),
            CashWithdrawn(amount=1, balance=-1, description=""),
            frozen,
            unfrozen,
            closed,
            debit_rejected("account_frozen"),
            credit_rejected("account_frozen"),
            refunded(balance=150_00),
        ],
    ),
    "while it is open": (RICH, [opened(0), unfrozen, closed]),
    "while it is frozen": (
        FROZEN,
        [
            opened(0),
            frozen,
            closed,
            CashDeposited(amount=1, balance=500_01, description=""),
            CashWithdrawn(amount=1, balance=499_99, description=""),
            CashEntryReversed(
                entry_id=ENTRY, entry_kind=CashEntryKind.DEPOSIT, amount=1, balance=499_99, reason="Wrong"
            ),
            AccountDebited(
                amount=1,
                balance=499_99,
                transfer_id=RENT,
                counterparty_account_id=BOBS_ACCOUNT,
                description="",
            ),
            AccountCredited(
                amount=1,
                balance=500_01,
                transfer_id=RENT,
                counterparty_account_id=BOBS_ACCOUNT,
                description="",
            ),
            AccountDebitFailedDueToInsufficientFunds(amount=600_00, balance=500_00, transfer_id=RENT),
        ],
    ),
    "after it was closed": (
        CLOSED,
        [
            opened(0),
            frozen,
            unfrozen,
            closed,
            CashDeposited(amount=1, balance=1, description=""),
            AccountCredited(
                amount=1,
                balance=1,
                transfer_id=RENT,
                counterparty_account_id=BOBS_ACCOUNT,
                description="",
            ),
            AccountDebitFailedDueToInsufficientFunds(amount=1, balance=0, transfer_id=RENT),
        ],
    ),
}


@pytest.mark.parametrize(
    ("past", "event"),
    [
        pytest.param(past, event, id=f"{type(event).__name__} {when}")
        for when, (past, impossible) in IMPOSSIBLE_NEXT.items()
        for event in impossible
    ],
)
def test_it_raises_on_an_event_that_cannot_follow(past: list[AccountEvent], event: AccountEvent) -> None:
    state = ACCOUNT.fold(past)
    with pytest.raises(EventCannotFollow, match=f"{type(event).__name__} cannot follow {type(state).__name__}"):
        ACCOUNT.evolve(state, event)


@pytest.mark.parametrize(
    "event",
    [
        CashDeposited(amount=50_00, balance=550_01, description=""),
        CashDeposited(amount=50_00, balance=450_00, description=""),
        CashWithdrawn(amount=500_01, balance=-1, description=""),
        AccountDebitFailedDueToInsufficientFunds(amount=600_00, balance=499_99, transfer_id=RENT),
    ],
    ids=repr,
)
def test_it_raises_on_a_balance_that_does_not_add_up(event: AccountEvent) -> None:
    with pytest.raises(EventCannotFollow):
        ACCOUNT.evolve(ACCOUNT.fold(RICH), event)


@pytest.mark.parametrize(("initial_balance", "balance"), [(1, 2), (-1, -1)])
def test_it_raises_on_an_opening_that_cannot_be(initial_balance: int, balance: int) -> None:
    event = AccountOpened(
        customer_id=ALICE,
        number="1000-8",
        title="Household",
        currency="EUR",
        initial_balance=initial_balance,
        balance=balance,
    )
    with pytest.raises(EventCannotFollow):
        ACCOUNT.evolve(ACCOUNT.initial, event)
