"""Turns rows of the event table into recorded events, personal fields unsealed with one query for all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from eventstore.events import RecordedEvent
from eventstore.metadata import Metadata
from eventstore.registry import EventRegistry
from eventstore.sealing import ErasedPerson, keys_of

_metadata: Final = msgspec.json.Decoder(Metadata)
_erased: Final = ErasedPerson()


class EventRow(NamedTuple):
    """One event as SQL returns it; jsonb comes as text. The order of the columns in every query that reads events."""

    position: int | None
    event_id: UUID
    stream_type: str
    stream_id: UUID
    version: int
    event_type: str
    schema_version: int
    data: str
    metadata: str
    recorded_at: datetime


def decode_rows(rows: Sequence[EventRow], *, registry: EventRegistry, using: str) -> list[RecordedEvent[Any]]:
    """The recorded events, in the same order. Raises `UnknownEventType` at the first that no code knows."""
    keys = keys_of(
        {row.stream_id for row in rows if registry.named(row.event_type, row.schema_version).sealed},
        using=using,
    )
    return [
        RecordedEvent(
            event_id=row.event_id,
            stream_type=row.stream_type,
            stream_id=row.stream_id,
            version=row.version,
            name=row.event_type,
            data=registry.decode(row.event_type, row.schema_version, row.data, keys.get(row.stream_id, _erased).unseal),
            metadata=_metadata.decode(row.metadata),
            recorded_at=row.recorded_at,
            position=row.position,
        )
        for row in rows
    ]
