"""The sort that needs no memory for what it sorts."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from eventstore.verification.sorting import ExternalSort


@pytest.mark.parametrize("records", [0, 1, 9, 10, 11, 999, 5_000])
def test_it_gives_back_what_it_was_given_in_order(records: int) -> None:
    given = [random.Random(seed).randbytes(1 + seed % 40) for seed in range(records)]
    with ExternalSort(run_records=10) as sort:
        for record in given:
            sort.add(record)
        assert list(sort.sorted()) == sorted(given)
        assert sort.records == records


def test_it_keeps_what_is_there_twice() -> None:
    with ExternalSort(run_records=2) as sort:
        for record in (b"b", b"a", b"b", b"", b"b"):
            sort.add(record)
        assert list(sort.sorted()) == [b"", b"a", b"b", b"b", b"b"]


def test_it_holds_few_files_open_whatever_it_was_given() -> None:
    with ExternalSort(run_records=1) as sort:
        for number in range(2_500):
            sort.add(number.to_bytes(4, "big"))
        assert sum(len(level) for level in sort._levels) < 3 * 32
        assert sum(1 for _ in sort.sorted()) == 2_500


def test_it_needs_no_more_memory_for_ten_times_the_records() -> None:
    small, large = _most_memory(records=5_000), _most_memory(records=50_000)
    assert large < small + 500_000


def _most_memory(*, records: int) -> int:
    """The most bytes that sorting so many records took."""
    tracemalloc.start()
    try:
        with ExternalSort(run_records=1_000) as sort:
            for number in range(records):
                sort.add((number * 7919 % records).to_bytes(8, "big") + bytes(92))
            assert sum(1 for _ in sort.sorted()) == records
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
