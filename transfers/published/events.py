"""The events of a money transfer: the steps of its saga, as they are stored for ever. Pure.

`MoneyTransferCreated` means: go. What comes before it (a schedule, an approval) may still be called off; what comes
after it always runs to an end. `account_version` is the version that the account's stream had at the step, so that a
reader can wait until it sees that account's side; 0 when no account took part. A stored name and the meaning of a
field never change. Every context may import this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from eventstore.events import Event, Integer
from eventstore.registry import event


class TransferStatus(StrEnum):
    """Where a transfer stands."""

    INITIAL = "INITIAL"  # on its way: the paying account is being asked
    DEBITED = "DEBITED"  # taken from the one account, not yet put into the other
    REFUNDING = "REFUNDING"  # refused by the receiving account, on its way back
    COMPLETED = "COMPLETED"
    FAILED_DUE_TO_INSUFFICIENT_FUNDS = "FAILED_DUE_TO_INSUFFICIENT_FUNDS"
    REJECTED = "REJECTED"  # the paying account refused
    REFUNDED = "REFUNDED"


FINAL_STATUSES: Final = frozenset(
    {
        TransferStatus.COMPLETED,
        TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS,
        TransferStatus.REJECTED,
        TransferStatus.REFUNDED,
    }
)
"""Nothing follows these."""

DISCARDED_BY_OPERATOR: Final = "discarded_by_operator"
"""The `reason` of a step that an operator ended, because the account could not be asked."""


MAX_METADATA_ENTRIES: Final = 20
"""Of the client's own notes."""


class TransferDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What a transfer is about; the same from its first event to its last."""

    from_account_id: UUID
    to_account_id: UUID
    amount: Integer  # minor units, positive
    currency: str  # ISO 4217, of both accounts
    initiated_by: str  # the actor who asked for it; whoever approves or releases it may be another
    description: str = ""  # what the statements of both accounts show
    reference: str | None = None  # the client's own key for it
    metadata: dict[str, str] = {}  # the client's own notes; msgspec gives each instance its own dict
    reverses: UUID | None = None  # the transfer that this one takes back


@event("MoneyTransferCreated")
class MoneyTransferCreated(Event):
    """The transfer was released: it runs to an end from here on."""

    details: TransferDetails


@event("DebitRecorded")
class DebitRecorded(Event):
    """The paying account gave the amount; the receiving one is to have it."""

    details: TransferDetails
    account_version: Integer  # of the paying account


@event("FailedDebitRecorded")
class FailedDebitRecorded(Event):
    """The paying account does not hold the amount; the transfer ends."""

    account_version: Integer  # of the paying account


@event("DebitRejectionRecorded")
class DebitRejectionRecorded(Event):
    """The paying account refused; the transfer ends."""

    reason: str
    account_version: Integer  # of the paying account


@event("CreditRecorded")
class CreditRecorded(Event):
    """The receiving account has the amount; the transfer is complete."""

    account_version: Integer  # of the receiving account


@event("CreditRejectionRecorded")
class CreditRejectionRecorded(Event):
    """The receiving account refused; the paying one is to have the amount back."""

    details: TransferDetails
    reason: str
    account_version: Integer  # of the receiving account


@event("RefundRecorded")
class RefundRecorded(Event):
    """The paying account has the amount back; the transfer ends."""

    account_version: Integer  # of the paying account


TransferEvent = (
    MoneyTransferCreated
    | DebitRecorded
    | FailedDebitRecorded
    | DebitRejectionRecorded
    | CreditRecorded
    | CreditRejectionRecorded
    | RefundRecorded
)

STATUS_AFTER: Final[Mapping[type[Event], TransferStatus]] = MappingProxyType(
    {
        MoneyTransferCreated: TransferStatus.INITIAL,
        DebitRecorded: TransferStatus.DEBITED,
        FailedDebitRecorded: TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS,
        DebitRejectionRecorded: TransferStatus.REJECTED,
        CreditRecorded: TransferStatus.COMPLETED,
        CreditRejectionRecorded: TransferStatus.REFUNDING,
        RefundRecorded: TransferStatus.REFUNDED,
    }
)
"""The transfer's status after each of its events."""
