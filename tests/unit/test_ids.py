"""Identity and buckets: stored rows depend on both, so they are fixed for ever."""

from __future__ import annotations

from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.buckets import BUCKETS, bucket_of, split_evenly
from eventstore.ids import derive_id, new_id
from tests.unit.cast import ALICES_ACCOUNT, BOBS_ACCOUNT, RENT

# Computed once. A change here means that a redelivered event would be handled twice.
GOLDEN_DERIVED = [
    (RENT, "accounts.saga/0", 0, "01990000-0000-846a-a0b8-91efb15aa62e"),
    (RENT, "accounts.saga/0", 1, "01990000-0000-8933-bfd1-4c098f6f201f"),
    (RENT, "transfers.saga/0", 0, "01990000-0000-8b2a-a1e6-71930251248c"),
    (UUID(int=0), "", 0, "00000000-0000-8e88-b2e7-f1917ffafcbe"),
]
# Computed once. A change here means that waiting events would be followed by nobody.
GOLDEN_BUCKETS = [(RENT, 248), (ALICES_ACCOUNT, 151), (BOBS_ACCOUNT, 1), (UUID(int=0), 85)]


@pytest.mark.parametrize(("cause", "handler", "ordinal", "expected"), GOLDEN_DERIVED)
def test_it_derives_the_same_id_for_ever(cause: UUID, handler: str, ordinal: int, expected: str) -> None:
    assert derive_id(cause, handler, ordinal) == UUID(expected)


@given(cause=st.uuids(), handler=st.text(max_size=20), ordinal=st.integers(0, 1000))
def test_it_derives_a_valid_id_at_the_time_of_its_cause(cause: UUID, handler: str, ordinal: int) -> None:
    derived = derive_id(cause, handler, ordinal)
    assert (derived.version, derived.variant) == (8, RFC_4122)
    assert derived.bytes[:6] == cause.bytes[:6]
    assert derived == derive_id(cause, handler, ordinal)


def test_it_derives_another_id_from_anything_else() -> None:
    ids = {
        derive_id(cause, handler, ordinal)
        for cause in (RENT, ALICES_ACCOUNT)
        for handler in ("accounts.saga/0", "accounts.saga/1", "accounts.saga/01")
        for ordinal in (0, 1, 10)
    }
    assert len(ids) == 18


def test_it_makes_ids_in_the_order_of_time() -> None:
    made = [new_id() for _ in range(1000)]
    assert all(id.version == 7 for id in made)
    assert all(earlier.bytes[:6] <= later.bytes[:6] for earlier, later in pairwise(made))
    assert len(set(made)) == 1000


@pytest.mark.parametrize(("stream_id", "expected"), GOLDEN_BUCKETS)
def test_it_puts_a_stream_into_the_same_bucket_for_ever(stream_id: UUID, expected: int) -> None:
    assert bucket_of(stream_id) == expected


def test_it_spreads_streams_over_all_buckets() -> None:
    filled = [bucket_of(new_id()) for _ in range(20_000)]
    assert set(filled) == set(range(BUCKETS))
    assert max(filled.count(bucket) for bucket in range(BUCKETS)) < 3 * 20_000 / BUCKETS


@given(st.integers(1, BUCKETS))
def test_it_splits_the_buckets_without_gap_or_overlap(parts: int) -> None:
    ranges = split_evenly(parts)
    assert len(ranges) == parts
    assert [bucket for low, high in ranges for bucket in range(low, high + 1)] == list(range(BUCKETS))
    sizes = [high - low + 1 for low, high in ranges]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("parts", [-1, 0, BUCKETS + 1])
def test_it_refuses_to_split_into_nothing_or_too_much(parts: int) -> None:
    with pytest.raises(ValueError, match="cannot split"):
        split_evenly(parts)
