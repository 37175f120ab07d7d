"""The second opinion on what each account event moves."""

from __future__ import annotations

from typing import get_args
from uuid import UUID

import pytest

from accounts.published.events import (
    AccountCredited,
    AccountDebited,
    AccountDebitRefunded,
    AccountEvent,
    AccountFrozen,
    AccountOpened,
    CashDeposited,
    CashEntryKind,
    CashEntryReversed,
    CashWithdrawn,
    balance_change,
)
from tests.unit.cast import ALICES_ACCOUNT, RENT, opened
from views_readmodel.verification.arithmetic import _SIGNED, UNMOVING, Change, Flow, change_of

_TRANSFER = {"transfer_id": RENT, "counterparty_account_id": ALICES_ACCOUNT}


def _reversed(kind: CashEntryKind) -> CashEntryReversed:
    return CashEntryReversed(entry_id=UUID(int=1), entry_kind=kind, amount=5, balance=0, reason="Mistake")


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (opened(5), Change(5, Flow.OPENED_WITH)),
        (CashDeposited(amount=5, balance=0, description=""), Change(5, Flow.DEPOSITED)),
        (CashWithdrawn(amount=5, balance=0, description=""), Change(-5, Flow.WITHDRAWN)),
        (_reversed(CashEntryKind.DEPOSIT), Change(-5, Flow.DEPOSITS_REVERSED)),
        (_reversed(CashEntryKind.WITHDRAWAL), Change(5, Flow.WITHDRAWALS_REVERSED)),
        (AccountDebited(amount=5, balance=0, description="", **_TRANSFER), Change(-5, Flow.BETWEEN_ACCOUNTS)),
        (AccountCredited(amount=5, balance=0, description="", **_TRANSFER), Change(5, Flow.BETWEEN_ACCOUNTS)),
        (AccountDebitRefunded(amount=5, balance=0, **_TRANSFER), Change(5, Flow.BETWEEN_ACCOUNTS)),
        (AccountFrozen(reason="a"), Change(0, Flow.NOWHERE)),
    ],
)
def test_it_says_what_an_event_moves_and_agrees_with_the_bank(event: AccountEvent, change: Change) -> None:
    assert change_of(event) == change
    assert balance_change(event) == change.amount


def test_it_knows_every_event_of_an_account() -> None:
    assert set(get_args(AccountEvent)) == {AccountOpened, CashEntryReversed, *_SIGNED, *UNMOVING}


def test_it_takes_only_what_moves_nothing_for_unmoving() -> None:
    assert all("transfer_id" in cls.__struct_fields__ or cls.__struct_fields__ == ("reason",) for cls in UNMOVING)
    assert all("counterparty_account_id" not in cls.__struct_fields__ for cls in UNMOVING)
