"""Checks that cash entries were undone as they were made, and once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from accounts.published.events import CashDeposited, CashEntryKind, CashEntryReversed, CashWithdrawn
from eventstore.rows import EventRow
from eventstore.verification.findings import MISSING, Difference, Scope, shown
from eventstore.verification.reading import one_moment
from eventstore.verification.sorting import ExternalSort
from eventstore.verification.walking import Chunk, Found, StreamCheck, decode_each

# These events.
_SELECT_BY_ID = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event
WHERE event_id = ANY(%s)
"""

_PAGE: Final = 1_000
_KINDS: Final = {CashDeposited: CashEntryKind.DEPOSIT, CashWithdrawn: CashEntryKind.WITHDRAWAL}


class _Reversal(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    entry_id: UUID
    entry_kind: CashEntryKind
    account_id: UUID
    version: int
    amount: int  # minor units


class _Entry(NamedTuple):
    account_id: UUID
    entry_kind: CashEntryKind
    amount: int  # minor units


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Reversal)


class ReversalsCheck(StreamCheck):
    """Looks up what each reversal undoes."""

    name = "reversals"
    unit = "reversals"
    proves = "Each reversal undoes one deposit or withdrawal of its account, whole, and none is undone twice."

    def __init__(self) -> None:
        super().__init__()
        self._sort = ExternalSort()

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Collects; an entry may be undone much later than it was made."""
        for segment in chunk.segments:
            for event in segment.events:
                if event.recorded is not None and isinstance(event.recorded.data, CashEntryReversed):
                    data = event.recorded.data
                    reversal = _Reversal(
                        entry_id=data.entry_id,
                        entry_kind=data.entry_kind,
                        account_id=segment.stream_id,
                        version=event.row.version,
                        amount=data.amount,
                    )
                    self._sort.add(data.entry_id.bytes + _encoder.encode(reversal))
        return iter(())

    def finish(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        with self._sort:
            before: UUID | None = None
            for page in _pages(self._sort.sorted()):
                self.examined += len(page)
                entries = _cash_entries(page, scope)
                for reversal in page:
                    if reversal.entry_id == before:
                        yield _difference(reversal, "entry_id", "an entry not undone yet", reversal.entry_id)
                    before = reversal.entry_id
                    yield from _contradictions(reversal, entries.get(reversal.entry_id))


def _cash_entries(reversals: Sequence[_Reversal], scope: Scope) -> dict[UUID, _Entry]:
    """What these reversals undo, as far as it is there and can be read."""
    with one_moment(using=scope.using) as cursor:
        cursor.execute(_SELECT_BY_ID, [[reversal.entry_id for reversal in reversals]])
        rows = [EventRow(*row) for row in cursor.fetchall()]
        found = [recorded for recorded, _ in decode_each(rows, registry=scope.registry, using=scope.using)]
    return {
        recorded.event_id: _Entry(recorded.stream_id, _KINDS[type(recorded.data)], recorded.data.amount)
        for recorded in found
        if recorded is not None and isinstance(recorded.data, CashDeposited | CashWithdrawn)
    }


def _contradictions(reversal: _Reversal, entry: _Entry | None) -> Iterator[Difference]:
    if entry is None:
        yield _difference(reversal, "entry_id", "a cash entry", MISSING)
        return
    for field, expected in entry._asdict().items():
        actual = getattr(reversal, field)
        if expected != actual:
            yield _difference(reversal, field, expected, actual)


def _pages(records: Iterable[bytes]) -> Iterator[list[_Reversal]]:
    remaining = iter(records)
    while page := [_decoder.decode(record[16:]) for record in islice(remaining, _PAGE)]:
        yield page


def _difference(reversal: _Reversal, field: str, expected: object, actual: object) -> Difference:
    return Difference(
        stream=f"account/{reversal.account_id}",
        version=reversal.version,
        field=field,
        expected=shown(expected),
        actual=shown(actual),
    )
