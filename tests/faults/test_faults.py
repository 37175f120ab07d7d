"""Clients go on asking while parts of the product die under them; afterwards nothing is lost, doubled or stuck.

Every kind of fault once, but for the `LONG` ones, from fixed seeds, and without an operator. All tests share one
product and its log, so each check of the store covers every fault so far, and the last one audits everything: money,
statements, repeats, `verify_ledger`. `make soak` does the same with all kinds and an operator, for as long as you like,
with random seeds.
"""

from __future__ import annotations

import pytest

from tests.faults.auditing import Audit
from tests.faults.kinds import KINDS, WakeupsLost
from tests.faults.product import Product

RECOVERY_SECONDS = 120.0
SECONDS = 1.0
"""How long a fault lasts that has no end of its own."""
LONG = frozenset(
    {
        "handler hangs",
        "handler kills its process",
        "several handlers hang",
        "two sequencers",
        "unknown event",
        "web: commit mute",
        "web: commit silent",
        "worker: commit mute",
        "worker: commit silent",
    }
)
"""They take longer than a test should; the soak has them, and each has tests of its own on a smaller scale."""


def tries(*names: str) -> pytest.MarkDecorator:
    """Gives a test the faults that it tries."""
    return pytest.mark.parametrize("names", [pytest.param(names, id=", ".join(names))])


def _break(product: Product, names: tuple[str, ...], *, seed: int = 1) -> None:
    """Each of these faults under load, and after each a transfer that comes to its end."""
    with product.load(seed=seed, clients=4) as load:
        for name in names:
            fault = KINDS[name](product=product, seed=seed)
            fault.seconds = SECONDS
            if isinstance(fault, WakeupsLost):
                fault.least = 1
            fault.strike()
            accounts = product.town.by_currency["EUR"]
            probe = product.probe((accounts[1], accounts[2]))
            assert product.tail.wait_until_final({probe}, seconds=RECOVERY_SECONDS), (name, product.describe())
            fault.check_returned()
            load.check()


def _check(product: Product) -> None:
    Audit(product=product, seed=1).check_store()


@tries("worker child killed", "worker parent killed", "beat killed")
def test_it_loses_nothing_when_workers_are_killed(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("web killed")
def test_it_does_nothing_twice_when_the_web_server_is_killed(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("web: commit unanswered", "worker: commit unanswered", "web: commit late", "worker: commit late")
def test_it_does_nothing_twice_when_the_answer_to_a_commit_is_lost(product: Product, names: tuple[str, ...]) -> None:
    before = product.proxies.postgres.done.copy()
    _break(product, names)
    done = product.proxies.postgres.done - before
    assert {"commits unanswered", "commits unsent", "commits late"} <= done.keys()
    _check(product)


@tries("Redis frozen", "Redis slow", "Redis flushed")
def test_it_answers_and_catches_up_when_redis_hangs(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("Redis killed")
def test_it_answers_and_catches_up_when_redis_is_killed(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("wake-ups lost", "wake-ups doubled", "wake-ups reordered")
def test_it_needs_no_wake_up_to_arrive_or_to_arrive_once_or_in_order(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("backends terminated")
def test_it_loses_nothing_when_its_database_connections_are_cut(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("postmaster killed")
def test_it_loses_nothing_when_the_database_server_is_killed(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("clock set back")
def test_it_goes_on_when_the_clock_is_set_back(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("handler fails once", "handler fails always")
def test_it_goes_on_past_a_handler_that_fails(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    _check(product)


@tries("up killed")
def test_it_goes_on_when_all_of_it_is_killed_and_its_books_are_right(product: Product, names: tuple[str, ...]) -> None:
    _break(product, names)
    Audit(product=product, seed=1).run()


def test_it_has_tried_every_kind_of_fault_once_or_says_that_it_is_too_long() -> None:
    """So that a new kind is not forgotten; by what the tests of this module are really given."""
    tests = [found for name, found in globals().items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", ()) if mark.args[:1] == ("names",)]
    tried = [name for mark in marks for given in mark.args[1] for name in given.values[0]]
    assert sorted([*tried, *LONG]) == sorted(KINDS)
