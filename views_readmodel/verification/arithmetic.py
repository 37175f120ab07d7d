"""What each account event moves, written down a second time. Pure.

Invariant: nothing here is shared with the code that decides or projects, so that a mistake there shows as a difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

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
from eventstore.events import Event


class Flow(StrEnum):
    """Where money comes from or goes to."""

    OPENED_WITH = "opened with"
    DEPOSITED = "deposited"
    WITHDRAWN = "withdrawn"
    DEPOSITS_REVERSED = "deposits reversed"
    WITHDRAWALS_REVERSED = "withdrawals reversed"
    BETWEEN_ACCOUNTS = "between accounts"  # stays in the bank
    NOWHERE = "nowhere"  # nothing moves


BROUGHT: Final = (
    Flow.OPENED_WITH,
    Flow.DEPOSITED,
    Flow.WITHDRAWN,
    Flow.DEPOSITS_REVERSED,
    Flow.WITHDRAWALS_REVERSED,
)
"""The ways into the bank and out of it."""


class Change(NamedTuple):
    """What an event adds to its account's balance, in minor units, and by which way."""

    amount: int
    flow: Flow


_SIGNED: Final[Mapping[type[Event], tuple[int, Flow]]] = MappingProxyType(
    {
        CashDeposited: (1, Flow.DEPOSITED),
        CashWithdrawn: (-1, Flow.WITHDRAWN),
        AccountDebited: (-1, Flow.BETWEEN_ACCOUNTS),
        AccountCredited: (1, Flow.BETWEEN_ACCOUNTS),
        AccountDebitRefunded: (1, Flow.BETWEEN_ACCOUNTS),
    }
)
UNMOVING: Final = frozenset(
    {
        AccountDebitFailedDueToInsufficientFunds,
        AccountDebitRejected,
        AccountCreditRejected,
        AccountFrozen,
        AccountUnfrozen,
        AccountClosed,
    }
)
"""Events that leave every balance as it is."""


def change_of(event: AccountEvent) -> Change:
    """What the event adds to the balance. Raises LookupError for an event that this module was never told about."""
    match event:
        case AccountOpened():
            return Change(event.initial_balance, Flow.OPENED_WITH)
        case CashEntryReversed() if event.entry_kind == CashEntryKind.DEPOSIT:
            return Change(-event.amount, Flow.DEPOSITS_REVERSED)
        case CashEntryReversed():
            return Change(event.amount, Flow.WITHDRAWALS_REVERSED)
    if type(event) in UNMOVING:
        return Change(0, Flow.NOWHERE)
    sign, flow = _SIGNED[type(event)]
    return Change(sign * getattr(event, "amount"), flow)  # noqa: B009 - each event with a sign has it
