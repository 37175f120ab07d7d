"""Snapshots: a state at a version, so that loading costs no more as a stream grows.

Disposable. One of another state version is ignored and the stream is replayed. The periodic ones are kept, for
reading a stream as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connections

from eventstore.aggregates import Aggregate

# The newest usable snapshot of each stream, at or below a version.
_SELECT_NEWEST = """
SELECT found.stream_id, found.version, found.state, found.created_at, found.updated_at
FROM unnest(%s::uuid[], %s::text[], %s::smallint[], %s::integer[])
    AS wanted (stream_id, stream_type, state_version, at_most)
CROSS JOIN LATERAL (
    SELECT * FROM eventstore_snapshot s
    WHERE s.stream_id = wanted.stream_id AND s.version <= wanted.at_most
        AND s.stream_type = wanted.stream_type AND s.state_version = wanted.state_version
    ORDER BY s.version DESC LIMIT 1
) AS found
"""

# A snapshot that is there already says the same.
_INSERT = """
INSERT INTO eventstore_snapshot (stream_type, stream_id, version, state_version, state, created_at, updated_at)
SELECT * FROM unnest(
    %s::text[], %s::uuid[], %s::integer[], %s::smallint[], %s::jsonb[], %s::timestamptz[], %s::timestamptz[]
)
ON CONFLICT (stream_id, version, state_version) DO NOTHING
"""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A stream's state and how far it has come."""

    stream_id: UUID
    state: Any
    version: int  # 0: there is no such stream
    created_at: datetime | None = None  # of the first event
    updated_at: datetime | None = None  # of the last


def newest(wanted: Mapping[UUID, Aggregate[Any]], *, at_most: int = 2**31 - 1, using: str) -> dict[UUID, Loaded]:
    """The newest usable snapshot of each stream that has one, at or below version `at_most`."""
    asked = {id: aggregate for id, aggregate in wanted.items() if aggregate.state_type is not None}
    if not asked:
        return {}
    with connections[using].cursor() as cursor:
        cursor.execute(
            _SELECT_NEWEST,
            [
                list(asked),
                [aggregate.stream_type for aggregate in asked.values()],
                [aggregate.state_version for aggregate in asked.values()],
                [at_most] * len(asked),
            ],
        )
        return {
            stream_id: Loaded(
                stream_id=stream_id,
                state=msgspec.json.decode(state, type=asked[stream_id].state_type),
                version=version,
                created_at=created_at,
                updated_at=updated_at,
            )
            for stream_id, version, state, created_at, updated_at in cursor
        }


def is_due(aggregate: Aggregate[Any], *, before: int, after: int) -> bool:
    """Whether going from version `before` to `after` passed the point for a snapshot."""
    every = aggregate.snapshot_every
    return aggregate.state_type is not None and after // every > before // every


def take(taken: Sequence[tuple[Aggregate[Any], Loaded]], *, using: str) -> None:
    """Writes the snapshots within the caller's transaction."""
    if not taken:
        return
    with connections[using].cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                [aggregate.stream_type for aggregate, _ in taken],
                [loaded.stream_id for _, loaded in taken],
                [loaded.version for _, loaded in taken],
                [aggregate.state_version for aggregate, _ in taken],
                [msgspec.json.encode(loaded.state).decode() for _, loaded in taken],
                [loaded.created_at for _, loaded in taken],
                [loaded.updated_at for _, loaded in taken],
            ],
        )
