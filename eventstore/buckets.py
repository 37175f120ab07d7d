"""Which of 256 buckets a stream falls into. Pure, and fixed for ever: stored rows depend on it."""

from __future__ import annotations

from itertools import pairwise
from typing import Final
from uuid import UUID
from zlib import crc32

BUCKETS: Final = 256


def bucket_of(stream_id: UUID) -> int:
    """The stream's bucket, 0 to 255. CRC-32, never Python's `hash()`, which differs between processes."""
    return crc32(stream_id.bytes) & (BUCKETS - 1)


def split_evenly(parts: int) -> list[tuple[int, int]]:
    """All buckets as `parts` consecutive ranges (first, last), both inclusive.

    Raises ValueError when `parts` is not between 1 and 256.
    """
    if not 1 <= parts <= BUCKETS:
        raise ValueError(f"cannot split {BUCKETS} buckets into {parts} ranges")
    edges = [BUCKETS * part // parts for part in range(parts + 1)]
    return [(low, high - 1) for low, high in pairwise(edges)]
