"""The cast of every bank story: Alice pays, Bob is paid, Carol serves at the counter. All ids are fixed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from accounts.published.events import AccountOpened
from eventstore.events import Event, RecordedEvent
from eventstore.ids import derive_id
from eventstore.metadata import Metadata
from eventstore.registry import events
from transfers.published.events import TransferDetails

E = TypeVar("E", bound=Event)

ALICE = UUID("01990000-0000-7000-8000-00000000a11c")
BOB = UUID("01990000-0000-7000-8000-00000000b0b0")

ALICES_ACCOUNT = UUID("01990000-0000-7000-8000-0000000acc0a")
BOBS_ACCOUNT = UUID("01990000-0000-7000-8000-0000000acc0b")
CAROLS_ACCOUNT = UUID("01990000-0000-7000-8000-0000000acc0c")
RENT = UUID("01990000-0000-7000-8000-000000000e27")
"""The transfer of the stories: Alice pays Bob the rent."""

CAROL = "staff:carol"
STORY = UUID("01990000-0000-7000-8000-00000000570e")


def opened(balance: int, *, currency: str = "EUR") -> AccountOpened:
    """Alice's account, opened with this balance in minor units."""
    return AccountOpened(
        customer_id=ALICE,
        number="1000-8",
        title="Household",
        currency=currency,
        initial_balance=balance,
        balance=balance,
    )


def rent(
    amount: int = 150_00,
    *,
    to_account_id: UUID = BOBS_ACCOUNT,
    currency: str = "EUR",
    description: str = "Rent",
    reference: str | None = None,
    metadata: dict[str, str] | None = None,
) -> TransferDetails:
    """The details of Alice's payment to Bob."""
    return TransferDetails(
        from_account_id=ALICES_ACCOUNT,
        to_account_id=to_account_id,
        amount=amount,
        currency=currency,
        description=description,
        reference=reference,
        metadata=metadata or {},
        initiated_by=CAROL,
    )


def recorded(
    event: E, *, stream_type: str, stream_id: UUID, version: int, event_id: UUID | None = None
) -> RecordedEvent[E]:
    """The event as the store would hand it to a handler."""
    return RecordedEvent(
        event_id=event_id or derive_id(stream_id, "tests", version),
        stream_type=stream_type,
        stream_id=stream_id,
        version=version,
        name=events.type_of(type(event)).name,
        data=event,
        metadata=Metadata(actor=CAROL, correlation_id=STORY),
        recorded_at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
    )
