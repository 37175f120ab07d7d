"""Checks that what requests were answered with, and their repeats will be, is in the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, StoreCheck, shown
from eventstore.verification.reading import one_moment

STREAMS: Final[Mapping[str, str]] = MappingProxyType(
    {"transfer_id": "transfer", "account_id": "account", "customer_id": "customer"}
)
"""What an answer names a stream by, and the stream's type; its `version` is that of this stream."""
EVENTS: Final = ("entry_id",)
"""What an answer names an event by."""

_PAGE: Final = 1_000

# A page of records.
_SELECT_RECORDS = """
SELECT id, principal, key, answer::text FROM eventstore_idempotency_record WHERE id > %s ORDER BY id LIMIT %s
"""

# Which of these versions of streams, and which of these events, are in the store.
_SELECT_VERSIONS = """
SELECT stream_type, stream_id, version FROM eventstore_event
JOIN unnest(%s::uuid[], %s::integer[]) AS wanted (stream_id, version) USING (stream_id, version)
"""
_SELECT_EVENTS = "SELECT event_id FROM eventstore_event WHERE event_id = ANY(%s)"


class _Reference(NamedTuple):
    """What an answer says is there."""

    record: str  # whose answer
    field: str
    stream_type: str  # "" for an event
    id: UUID
    version: int


class AnswersCheck(StoreCheck):
    """Looks up what each kept answer names."""

    name = "answers"
    unit = "answered requests"
    proves = "What requests were answered with, and will be when they are repeated, is in the store."

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        last, full = 0, True
        while full:
            with one_moment(using=scope.using) as cursor:
                cursor.execute(_SELECT_RECORDS, [last, _PAGE])
                records = cursor.fetchall()
                references: list[_Reference] = []
                found: list[Difference] = []
                for _, principal, key, answer in records:
                    try:
                        references += _references(f"{principal} {key}", answer)
                    except (ValueError, TypeError):
                        found.append(_ill_formed(f"{principal} {key}"))
                found += _missing(cursor, references)
            yield from found
            self.examined += len(records)
            self.counts["references"] += len(references)
            full = len(records) == _PAGE
            last = records[-1][0] if records else last


def _references(record: str, answer: str) -> list[_Reference]:
    """What the answer names. Raises ValueError or TypeError when it is not what a service answers."""
    said = msgspec.json.decode(answer, type=dict[str, Any])
    events = [_Reference(record, field, "", UUID(said[field]), 0) for field in EVENTS if said.get(field)]
    if events:  # its version is that of the account, which it does not name
        return events
    return [
        _Reference(record, field, stream_type, UUID(said[field]), int(said["version"]))
        for field, stream_type in STREAMS.items()
        if said.get(field) and "version" in said
    ]


def _missing(cursor: Any, references: list[_Reference]) -> Iterator[Difference]:
    streams = [reference for reference in references if reference.stream_type]
    cursor.execute(_SELECT_VERSIONS, [[found.id for found in streams], [found.version for found in streams]])
    there = set(cursor.fetchall())
    cursor.execute(_SELECT_EVENTS, [[reference.id for reference in references if not reference.stream_type]])
    events = {event_id for (event_id,) in cursor.fetchall()}
    for reference in references:
        if reference.stream_type:
            if (reference.stream_type, reference.id, reference.version) not in there:
                yield _absent(reference, stream=f"{reference.stream_type}/{reference.id}", version=reference.version)
        elif reference.id not in events:
            yield _absent(reference)


def _absent(reference: _Reference, *, stream: str = "", version: int | None = None) -> Difference:
    field = f"{reference.field} {reference.id} in the answer to {reference.record}"
    return Difference(stream=stream, version=version, field=field, expected=PRESENT, actual=MISSING)


def _ill_formed(record: str) -> Difference:
    return Difference(field=f"answer to {record}", expected=shown("what a service answers"), actual="something else")
