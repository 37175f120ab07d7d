"""Identity: time-ordered ids, and ids derived from a cause. Pure.

What a handler causes has an id that follows from its cause, so that a second handling of the same event collides
with the first on a unique index, whatever went wrong in between (docs/adr/0008-derived-event-ids.md).
"""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

from uuid_utils.compat import uuid7

_TIME_BITS = 48
_TAIL_BITS = 128 - _TIME_BITS


def new_id() -> UUID:
    """A new UUIDv7 (RFC 9562): ordered by time to the millisecond."""
    return uuid7()


def derive_id(cause_id: UUID, handler: str, ordinal: int = 0) -> UUID:
    """The UUIDv8 of the `ordinal`-th thing that `handler` does because of `cause_id`.

    The upper 48 bits, the time, are those of the cause: ids of one story stay close together in an index.
    """
    digest = sha256(b"\x00".join((cause_id.bytes, handler.encode(), str(ordinal).encode()))).digest()
    tail = int.from_bytes(digest[:10], "big")
    value = (cause_id.int >> _TAIL_BITS) << _TAIL_BITS | tail
    value = value & ~(0xF << 76) | 0x8 << 76  # version 8
    value = value & ~(0x3 << 62) | 0x2 << 62  # RFC 9562 variant
    return UUID(int=value)
