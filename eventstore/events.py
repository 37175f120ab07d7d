"""Events and what the store adds to them. Pure: any domain may import this module.

An event is an immutable fact in the past tense. What it says stands in its fields; who recorded it, when and why
stands beside it, in `RecordedEvent`, so that a domain never sees a clock or a database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, TypeVar, dataclass_transform
from uuid import UUID

import msgspec

from eventstore.metadata import Metadata

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number in an event: what a column of the database holds. An event with any other cannot be read, and so is
nothing that a table, a file or an answer would have to find room for."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))  # for type checkers
class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every event: immutable, typed, compared by value."""


E = TypeVar("E", bound=Event, covariant=True)


class RecordedEvent(msgspec.Struct, Generic[E], frozen=True, kw_only=True):
    """An event as the store holds it."""

    event_id: UUID
    stream_type: str
    stream_id: UUID
    version: int  # of its stream, from 1, without a gap
    name: str  # the stored name, never a Python path
    data: E
    metadata: Metadata
    recorded_at: datetime  # UTC; never runs backwards within a stream
    position: int | None = None  # in the log, from 1, without a gap; None until it is sequenced


class StreamVersion(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stream has come: what `save` and `update` answer, and what `update` expects."""

    stream_id: UUID
    version: int
