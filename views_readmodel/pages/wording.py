"""The bank's codes in the words that people read: states, steps of transfers, reasons of refusals. Pure.

Invariant: a state is the same word with the same mark wherever it stands. A code that this module does not know is
shown as it is, never hidden. Imported by views and by the template tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from accounts.published.events import AccountStatus, RejectionReason
from transfers.published.events import DISCARDED_BY_OPERATOR, TransferStatus
from views_readmodel.projections.accounts import EntryKind


class Mark(msgspec.Struct, frozen=True):
    """How a state is shown: its word, the tone of its pill and the icon in it."""

    word: str
    tone: str  # settled, moving, refused, held or ended
    icon: str


_MARKS: Final[Mapping[str, Mark]] = {
    AccountStatus.OPEN: Mark("OPEN", "settled", "open"),
    AccountStatus.FROZEN: Mark("FROZEN", "held", "held"),
    AccountStatus.CLOSED: Mark("CLOSED", "ended", "closed"),
    "SCHEDULED": Mark("SCHEDULED", "held", "clock"),
    "AWAITING_APPROVAL": Mark("AWAITING APPROVAL", "held", "clock"),
    TransferStatus.INITIAL: Mark("INITIAL", "moving", "moving"),
    TransferStatus.DEBITED: Mark("DEBITED", "moving", "moving"),
    TransferStatus.REFUNDING: Mark("REFUNDING", "moving", "return"),
    TransferStatus.COMPLETED: Mark("COMPLETED", "settled", "check"),
    TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS: Mark("INSUFFICIENT FUNDS", "refused", "cross"),
    TransferStatus.REJECTED: Mark("REJECTED", "refused", "cross"),
    TransferStatus.REFUNDED: Mark("REFUNDED", "refused", "return"),
    "CANCELLED": Mark("CANCELLED", "ended", "cross"),
    "DECLINED": Mark("DECLINED", "ended", "cross"),
}

_ENTRY_KINDS: Final[Mapping[str, str]] = {
    EntryKind.OPENING: "Paid in at opening",
    EntryKind.DEPOSIT: "Deposit",
    EntryKind.WITHDRAWAL: "Withdrawal",
    EntryKind.REVERSAL: "Reversal",
    EntryKind.DEBIT: "Transfer to",
    EntryKind.CREDIT: "Transfer from",
    EntryKind.REFUND: "Refund from",
}

_WHY: Final[Mapping[str, str]] = {
    RejectionReason.ACCOUNT_FROZEN: "is frozen",
    RejectionReason.ACCOUNT_CLOSED: "is closed",
    RejectionReason.CURRENCY_MISMATCH: "is in another currency",
    RejectionReason.INVALID_AMOUNT: "does not take an amount like this",
    RejectionReason.LIMIT_EXCEEDED: "would hold more than the bank allows",
    DISCARDED_BY_OPERATOR: "could not be asked, and an operator ended the transfer",
}

_WHAT_TO_DO: Final[Mapping[str, str]] = {
    RejectionReason.ACCOUNT_FROZEN: "A supervisor can unfreeze it; then make the transfer again.",
    RejectionReason.ACCOUNT_CLOSED: "Choose another account of the customer and make the transfer again.",
    RejectionReason.LIMIT_EXCEEDED: "Choose another account, or a smaller amount.",
}


def mark_of(state: str) -> Mark:
    """How a state of an account or a transfer is shown."""
    return _MARKS.get(state) or Mark(state.replace("_", " "), "ended", "open")


def kind_of_entry(kind: str) -> str:
    """What a line of a statement is called; for a transfer, the name of the other side follows."""
    return _ENTRY_KINDS.get(kind) or kind.replace("_", " ").capitalize()


def why_refused(reason: str) -> str:
    """What is the matter with the account that refused, to follow "The account"."""
    return _WHY.get(reason) or f"refused ({reason.replace('_', ' ')})"


def what_to_do(reason: str) -> str:
    """What a teller can do about a refusal, or nothing."""
    return _WHAT_TO_DO.get(reason, "")


def who(actor: str) -> str:
    """An actor's name for people: a colleague's, a program's, or Daybook itself."""
    kind, _, name = actor.partition(":")
    return "Daybook" if kind == "system" else name or kind
