"""Transfers and their steps, kept together: a transfer's version says which steps are there too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args
from uuid import UUID

from msgspec.structs import replace

from eventstore.events import RecordedEvent
from eventstore.refusals import EventCannotFollow
from eventstore.subscriptions.registry import projection
from eventstore.tables import Row, Table, Tables
from transfers.published.events import (
    FINAL_STATUSES,
    STATUS_AFTER,
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferEvent,
)
from views_readmodel.projections.folding import add_to, fold_into

INSUFFICIENT_FUNDS: Final = "insufficient_funds"
"""The `failure_reason` of a transfer that the paying account did not hold the amount for."""


class TransferRow(Row, frozen=True):
    """A transfer as it is."""

    transfer_id: UUID
    from_account_id: UUID
    to_account_id: UUID
    amount: int  # minor units
    currency: str
    description: str
    reference: str | None
    metadata: dict[str, str]
    state: str
    failure_reason: str | None  # a code
    initiated_by: str
    approved_by: str | None
    reverses: UUID | None
    reversed_by: UUID | None
    created_at: datetime
    execute_at: datetime | None
    completed_at: datetime | None  # when it came to its end, whichever that is
    from_account_version: int | None  # the paying account's version since this transfer last touched it
    to_account_version: int | None  # the receiving account's
    correlation_id: UUID
    changed_at: datetime
    version: int  # of the stream: everything up to it is in this row and in the steps


class StepRow(Row, frozen=True):
    """One event of a transfer."""

    transfer_id: UUID
    version: int
    event_id: UUID
    event_type: str
    actor: str
    recorded_at: datetime


TRANSFERS: Final = Table(
    "transfer",
    TransferRow,
    key=("transfer_id",),
    version="version",
    fixed=(
        "from_account_id",
        "to_account_id",
        "amount",
        "currency",
        "description",
        "reference",
        "metadata",
        "initiated_by",
        "reverses",
        "created_at",
        "correlation_id",
    ),
)
STEPS: Final = Table("transfer_step", StepRow, key=("transfer_id", "version"))


def evolve_transfer(row: TransferRow | None, recorded: RecordedEvent[TransferEvent]) -> TransferRow:
    """The transfer's row after the event; the same row when it holds the event already.

    Raises `EventCannotFollow` when the transfer was never begun.
    """
    event = recorded.data
    if row is None:
        return _begin(event, recorded)
    if recorded.version <= row.version:
        return row
    status = STATUS_AFTER[type(event)]
    after = replace(
        row,
        state=status.value,
        completed_at=recorded.recorded_at if status in FINAL_STATUSES else None,
        changed_at=recorded.recorded_at,
        version=recorded.version,
    )
    match event:
        case FailedDebitRecorded():
            return replace(after, failure_reason=INSUFFICIENT_FUNDS, from_account_version=event.account_version or None)
        case DebitRejectionRecorded():
            return replace(after, failure_reason=event.reason, from_account_version=event.account_version or None)
        case CreditRejectionRecorded():
            return replace(after, failure_reason=event.reason, to_account_version=event.account_version or None)
        case DebitRecorded() | RefundRecorded():
            return replace(after, from_account_version=event.account_version or None)
        case CreditRecorded():
            return replace(after, to_account_version=event.account_version or None)
        case _:
            return after


def step_of(recorded: RecordedEvent[TransferEvent]) -> StepRow:
    """The event as a step of its transfer."""
    return StepRow(
        transfer_id=recorded.stream_id,
        version=recorded.version,
        event_id=recorded.event_id,
        event_type=recorded.name,
        actor=recorded.metadata.actor,
        recorded_at=recorded.recorded_at,
    )


@projection(
    id="views.transfers",
    version=2,  # 2: found by amount
    handles=get_args(TransferEvent),
    schema="readmodel",
    ddl=Path(__file__).with_name("transfers.sql").read_text(encoding="utf-8"),
    tables=("transfer", "transfer_step"),
)
class TransfersProjection:
    """Keeps transfers and steps."""

    def project(self, events: Sequence[RecordedEvent[Any]], tables: Tables) -> None:
        """Applies a batch."""
        fold_into(tables, TRANSFERS, evolve_transfer, events)
        add_to(tables, STEPS, map(step_of, events))


def _begin(event: TransferEvent, recorded: RecordedEvent[Any]) -> TransferRow:
    if not isinstance(event, MoneyTransferCreated):
        raise EventCannotFollow(state=None, event=event)
    details = event.details
    return TransferRow(
        transfer_id=recorded.stream_id,
        from_account_id=details.from_account_id,
        to_account_id=details.to_account_id,
        amount=details.amount,
        currency=details.currency,
        description=details.description,
        reference=details.reference,
        metadata=details.metadata,
        state=STATUS_AFTER[type(event)].value,
        failure_reason=None,
        initiated_by=details.initiated_by,
        approved_by=None,
        reverses=details.reverses,
        reversed_by=None,
        created_at=recorded.recorded_at,
        execute_at=None,
        completed_at=None,
        from_account_version=None,
        to_account_version=None,
        correlation_id=recorded.metadata.correlation_id,
        changed_at=recorded.recorded_at,
        version=recorded.version,
    )
