"""What a seal is made of. The format is fixed for good: a seal that was made is checked for as long as the log lives.

Invariant: what is hashed is unambiguous (each field has a fixed width or its length before it) and the same on every
server: binary numbers, microseconds, UTF-8, and JSON as PostgreSQL writes it, never text that follows a locale.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
ORIGIN: Final = bytes(32)
"""What stands for the hash of the seal before the first."""
LEAF_BYTES: Final = 8
"""So much of each entry's hash is kept, to tell which entry was altered; the whole hash goes into the seal."""
MOST_ENTRIES: Final = 5_000
"""Entries that one seal covers, at most: some 50 ms of work, and 40 kB to read when it is checked."""

# The first byte tells what was hashed, so that no entry can pass for a seal (RFC 6962, 2.1).
_SEAL: Final = b"\x01"

# The entries of a range with their hashes: none where the event is gone. By positions, for those have no gaps.
SELECT_ENTRIES: Final = """
SELECT l.position, sha256(
    '\\x00'::bytea
    || int8send(l.position) || int8send(l.event_id) || uuid_send(e.event_id) || uuid_send(e.stream_id)
    || int4send(e.version) || int2send(e.schema_version)
    || timestamptz_send(e.recorded_at) || timestamptz_send(l.sequenced_at)
    || int2send(l.stream_bucket) || COALESCE('\\x01'::bytea || int2send(l.route_bucket), '\\x00'::bytea)
    || int4send(octet_length(e.stream_type)) || convert_to(e.stream_type, 'UTF8')
    || int4send(octet_length(e.event_type)) || convert_to(e.event_type, 'UTF8')
    || int4send(octet_length(e.data::text)) || convert_to(e.data::text, 'UTF8')
    || int4send(octet_length(e.metadata::text)) || convert_to(e.metadata::text, 'UTF8')
)
FROM eventstore_log l LEFT JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position BETWEEN %s AND %s
ORDER BY l.position
"""


class Entry(NamedTuple):
    """An entry of the log as it is hashed."""

    position: int
    hash: bytes | None  # None: its event is gone


def read_entries(cursor: Any, *, first: int, last: int) -> list[Entry]:
    """The entries of a range of positions that are there, in order."""
    cursor.execute(SELECT_ENTRIES, [first, last])
    return [Entry(*row) for row in cursor.fetchall()]


def leaf_of(hashed: bytes) -> bytes:
    """What is kept of an entry's hash."""
    return hashed[:LEAF_BYTES]


def seal_hash(*, first: int, last: int, previous_hash: bytes, sealed_at: bytes, entries: Iterable[bytes]) -> bytes:
    """The hash of a seal over the hashes of its entries; `sealed_at` is as `timestamptz_send` gives it."""
    digest = sha256(_SEAL + FORMAT.to_bytes(2, "big") + first.to_bytes(8, "big") + last.to_bytes(8, "big"))
    digest.update(previous_hash + sealed_at)
    for hashed in entries:
        digest.update(hashed)
    return digest.digest()
