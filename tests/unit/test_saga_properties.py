"""The saga as a whole: its branches, and what holds whatever happens in between.

Nothing but pure functions runs here, so that thousands of histories take seconds. The same properties are tested on
the real store elsewhere.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.domain.account import (
    ACCOUNT,
    CloseAccount,
    Deposit,
    FreezeAccount,
    PayOutClosedAccount,
    UnfreezeAccount,
    Withdraw,
)
from accounts.published.events import AccountCredited, AccountDebited, AccountDebitRefunded, balance_change
from eventstore.events import Event
from tests.unit.bank import Bank
from tests.unit.cast import ALICES_ACCOUNT, BOBS_ACCOUNT, CAROLS_ACCOUNT
from transfers.domain.transfer import (
    MONEY_TRANSFER,
    Completed,
    Created,
    FailedDueToInsufficientFunds,
    Refunded,
    Rejected,
)

MOVED = {
    Completed: Counter({AccountDebited: 1, AccountCredited: 1}),
    Refunded: Counter({AccountDebited: 1, AccountDebitRefunded: 1}),
    FailedDueToInsufficientFunds: Counter(),
    Rejected: Counter(),
}
"""What the accounts did about a transfer, by how it ended."""


def bank_of_alice_and_bob() -> Bank:
    bank = Bank()
    bank.open(ALICES_ACCOUNT, balance=500_00)
    bank.open(BOBS_ACCOUNT, balance=100_00)
    return bank


def balances(bank: Bank) -> tuple[int, ...]:
    return tuple(bank.states[account].balance for account in (ALICES_ACCOUNT, BOBS_ACCOUNT))


def pay(bank: Bank, amount: int) -> type[Created]:
    bank.transfer(from_account_id=ALICES_ACCOUNT, to_account_id=BOBS_ACCOUNT, amount=amount)
    bank.settle()
    (state,) = bank.of_kind(MONEY_TRANSFER).values()
    return type(state)


def test_it_completes_a_transfer() -> None:
    bank = bank_of_alice_and_bob()
    assert pay(bank, 150_00) is Completed
    assert balances(bank) == (350_00, 250_00)


def test_it_fails_a_transfer_of_more_than_there_is() -> None:
    bank = bank_of_alice_and_bob()
    assert pay(bank, 500_01) is FailedDueToInsufficientFunds
    assert balances(bank) == (500_00, 100_00)


def test_it_rejects_a_transfer_from_a_frozen_account() -> None:
    bank = bank_of_alice_and_bob()
    bank.execute(ACCOUNT, ALICES_ACCOUNT, FreezeAccount(reason="Court order"))
    assert pay(bank, 150_00) is Rejected
    assert balances(bank) == (500_00, 100_00)


def test_it_refunds_a_transfer_to_a_closed_account() -> None:
    bank = bank_of_alice_and_bob()
    bank.execute(ACCOUNT, BOBS_ACCOUNT, Withdraw(amount=100_00, currency="EUR"))
    bank.execute(ACCOUNT, BOBS_ACCOUNT, CloseAccount(reason="Moved away"))
    assert pay(bank, 150_00) is Refunded
    assert balances(bank) == (500_00, 0)


def test_it_refunds_even_an_account_that_was_closed_meanwhile() -> None:
    bank = bank_of_alice_and_bob()
    bank.execute(ACCOUNT, BOBS_ACCOUNT, FreezeAccount(reason="Court order"))
    bank.transfer(from_account_id=ALICES_ACCOUNT, to_account_id=BOBS_ACCOUNT, amount=500_00)
    bank.handle(0)  # Alice's account is empty now
    assert bank.execute(ACCOUNT, ALICES_ACCOUNT, CloseAccount(reason="Moved away"))
    bank.settle()
    assert balances(bank) == (500_00, 100_00)
    assert bank.execute(ACCOUNT, ALICES_ACCOUNT, PayOutClosedAccount(reason="Paid to Alice"))
    assert balances(bank) == (0, 100_00)


@pytest.mark.parametrize(
    ("steps", "ending", "expected"), [(0, Rejected, (500_00, 100_00)), (2, Refunded, (500_00, 100_00))]
)
def test_it_ends_a_transfer_that_an_operator_gives_up(
    steps: int, ending: type[Created], expected: tuple[int, ...]
) -> None:
    bank = bank_of_alice_and_bob()
    bank.transfer(from_account_id=ALICES_ACCOUNT, to_account_id=BOBS_ACCOUNT, amount=150_00)
    for _ in range(steps):
        bank.handle(0)
    assert bank.discard(0)
    bank.settle()
    (state,) = bank.of_kind(MONEY_TRANSFER).values()
    assert type(state) is ending
    assert balances(bank) == expected


# Whatever happens in between.

ACCOUNTS = (ALICES_ACCOUNT, BOBS_ACCOUNT, CAROLS_ACCOUNT)
amounts = st.integers(1, 300_00)
account_ids = st.sampled_from(ACCOUNTS)
indexes = st.integers(0, 2**16)
personal = st.one_of(
    st.builds(Deposit, amount=amounts, currency=st.just("EUR")),
    st.builds(Withdraw, amount=amounts, currency=st.just("EUR")),
    st.just(FreezeAccount(reason="Court order")),
    st.just(UnfreezeAccount(reason="Order lifted")),
    st.just(CloseAccount(reason="Moved away")),
    st.just(PayOutClosedAccount(reason="Paid out")),
)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("transfer"), account_ids, account_ids, amounts),
        st.tuples(st.just("transfer"), account_ids, account_ids, amounts),
        st.tuples(st.just("command"), account_ids, personal),
        st.tuples(st.sampled_from(["handle", "handle", "handle", "handle again", "discard", "discard late"]), indexes),
    ),
    min_size=10,
    max_size=80,
)
opening_balances = st.tuples(*[st.integers(0, 500_00)] * len(ACCOUNTS))


def happen(bank: Bank, what: str, *how: Any) -> None:
    match what, how:
        case "transfer", (UUID() as payer, UUID() as payee, int() as amount):
            bank.transfer(from_account_id=payer, to_account_id=payee, amount=amount)
        case "command", (UUID() as account, command):
            bank.execute(ACCOUNT, account, command)
        case "handle", (int() as index,) if bank.waiting:
            bank.handle(index % len(bank.waiting))
        case "discard", (int() as index,) if bank.waiting:
            bank.discard(index % len(bank.waiting))
        case "handle again", (int() as index,) if bank.handled:
            assert not bank.handle_again(index % len(bank.handled))
        case "discard late", (int() as index,) if bank.handled:
            assert not bank.discard_late(index % len(bank.handled))


def in_flight(bank: Bank) -> int:
    """What was taken from one account and has not arrived anywhere yet, in minor units."""
    sign: dict[type[Event], int] = {AccountDebited: 1, AccountCredited: -1, AccountDebitRefunded: -1}
    return sum(sign.get(type(event.data), 0) * getattr(event.data, "amount", 0) for event in bank.events(ACCOUNT))


def cash(bank: Bank) -> int:
    """What came over the counter, in minor units."""
    moved = (AccountDebited, AccountCredited, AccountDebitRefunded)
    return sum(balance_change(event.data) for event in bank.events(ACCOUNT) if not isinstance(event.data, moved))


@settings(max_examples=150)
@given(opening=opening_balances, history=happenings)
def test_it_loses_and_makes_no_money_and_ends_every_transfer(
    opening: tuple[int, ...], history: list[tuple[Any, ...]]
) -> None:
    bank = Bank()
    for account, balance in zip(ACCOUNTS, opening, strict=True):
        bank.open(account, balance=balance)
    for what, *how in history:
        happen(bank, what, *how)
        held = [state.balance for state in bank.of_kind(ACCOUNT).values()]
        assert min(held) >= 0
        assert sum(held) + in_flight(bank) == cash(bank)
        assert in_flight(bank) >= 0
    bank.settle()
    assert in_flight(bank) == 0
    for transfer_id, state in bank.of_kind(MONEY_TRANSFER).items():
        assert bank.movements(transfer_id) == MOVED[type(state)]
    for stream_id, stream in bank.streams.items():
        replayed = bank.aggregates[stream_id].fold(event.data for event in stream)
        assert replayed == bank.states[stream_id]
