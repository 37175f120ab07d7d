"""Many writers at once: every success is in the store exactly once, and nobody is starved."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest

from eventstore.appending import StreamConflict
from eventstore.dispatch import drain
from eventstore.ids import new_id
from eventstore.store import VersionMismatch
from tests.integration.shops import Shop, parked, rows, story_of, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART
from tests.shopping_cart.handlers import SUBSCRIPTIONS
from tests.shopping_cart.warehouse import WAREHOUSE

pytestmark = pytest.mark.usefixtures("shop_database")

SELECT_STREAM = "SELECT event_id, version FROM eventstore_event WHERE stream_id = %s ORDER BY version"


def test_twenty_writers_on_one_stream_all_succeed_and_each_success_is_there_once() -> None:
    shop, cart_id = Shop(), Shop().open()

    def write() -> list[tuple[UUID, int]]:
        return [
            (done.events[0].event_id, done.version)
            for done in (shop.tell(cart_id, facts.AddItem(sku="tea")) for _ in range(5))
        ]

    answers = [answer for answers in together([write] * 20) for answer in answers]
    stored = rows(SELECT_STREAM, [cart_id])
    assert len(answers) == 100
    assert stored[1:] == sorted(answers, key=lambda answer: answer[1])
    assert [version for _, version in stored] == list(range(1, 102))
    assert shop.store.find(CART, cart_id).state.total == 100
    assert value("SELECT count(*) FROM eventstore_outbox") == 101


def test_of_twenty_writers_who_expect_one_version_exactly_one_succeeds() -> None:
    shop, cart_id = Shop(), Shop().open()

    def write() -> int:
        try:
            done = shop.store.execute(
                CART, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id), expected_version=1
            )
        except VersionMismatch:
            return 0
        return done.version

    assert Counter(together([write] * 20)) == {0: 19, 2: 1}
    assert len(rows(SELECT_STREAM, [cart_id])) == 2


def test_of_twenty_writers_who_begin_one_stream_exactly_one_succeeds() -> None:
    shop, cart_id = Shop(), new_id()

    def begin() -> int:
        try:
            return shop.store.save(CART, [facts.CartOpened()], stream_id=cart_id, metadata=story_of(cart_id)).version
        except StreamConflict:
            return 0

    assert Counter(together([begin] * 20)) == {0: 19, 1: 1}
    assert len(rows(SELECT_STREAM, [cart_id])) == 1


def test_single_appends_beside_batches_lose_nothing_and_stop_nobody() -> None:
    shop = Shop(SUBSCRIPTIONS)
    warehouses = [new_id() for _ in range(4)]
    carts = [shop.order(warehouses[number % 4]) for number in range(80)]
    batches_are_done = threading.Event()
    singles: list[int] = []

    def stock(warehouse: UUID) -> None:
        while not batches_are_done.is_set() or len(singles) < 40:
            shop.store.execute(
                WAREHOUSE, warehouse, facts.Stock(quantity=1), metadata=story_of(warehouse), creates=True
            )
            singles.append(1)

    def dispatch() -> None:
        try:
            while {shop.status(cart_id) for cart_id in carts} != {"picked"}:
                drain(store=shop.store, batch_size=20, budget_seconds=0.5)
        finally:
            batches_are_done.set()

    writers: list[Callable[[], None]] = [partial(stock, warehouse) for warehouse in warehouses]
    together([dispatch, *writers])
    assert shop.drain()
    states = [shop.store.find(WAREHOUSE, warehouse).state for warehouse in warehouses]
    assert [state.orders for state in states] == [20] * 4
    assert sum(state.stock for state in states) == len(singles)
    assert parked() == []
    versions = rows("SELECT max(version), count(*) FROM eventstore_event GROUP BY stream_id")
    assert all(highest == count for highest, count in versions)
