"""What the reader of the log in the fault tests takes for impossible: each of these is a bank that does wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.tail import Contradiction, Tail

Row = tuple[int, str, str, int, str, dict[str, Any]]
TRANSFER = {"transfer_id": "one"}
FROZEN, CLOSED = ("AccountFrozen", {"reason": ""}), ("AccountClosed", {"reason": ""})
EMPTIED = [("CashWithdrawn", {"amount": 100, "balance": 0})]
BACK = ("AccountDebitRefunded", {"amount": 5, "balance": 5, **TRANSFER})


def _account(*events: tuple[str, dict[str, Any]], balance: int = 100) -> list[Row]:
    opened = ("AccountOpened", {"currency": "EUR", "initial_balance": balance, "balance": balance})
    return [
        (version, "account", "alice", version, event_type, data)
        for version, (event_type, data) in enumerate([opened, *events], start=1)
    ]


def _transfer(*event_types: str) -> list[Row]:
    return [
        (version, "transfer", "one", version, event_type, {}) for version, event_type in enumerate(event_types, start=1)
    ]


def _tail() -> Tail:
    return Tail(database_url="")


@pytest.mark.parametrize(
    "events",
    [
        [("AccountDebited", {"amount": 100, "balance": 0, **TRANSFER})],
        [("AccountCredited", {"amount": 1, "balance": 101, **TRANSFER})],
        [("AccountDebitFailedDueToInsufficientFunds", {"amount": 101, "balance": 100, **TRANSFER})],
        [("CashEntryReversed", {"entry_kind": "deposit", "amount": 40, "balance": 60})],
        [("CashEntryReversed", {"entry_kind": "withdrawal", "amount": 40, "balance": 140})],
        [FROZEN, ("AccountDebitRejected", {"amount": 1, "reason": "account_frozen", **TRANSFER})],
        [FROZEN, ("AccountUnfrozen", {"reason": ""}), ("AccountDebited", {"amount": 1, "balance": 99, **TRANSFER})],
        [FROZEN, ("AccountUnfrozen", {"reason": ""}), ("CashDeposited", {"amount": 1, "balance": 101})],
        [*EMPTIED, CLOSED, ("AccountCreditRejected", {"amount": 1, "reason": "account_closed", **TRANSFER})],
        [*EMPTIED, CLOSED, ("AccountDebitRefunded", {"amount": 1, "balance": 1, **TRANSFER})],
        [*EMPTIED, CLOSED, BACK, ("CashWithdrawn", {"amount": 5, "balance": 0})],
    ],
)
def test_what_a_bank_does_is_taken_in(events: list[tuple[str, dict[str, Any]]]) -> None:
    tail = _tail()
    tail.fold(_account(*events))
    assert tail.position == 1 + len(events)


@pytest.mark.parametrize(
    "events",
    [
        [("AccountDebited", {"amount": 40, "balance": 61, **TRANSFER})],
        [("AccountDebited", {"amount": 101, "balance": -1, **TRANSFER})],
        [("CashEntryReversed", {"entry_kind": "deposit", "amount": 40, "balance": 140})],
        [FROZEN, ("CashDeposited", {"amount": 1, "balance": 101})],
        [FROZEN, ("CashWithdrawn", {"amount": 1, "balance": 99})],
        [FROZEN, ("CashEntryReversed", {"entry_kind": "deposit", "amount": 40, "balance": 60})],
        [FROZEN, FROZEN],
        [FROZEN, CLOSED],
        [("AccountUnfrozen", {"reason": ""})],
        [CLOSED],
        [*EMPTIED, CLOSED, BACK, ("CashWithdrawn", {"amount": 4, "balance": 1})],
        [("AccountDebitFailedDueToInsufficientFunds", {"amount": 100, "balance": 100, **TRANSFER})],
        [("AccountDebitRejected", {"amount": 1, "reason": "account_frozen", **TRANSFER})],
        [("AccountDebitRejected", {"amount": 1, "reason": "currency_mismatch", **TRANSFER})],
        [FROZEN, ("AccountDebitRejected", {"amount": 1, "reason": "account_closed", **TRANSFER})],
        [FROZEN, ("AccountDebited", {"amount": 1, "balance": 99, **TRANSFER})],
        [FROZEN, ("AccountDebitFailedDueToInsufficientFunds", {"amount": 101, "balance": 100, **TRANSFER})],
        [*EMPTIED, CLOSED, ("AccountCredited", {"amount": 1, "balance": 1, **TRANSFER})],
        [FROZEN, ("AccountCreditRejected", {"amount": 1, "reason": "account_open", **TRANSFER})],
    ],
)
def test_what_no_bank_should_do_is_a_contradiction(events: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(Contradiction):
        _tail().fold(_account(*events))


@pytest.mark.parametrize(
    "rows",
    [
        [_account()[0], (3, *_account(FROZEN)[1][1:])],
        [_account()[0], (2, "account", "alice", 3, *FROZEN)],
        _transfer("MoneyTransferCreated", "CreditRecorded", "RefundRecorded"),
    ],
    ids=["a position is missing", "a version is missing", "a transfer ends twice"],
)
def test_a_log_with_a_hole_or_a_second_end_is_a_contradiction(rows: list[Row]) -> None:
    with pytest.raises(Contradiction):
        _tail().fold(rows)


def test_a_transfer_is_open_until_it_ends() -> None:
    tail = _tail()
    tail.fold(_transfer("MoneyTransferCreated"))
    assert tail.unfinished() == {"one"}
    tail.fold([(2, "transfer", "one", 2, "RefundRecorded", {})])
    assert tail.unfinished() == set()
    assert tail.states == {"one": "REFUNDED"}
