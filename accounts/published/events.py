"""The events of accounts and customers: what happened, as it is stored for ever. Pure.

Amounts and balances are integers in minor units of the account's currency; amounts are positive, and `balance_change`
knows their sign. `balance` is the account's balance after the event, so that a reader sets and never adds. A stored
name and the meaning of a field never change (a new shape is a new schema version). Every context may import this.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, assert_never
from uuid import UUID

from msgspec import UNSET, UnsetType

from eventstore.events import Event, Integer
from eventstore.registry import event


class AccountStatus(StrEnum):
    """Where an account stands."""

    OPEN = "OPEN"
    FROZEN = "FROZEN"  # moves no money, but takes back what a refused credit returns
    CLOSED = "CLOSED"  # for good; as frozen, and a supervisor pays out what comes back


class CashEntryKind(StrEnum):
    """The two kinds of cash entry."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"


class RejectionReason(StrEnum):
    """Why an account refuses its part of a transfer: the vocabulary of `reason`, the same codes as in the API."""

    ACCOUNT_FROZEN = "account_frozen"
    ACCOUNT_CLOSED = "account_closed"
    CURRENCY_MISMATCH = "currency_mismatch"
    INVALID_AMOUNT = "invalid_amount"
    LIMIT_EXCEEDED = "limit_exceeded"


# Customers. Personal fields are sealed: stored as ciphertext with the customer's own key.


@event("CustomerRegistered", sealed=("name", "email", "phone"))
class CustomerRegistered(Event):
    """A person or a firm became a customer."""

    name: str
    email: str | None = None
    phone: str | None = None
    reference: str | None = None  # the customer's key in another system, not sealed: never a person's data


@event("CustomerRenamed", sealed=("name",))
class CustomerRenamed(Event):
    """A customer goes by another name."""

    name: str


@event("CustomerContactChanged", sealed=("email", "phone"))
class CustomerContactChanged(Event):
    """A customer is reached in another way. A field that is not set did not change; None: there is none any more."""

    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET


# Accounts.


@event("AccountOpened")
class AccountOpened(Event):
    """An account was opened, with or without money in it."""

    customer_id: UUID
    number: str  # what people call it: short, with a check digit
    title: str
    currency: str  # ISO 4217; never changes
    initial_balance: Integer
    balance: Integer
    reference: str | None = None  # the account's key in another system


@event("CashDeposited")
class CashDeposited(Event):
    """Cash was paid in at the counter. The event's id is the entry's id."""

    amount: Integer
    balance: Integer
    description: str


@event("CashWithdrawn")
class CashWithdrawn(Event):
    """Cash was paid out at the counter. The event's id is the entry's id."""

    amount: Integer
    balance: Integer
    description: str


@event("CashEntryReversed")
class CashEntryReversed(Event):
    """A cash entry was undone as a mistake: a deposit taken out again, or a withdrawal put back."""

    entry_id: UUID  # the id of the event that is undone
    entry_kind: CashEntryKind  # of the entry that is undone
    amount: Integer
    balance: Integer
    reason: str


@event("AccountDebited")
class AccountDebited(Event):
    """A transfer took its amount out of the account."""

    amount: Integer
    balance: Integer
    transfer_id: UUID
    counterparty_account_id: UUID
    description: str


@event("AccountCredited")
class AccountCredited(Event):
    """A transfer put its amount into the account."""

    amount: Integer
    balance: Integer
    transfer_id: UUID
    counterparty_account_id: UUID
    description: str


@event("AccountDebitRefunded")
class AccountDebitRefunded(Event):
    """The amount of a transfer came back, because the other account refused it."""

    amount: Integer
    balance: Integer
    transfer_id: UUID
    counterparty_account_id: UUID


@event("AccountDebitFailedDueToInsufficientFunds")
class AccountDebitFailedDueToInsufficientFunds(Event):
    """A transfer asked for more than the account holds; nothing moved."""

    amount: Integer
    balance: Integer
    transfer_id: UUID


@event("AccountDebitRejected")
class AccountDebitRejected(Event):
    """The account refused a debit; nothing moved."""

    amount: Integer
    transfer_id: UUID
    reason: str  # a `RejectionReason`, or one that a later version knows


@event("AccountCreditRejected")
class AccountCreditRejected(Event):
    """The account refused a credit; nothing moved here, and the payer is to have the amount back."""

    amount: Integer
    transfer_id: UUID
    reason: str  # as in `AccountDebitRejected`


@event("AccountFrozen")
class AccountFrozen(Event):
    """The account moves no money until it is unfrozen."""

    reason: str


@event("AccountUnfrozen")
class AccountUnfrozen(Event):
    """The account moves money again."""

    reason: str


@event("AccountClosed")
class AccountClosed(Event):
    """The account was closed, empty and for good."""

    reason: str


CustomerEvent = CustomerRegistered | CustomerRenamed | CustomerContactChanged

AccountEvent = (
    AccountOpened
    | CashDeposited
    | CashWithdrawn
    | CashEntryReversed
    | AccountDebited
    | AccountCredited
    | AccountDebitRefunded
    | AccountDebitFailedDueToInsufficientFunds
    | AccountDebitRejected
    | AccountCreditRejected
    | AccountFrozen
    | AccountUnfrozen
    | AccountClosed
)

STATUS_AFTER: Final[Mapping[type[Event], AccountStatus]] = MappingProxyType(
    {
        AccountOpened: AccountStatus.OPEN,
        AccountFrozen: AccountStatus.FROZEN,
        AccountUnfrozen: AccountStatus.OPEN,
        AccountClosed: AccountStatus.CLOSED,
    }
)
"""The account's status after each event that changes it."""


def balance_change(event: AccountEvent) -> int:
    """What the event adds to the balance, in minor units: negative when it takes away, 0 when it moves nothing."""
    match event:
        case AccountDebited() | CashWithdrawn():
            return -event.amount
        case AccountCredited() | CashDeposited() | AccountDebitRefunded():
            return event.amount
        case AccountOpened():
            return event.initial_balance
        case CashEntryReversed():
            return event.amount if event.entry_kind == CashEntryKind.WITHDRAWAL else -event.amount
        case AccountDebitFailedDueToInsufficientFunds() | AccountDebitRejected() | AccountCreditRejected():
            return 0
        case AccountFrozen() | AccountUnfrozen() | AccountClosed():
            return 0
        case _:
            assert_never(event)
