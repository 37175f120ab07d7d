"""Checks the seals against the log and against each other, and names the positions that were altered.

Invariant: one transaction reads as many seals as cover some thousand positions, whatever their number and whatever the
log was made into.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from eventstore.seals.hashing import LEAF_BYTES, MOST_ENTRIES, ORIGIN, leaf_of, read_entries, seal_hash
from eventstore.verification.findings import MISSING, Difference, Scope, StoreCheck, is_moment, shown
from eventstore.verification.reading import one_moment

LATE_SECONDS: Final = 60.0
"""How long after its sequencing an entry must be sealed: many times what it takes when somebody dispatches. By the
sequencer's heartbeat and not by the clock: while nobody dispatches, as in a copy, nobody seals either."""
PATIENCE_SECONDS: Final = 10.0
"""How long a late seal is waited for: who has just begun to dispatch again is about to make it."""
_LOOK_SECONDS: Final = 0.5
_PAGE_SEALS: Final = 500
_NAMED: Final = 200
"""Altered places of one seal whose events are looked up, at most."""

# The next seals: so many that they cover some thousand positions.
_SELECT_SEALS = """
SELECT first_position, last_position, leaves, previous_hash, hash, timestamptz_send(sealed_at), sealed_at::text
FROM (
    SELECT *, sum(last_position::numeric - first_position + 1) OVER (ORDER BY last_position)
        - (last_position::numeric - first_position + 1) AS covered
    FROM (
        SELECT * FROM eventstore_seal WHERE last_position > %s AND first_position <= %s
        ORDER BY last_position LIMIT %s
    ) AS next
) AS page
WHERE covered < %s
ORDER BY last_position
"""

# The next seals that are not within the log, and where that ends at this moment. Those that begin where the check reads
# are compared with what the log holds there.
_SELECT_BEYOND = """
SELECT seal.first_position, seal.last_position, log.position
FROM (
    SELECT COALESCE(
        (SELECT position FROM eventstore_sequencer WHERE id = 1), (SELECT max(position) FROM eventstore_log), 0
    ) AS position
) AS log
CROSS JOIN LATERAL (
    SELECT first_position, last_position FROM eventstore_seal
    WHERE last_position > GREATEST(log.position, %s) AND first_position > %s
    ORDER BY last_position LIMIT %s
) AS seal
ORDER BY seal.last_position
"""

# Where the seals end that are within the log, when the entry after them was sequenced (none when there is none), and
# when a sequencer last showed that it lives.
_SELECT_END = """
SELECT sealed.position, l.position, l.sequenced_at, head.heartbeat_at
FROM (SELECT) AS one
LEFT JOIN eventstore_sequencer head ON head.id = 1
CROSS JOIN LATERAL (
    SELECT COALESCE(max(last_position), 0) AS position FROM eventstore_seal
    WHERE last_position <= COALESCE(head.position, %s)
) AS sealed
LEFT JOIN LATERAL (
    SELECT position, sequenced_at FROM eventstore_log
    WHERE position > sealed.position AND position <= %s ORDER BY position LIMIT 1
) AS l ON true
"""

# Whose events stand at these positions.
_SELECT_STREAMS = """
SELECT l.position, e.stream_type, e.stream_id, e.version
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position = ANY(%s)
"""


class _Seal(NamedTuple):
    first: int
    last: int
    leaves: bytes
    previous_hash: bytes
    hash: bytes
    sealed_at: bytes  # as it is hashed
    sealed_at_text: str  # as it is shown

    @property
    def name(self) -> str:
        return _name(self.first, self.last)

    @property
    def is_readable(self) -> bool:
        """Whether it is of a size that the program makes."""
        return 0 < self.first <= self.last < self.first + MOST_ENTRIES

    def leaf(self, position: int) -> bytes:
        """What was kept of the hash of an entry."""
        start = (position - self.first) * LEAF_BYTES
        return self.leaves[start : start + LEAF_BYTES]


class _Content(NamedTuple):
    """What the log holds now where a seal is."""

    hashes: Sequence[bytes | None]  # by position, from the seal's first; None: nothing, or more than one
    altered: Sequence[int]  # positions whose hash is not what was kept of it

    def hash_of(self, seal: _Seal, *, previous_hash: bytes) -> bytes | None:
        """The seal's hash as it follows from the log; None when something is missing."""
        hashes = [hashed for hashed in self.hashes if hashed is not None]
        if len(hashes) < len(self.hashes):
            return None
        return seal_hash(
            first=seal.first,
            last=seal.last,
            previous_hash=previous_hash,
            sealed_at=seal.sealed_at,
            entries=hashes,
        )


class _Place(NamedTuple):
    stream_type: str
    stream_id: UUID
    version: int


class _End(NamedTuple):
    """Where the seals end."""

    sealed_to: int
    position: int | None  # of the first entry after them
    sequenced_at: datetime | None
    heartbeat_at: datetime | None

    @property
    def late_seconds(self) -> float:
        """For how long that entry waits, as far as somebody has dispatched meanwhile; 0 when nothing waits."""
        if self.sequenced_at is None or self.heartbeat_at is None:
            return 0.0
        if not (is_moment(self.sequenced_at) and is_moment(self.heartbeat_at)):  # named by the check of the log
            return 0.0
        return (self.heartbeat_at - self.sequenced_at).total_seconds()


def _name(first: int, last: int) -> str:
    return f"seal of positions {first} to {last}"


_ORIGIN: Final = _Seal(first=0, last=0, leaves=b"", previous_hash=b"", hash=ORIGIN, sealed_at=b"", sealed_at_text="")


class SealsCheck(StoreCheck):
    """Hashes the log anew, seal by seal."""

    name = "seals"
    unit = "sealed entries"
    proves = (
        "Every event and its place in the log are what they were when they were sealed, each seal holds the hash of the"
        " one before and ends where the log does or before, and what was sequenced is sealed in time."
    )

    def __init__(self, *, late_seconds: float = LATE_SECONDS, patience_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__()
        self._patience_seconds = patience_seconds
        self._late_seconds = late_seconds

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        before, after = _ORIGIN, 0
        while True:
            with one_moment(using=scope.using) as cursor:
                cursor.execute(_SELECT_SEALS, [after, scope.position, _PAGE_SEALS, MOST_ENTRIES])
                seals = [_Seal(*row) for row in cursor.fetchall()]
                entries = _read_entries(cursor, seals)
                found: list[Difference] = []
                for seal in seals:
                    found += self._judge(cursor, before, seal, entries)
                    before = seal
            yield from found
            if not seals:
                break
            after = before.last
            scope.progress(self.name, done=min(after, scope.position), total=scope.position)
        yield from _beyond(scope)
        yield from self._end_differences(scope)

    def _judge(
        self, cursor: Any, before: _Seal, seal: _Seal, entries: Mapping[int, Sequence[bytes | None]]
    ) -> Iterator[Difference]:
        self.counts["seals"] += 1
        if not seal.is_readable:
            expected = f"at most {MOST_ENTRIES} positions, from 1 on"
            yield Difference(position=seal.first, field=seal.name, expected=expected, actual=seal.name)
            return
        self.examined += seal.last - seal.first + 1
        content = _content(seal, entries)
        if seal.first != before.last + 1:
            yield _gap(before, seal)
        elif seal.previous_hash != before.hash:
            yield _broken_link(before, seal, content)
        yield from _content_differences(cursor, seal, content)

    def _end_differences(self, scope: Scope) -> Iterator[Difference]:
        end = _end(scope)
        until = time.monotonic() + self._patience_seconds
        while (begun := end).late_seconds > self._late_seconds and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            end = _end(scope)
            if end.sealed_to > begun.sealed_to:  # it is at it
                break
        if end.position is None:
            return
        self.counts["not sealed yet"] = scope.position - end.sealed_to
        if end.late_seconds > self._late_seconds and end.sealed_to <= begun.sealed_to:
            expected = f"within {self._late_seconds:.0f} s after it was sequenced"
            actual = f"none after {end.late_seconds:.0f} s in which somebody dispatched"
            yield Difference(position=end.position, field="seal", expected=expected, actual=actual)


def _beyond(scope: Scope) -> Iterator[Difference]:
    """The seals of what is not there: planted, or left when the log was cut off."""
    after = scope.position
    while True:
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_BEYOND, [after, scope.position, _PAGE_SEALS])
            rows = cursor.fetchall()
        for first, last, end in rows:
            expected = f"none beyond position {end}, where the log ends"
            yield Difference(position=first, field="seal", expected=expected, actual=_name(first, last))
            after = last
        if len(rows) < _PAGE_SEALS:
            return


def _end(scope: Scope) -> _End:
    with one_moment(using=scope.using) as cursor:
        cursor.execute(_SELECT_END, [scope.position, scope.position])
        return _End(*cursor.fetchone())


def _read_entries(cursor: Any, seals: Sequence[_Seal]) -> dict[int, list[bytes | None]]:
    """The hashes of what stands at each position that the seals cover."""
    entries: dict[int, list[bytes | None]] = {}
    for first, last in _spans(seal for seal in seals if seal.is_readable):
        for entry in read_entries(cursor, first=first, last=last):
            entries.setdefault(entry.position, []).append(entry.hash)
    return entries


def _spans(seals: Iterable[_Seal]) -> Iterator[tuple[int, int]]:
    """The ranges that the seals cover, those that follow each other joined, and none covered twice."""
    first = last = 0
    for seal in seals:
        if seal.first != last + 1 and last:
            yield first, last
        if seal.first != last + 1 or not last:
            first = max(seal.first, last + 1)
        last = seal.last
    if last:
        yield first, last


def _content(seal: _Seal, entries: Mapping[int, Sequence[bytes | None]]) -> _Content:
    positions = range(seal.first, seal.last + 1)
    found = [entries.get(position, ()) for position in positions]
    hashes = [hashes[0] if len(hashes) == 1 else None for hashes in found]
    altered = [
        position
        for position, hashed in zip(positions, hashes, strict=True)
        if hashed is None or leaf_of(hashed) != seal.leaf(position)
    ]
    return _Content(hashes, altered)


def _gap(before: _Seal, seal: _Seal) -> Difference:
    if seal.first <= before.last:
        expected = f"one from position {before.last + 1}"
        return Difference(position=seal.first, field="seal", expected=expected, actual=seal.name)
    expected = f"of positions {before.last + 1} to {seal.first - 1}"
    return Difference(position=before.last + 1, field="seal", expected=expected, actual=MISSING)


def _broken_link(before: _Seal, seal: _Seal, content: _Content) -> Difference:
    """The one of two seals that was rewritten: if the later is what it was sealed as, it is the one before."""
    if before.last and content.hash_of(seal, previous_hash=seal.previous_hash) == seal.hash:
        return Difference(
            position=before.first,
            field=f"hash of the {before.name}",
            expected=f"{seal.previous_hash.hex()}, as the next seal says",
            actual=before.hash.hex(),
        )
    return Difference(
        position=seal.first,
        field=f"previous_hash of the {seal.name}",
        expected=before.hash.hex(),
        actual=seal.previous_hash.hex(),
    )


def _content_differences(cursor: Any, seal: _Seal, content: _Content) -> Iterator[Difference]:
    """What was altered since it was sealed; where the log is whole, what was altered in the seal."""
    hashed = content.hash_of(seal, previous_hash=seal.previous_hash)
    is_complete = len(seal.leaves) == LEAF_BYTES * len(content.hashes)
    if hashed != seal.hash and content.altered and is_complete:
        yield from _altered(cursor, seal, content)
    elif hashed != seal.hash:
        field = f"hash of the {seal.name}"
        yield Difference(position=seal.first, field=field, expected=shown(_hex(hashed)), actual=seal.hash.hex())
    elif content.altered or not is_complete:
        position = next(iter(content.altered), seal.last)
        expected = leaf_of(content.hashes[position - seal.first] or b"").hex()
        field = f"leaf of the {seal.name}"
        yield Difference(position=position, field=field, expected=expected, actual=shown(seal.leaf(position).hex()))


def _hex(hashed: bytes | None) -> str | None:
    return None if hashed is None else hashed.hex()


def _altered(cursor: Any, seal: _Seal, content: _Content) -> Iterator[Difference]:
    """Each altered place; those that follow each other, as when everything moved up, once."""
    runs = list(_runs(content.altered))
    places = _places(cursor, [first for first, _ in runs[:_NAMED]])
    for first, last in runs:
        hashed = content.hashes[first - seal.first]
        place = places.get(first)
        actual = MISSING if hashed is None else leaf_of(hashed).hex()
        yield Difference(
            stream="" if place is None else f"{place.stream_type}/{place.stream_id}",
            version=None if place is None else place.version,
            position=first,
            field="sealed entry",
            expected=f"{seal.leaf(first).hex()}, as sealed at {seal.sealed_at_text}",
            actual=actual if last == first else f"{actual}, and others up to position {last}",
        )


def _runs(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = before = None
    for position in positions:
        if before is None or position != before + 1:
            if first is not None and before is not None:
                yield first, before
            first = position
        before = position
    if first is not None and before is not None:
        yield first, before


def _places(cursor: Any, positions: Sequence[int]) -> dict[int, _Place]:
    cursor.execute(_SELECT_STREAMS, [list(positions)])
    found = [(position, _Place(*place)) for position, *place in cursor.fetchall()]
    several = {position for position, count in Counter(position for position, _ in found).items() if count > 1}
    return {position: place for position, place in found if position not in several}
