"""Customers, with their personal fields in plain text.

The tables are disposable: when a person's key is erased, rebuilding them leaves nothing of the person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import replace

from accounts.published.events import CustomerContactChanged, CustomerEvent, CustomerRegistered, CustomerRenamed
from eventstore.events import RecordedEvent
from eventstore.refusals import EventCannotFollow
from eventstore.subscriptions.registry import projection
from eventstore.tables import Row, Table, Tables
from views_readmodel.projections.folding import fold_into


class CustomerRow(Row, frozen=True):
    """A customer as they are."""

    customer_id: UUID
    name: str
    email: str | None
    phone: str | None
    reference: str | None
    created_at: datetime
    changed_at: datetime
    version: int  # of the stream: everything up to it is in this row


CUSTOMERS: Final = Table(
    "customer", CustomerRow, key=("customer_id",), version="version", fixed=("reference", "created_at")
)


def evolve_customer(row: CustomerRow | None, recorded: RecordedEvent[CustomerEvent]) -> CustomerRow:
    """The customer's row after the event; the same row when it holds the event already.

    Raises `EventCannotFollow` when the customer was never registered.
    """
    event = recorded.data
    if row is None:
        return _register(event, recorded)
    if recorded.version <= row.version:
        return row
    after = replace(row, changed_at=recorded.recorded_at, version=recorded.version)
    match event:
        case CustomerRenamed():
            return replace(after, name=event.name)
        case CustomerContactChanged():
            return replace(
                after,
                email=row.email if event.email is UNSET else event.email,
                phone=row.phone if event.phone is UNSET else event.phone,
            )
        case _:
            return after


@projection(
    id="views.customers",
    version=2,  # 2: found without accents
    handles=get_args(CustomerEvent),
    schema="readmodel",
    ddl=Path(__file__).with_name("customers.sql").read_text(encoding="utf-8"),
    tables=("customer",),
)
class CustomersProjection:
    """Keeps customers."""

    def project(self, events: Sequence[RecordedEvent[Any]], tables: Tables) -> None:
        """Applies a batch."""
        fold_into(tables, CUSTOMERS, evolve_customer, events)


def _register(event: CustomerEvent, recorded: RecordedEvent[Any]) -> CustomerRow:
    if not isinstance(event, CustomerRegistered):
        raise EventCannotFollow(state=None, event=event)
    return CustomerRow(
        customer_id=recorded.stream_id,
        name=event.name,
        email=event.email,
        phone=event.phone,
        reference=event.reference,
        created_at=recorded.recorded_at,
        changed_at=recorded.recorded_at,
        version=recorded.version,
    )
