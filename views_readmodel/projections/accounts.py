"""Accounts and the entries of their statements, kept together: an account's version says which entries are there too.

Invariant: balances are set from events, never added up, so that handling an event twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args
from uuid import UUID

from msgspec.structs import replace

from accounts.published.events import (
    STATUS_AFTER,
    AccountCredited,
    AccountDebited,
    AccountDebitRefunded,
    AccountEvent,
    AccountOpened,
    CashDeposited,
    CashEntryReversed,
    CashWithdrawn,
    balance_change,
)
from eventstore.events import Event, RecordedEvent
from eventstore.refusals import EventCannotFollow
from eventstore.subscriptions.registry import projection
from eventstore.tables import Row, Table, Tables
from views_readmodel.projections.folding import add_to, fold_into


class EntryKind(StrEnum):
    """Why money moved in or out of an account."""

    OPENING = "opening"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    REVERSAL = "reversal"  # of a deposit or withdrawal that was a mistake
    DEBIT = "debit"  # a transfer's amount left
    CREDIT = "credit"  # a transfer's amount came
    REFUND = "refund"  # a transfer's amount came back


class AccountRow(Row, frozen=True):
    """An account as it is."""

    account_id: UUID
    number: str
    title: str
    customer_id: UUID
    currency: str
    balance: int  # minor units
    state: str
    reference: str | None
    opened_at: datetime
    changed_at: datetime
    version: int  # of the stream: everything up to it is in this row and in the entries


class EntryRow(Row, frozen=True):
    """A movement of money on an account."""

    account_id: UUID
    version: int  # of the event
    entry_id: UUID  # of the event
    kind: str
    amount: int  # minor units, negative when money left
    balance_after: int  # minor units
    transfer_id: UUID | None
    counterparty_account_id: UUID | None
    reverses: UUID | None  # the entry that this one undoes
    description: str
    recorded_at: datetime


ACCOUNTS: Final = Table(
    "account",
    AccountRow,
    key=("account_id",),
    version="version",
    fixed=("number", "title", "customer_id", "currency", "reference", "opened_at"),
)
ENTRIES: Final = Table("entry", EntryRow, key=("account_id", "version"))

_KINDS: Final[dict[type[Event], EntryKind]] = {
    AccountOpened: EntryKind.OPENING,
    CashDeposited: EntryKind.DEPOSIT,
    CashWithdrawn: EntryKind.WITHDRAWAL,
    CashEntryReversed: EntryKind.REVERSAL,
    AccountDebited: EntryKind.DEBIT,
    AccountCredited: EntryKind.CREDIT,
    AccountDebitRefunded: EntryKind.REFUND,
}


def evolve_account(row: AccountRow | None, recorded: RecordedEvent[AccountEvent]) -> AccountRow:
    """The account's row after the event; the same row when it holds the event already.

    Raises `EventCannotFollow` when the account was never opened.
    """
    event = recorded.data
    if row is None:
        return _open(event, recorded)
    if recorded.version <= row.version:
        return row
    status = STATUS_AFTER.get(type(event))
    return replace(
        row,
        balance=getattr(event, "balance", row.balance),  # an event that cannot move money does not carry it
        state=row.state if status is None else status.value,
        changed_at=recorded.recorded_at,
        version=recorded.version,
    )


def entries_of(recorded: RecordedEvent[AccountEvent]) -> list[EntryRow]:
    """The entry that the event makes, or none when no money moved."""
    event = recorded.data
    kind = _KINDS.get(type(event))
    amount = balance_change(event)
    if kind is None or amount == 0:  # an account may be opened empty
        return []
    return [
        EntryRow(
            account_id=recorded.stream_id,
            version=recorded.version,
            entry_id=recorded.event_id,
            kind=kind.value,
            amount=amount,
            balance_after=getattr(event, "balance"),  # noqa: B009 - each event with a kind has it
            transfer_id=getattr(event, "transfer_id", None),
            counterparty_account_id=getattr(event, "counterparty_account_id", None),
            reverses=event.entry_id if isinstance(event, CashEntryReversed) else None,
            description=event.reason if isinstance(event, CashEntryReversed) else getattr(event, "description", ""),
            recorded_at=recorded.recorded_at,
        )
    ]


@projection(
    id="views.accounts",
    version=2,  # 2: found without accents
    handles=get_args(AccountEvent),
    schema="readmodel",
    ddl=Path(__file__).with_name("accounts.sql").read_text(encoding="utf-8"),
    tables=("account", "entry"),
)
class AccountsProjection:
    """Keeps accounts and entries."""

    def project(self, events: Sequence[RecordedEvent[Any]], tables: Tables) -> None:
        """Applies a batch."""
        fold_into(tables, ACCOUNTS, evolve_account, events)
        add_to(tables, ENTRIES, (entry for recorded in events for entry in entries_of(recorded)))


def _open(event: AccountEvent, recorded: RecordedEvent[Any]) -> AccountRow:
    if not isinstance(event, AccountOpened):
        raise EventCannotFollow(state=None, event=event)
    return AccountRow(
        account_id=recorded.stream_id,
        number=event.number,
        title=event.title,
        customer_id=event.customer_id,
        currency=event.currency,
        balance=event.balance,
        state=STATUS_AFTER[AccountOpened].value,
        reference=event.reference,
        opened_at=recorded.recorded_at,
        changed_at=recorded.recorded_at,
        version=recorded.version,
    )
