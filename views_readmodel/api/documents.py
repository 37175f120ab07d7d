"""What the read API answers with: frozen Structs whose JSON is the body, made from rows of the read models.

Amounts become text with the currency's decimals here, and nowhere else on the way out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from accounts.published.events import AccountStatus
from accounts.published.money import AmountText, format_amount
from transfers.published.events import TransferStatus
from views_readmodel.projections.accounts import EntryKind
from views_readmodel.projections.customers import CustomerRow
from views_readmodel.projections.transfers import StepRow, TransferRow
from views_readmodel.queries import AccountView, EntryView, TransferView

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class CustomerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A customer."""

    customer_id: UUID
    name: str
    email: str | None
    phone: str | None
    reference: str | None
    created_at: Moment
    version: int


class Counterparty(msgspec.Struct, frozen=True, kw_only=True):
    """The account on the other side of a transfer; what cannot be seen yet is null."""

    account_id: UUID
    number: str | None
    title: str | None
    customer_name: str | None


class EntryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an account's statement."""

    entry_id: UUID
    kind: EntryKind
    amount: AmountText  # negative when money left
    balance_after: AmountText
    transfer_id: UUID | None
    counterparty: Counterparty | None
    reverses: UUID | None  # the entry that this one undoes
    description: str
    recorded_at: Moment
    version: int


class StepDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a transfer."""

    event_type: str
    recorded_at: Moment
    actor: str


class TransferDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer; its steps only where it is asked for alone."""

    transfer_id: UUID
    from_account_id: UUID
    to_account_id: UUID
    amount: AmountText
    currency: str
    description: str
    reference: str | None
    metadata: dict[str, str]
    state: TransferStatus
    failure_reason: str | None
    steps: list[StepDocument] | UnsetType = UNSET
    initiated_by: str
    approved_by: str | None
    reverses: UUID | None
    reversed_by: UUID | None
    created_at: Moment
    execute_at: Moment | None
    completed_at: Moment | None
    from_account_version: int | None
    to_account_version: int | None
    correlation_id: UUID
    version: int


class AccountDocument(msgspec.Struct, frozen=True, kw_only=True):
    """An account; the newest of its changes and transfers only where they are asked for."""

    account_id: UUID
    number: str
    title: str
    customer_id: UUID
    customer_name: str | None
    currency: str
    balance: AmountText
    state: AccountStatus
    opened_at: Moment
    reference: str | None
    version: int
    changes: list[EntryDocument] | UnsetType = UNSET
    transfers: list[TransferDocument] | UnsetType = UNSET


class CustomerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Customers, newest first."""

    data: list[CustomerDocument]
    next_cursor: str | None


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts, newest first."""

    data: list[AccountDocument]
    next_cursor: str | None


class EntryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a statement, newest first."""

    data: list[EntryDocument]
    next_cursor: str | None


class TransferPage(msgspec.Struct, frozen=True, kw_only=True):
    """Transfers, newest first."""

    data: list[TransferDocument]
    next_cursor: str | None


def customer_document(row: CustomerRow) -> CustomerDocument:
    """The customer's document."""
    return CustomerDocument(
        customer_id=row.customer_id,
        name=row.name,
        email=row.email,
        phone=row.phone,
        reference=row.reference,
        created_at=row.created_at,
        version=row.version,
    )


def account_document(
    view: AccountView,
    *,
    changes: list[EntryDocument] | UnsetType = UNSET,
    transfers: list[TransferDocument] | UnsetType = UNSET,
) -> AccountDocument:
    """The account's document."""
    return AccountDocument(
        account_id=view.account_id,
        number=view.number,
        title=view.title,
        customer_id=view.customer_id,
        customer_name=view.customer_name,
        currency=view.currency,
        balance=format_amount(view.balance, view.currency),
        state=AccountStatus(view.state),
        opened_at=view.opened_at,
        reference=view.reference,
        version=view.version,
        changes=changes,
        transfers=transfers,
    )


def entry_document(view: EntryView, *, currency: str) -> EntryDocument:
    """The line's document; `currency` is the account's."""
    return EntryDocument(
        entry_id=view.entry_id,
        kind=EntryKind(view.kind),
        amount=format_amount(view.amount, currency),
        balance_after=format_amount(view.balance_after, currency),
        transfer_id=view.transfer_id,
        counterparty=_counterparty(view),
        reverses=view.reverses,
        description=view.description,
        recorded_at=view.recorded_at,
        version=view.version,
    )


def transfer_document(row: TransferRow) -> TransferDocument:
    """The transfer's document, with its steps when the row has them."""
    return TransferDocument(
        transfer_id=row.transfer_id,
        from_account_id=row.from_account_id,
        to_account_id=row.to_account_id,
        amount=format_amount(row.amount, row.currency),
        currency=row.currency,
        description=row.description,
        reference=row.reference,
        metadata=row.metadata,
        state=TransferStatus(row.state),
        failure_reason=row.failure_reason,
        steps=[_step(step) for step in row.steps] if isinstance(row, TransferView) else UNSET,
        initiated_by=row.initiated_by,
        approved_by=row.approved_by,
        reverses=row.reverses,
        reversed_by=row.reversed_by,
        created_at=row.created_at,
        execute_at=row.execute_at,
        completed_at=row.completed_at,
        from_account_version=row.from_account_version,
        to_account_version=row.to_account_version,
        correlation_id=row.correlation_id,
        version=row.version,
    )


def _counterparty(view: EntryView) -> Counterparty | None:
    if view.counterparty_account_id is None:
        return None
    return Counterparty(
        account_id=view.counterparty_account_id,
        number=view.counterparty_number,
        title=view.counterparty_title,
        customer_name=view.counterparty_name,
    )


def _step(row: StepRow) -> StepDocument:
    return StepDocument(event_type=row.event_type, recorded_at=row.recorded_at, actor=row.actor)
