"""Locks are taken in one order everywhere: checkpoint, parked keys, streams; and those of one kind sorted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection

from eventstore import appending, replay
from eventstore.events import RecordedEvent
from eventstore.ids import new_id
from eventstore.subscriptions import checkpoints, parking
from eventstore.subscriptions.parking import Retry, retry
from eventstore.subscriptions.runner import Progress, advance
from tests.conftest import Database
from tests.integration.shops import POISON, Shop, note, notes, parked, rows, together, value, watching
from tests.shopping_cart import facts
from tests.shopping_cart.handlers import SUBSCRIPTIONS

pytestmark = pytest.mark.usefixtures("shop_database")

LOCKS = {
    checkpoints._LOCK: "checkpoint",
    replay._LOCK_LIVE: "live checkpoints",
    parking._LOCK_KEYS: "parked keys",
    parking._LOCK_KEY: "parked keys",
    replay._LOCK_LIVE_PARKED: "live parked keys",
    appending._LOCK_STREAMS: "streams",
}


@contextmanager
def _watched() -> Iterator[list[str]]:
    """What is locked meanwhile, in that order."""
    locked: list[str] = []

    def look(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        if isinstance(statement, str) and statement in LOCKS:
            locked.append(LOCKS[statement])
        return execute(statement, parameters, many, context)

    with connection.execute_wrapper(look):
        yield locked


def _ordered(shop: Shop) -> int:
    """Has something ordered and sequenced; answers with the checkpoint of who picks it."""
    checkpoints.ensure(SUBSCRIPTIONS, using="default")
    shop.order(new_id())
    Shop().drain()
    return int(value("SELECT id FROM eventstore_checkpoint WHERE subscription = 'shop.picking'"))


def test_live_handling_locks_its_checkpoint_then_parked_keys_then_streams() -> None:
    shop, picking = Shop(SUBSCRIPTIONS), SUBSCRIPTIONS.get("shop.picking")
    checkpoint_id = _ordered(shop)
    assert picking is not None
    with _watched() as locked:
        progress = advance(checkpoint_id, picking, store=shop.store)
    assert locked == ["checkpoint", "parked keys", "streams"]
    assert progress is Progress.MOVED


def test_a_retry_locks_its_key_before_streams() -> None:
    shop, picking = Shop(SUBSCRIPTIONS), SUBSCRIPTIONS.get("shop.picking")
    _ordered(shop)
    assert picking is not None
    rows("""
        WITH parked AS (
            INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
            SELECT 'shop.picking', stream_id, clock_timestamp(), clock_timestamp(), 'made up'
            FROM eventstore_event WHERE event_type = 'CartCheckedOut' RETURNING id, key
        )
        INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
        SELECT parked.id, 'shop.picking', l.position, clock_timestamp()
        FROM parked JOIN eventstore_event e ON e.stream_id = parked.key AND e.event_type = 'CartCheckedOut'
        JOIN eventstore_log l ON l.event_id = e.id
    """)
    with _watched() as locked:
        outcome = retry(value("SELECT id FROM eventstore_parked_key"), picking, store=shop.store)
    assert locked == ["parked keys", "streams"]
    assert outcome is Retry.FREED


def test_a_swap_locks_the_live_checkpoints_before_what_is_parked() -> None:
    shop = Shop(SUBSCRIPTIONS)
    shop.add(shop.open(), "tea")
    assert shop.drain()
    (carts,) = SUBSCRIPTIONS.projections()
    with _watched() as locked:
        replay.rebuild(carts, store=shop.store)
    swap = locked.index("live checkpoints")
    assert locked[swap:] == ["live checkpoints", "live parked keys"]
    assert "live parked keys" not in locked[:swap]


def test_parked_keys_are_locked_sorted(shop_database: Database, app: psycopg.Connection) -> None:
    ill = [True]

    def choke(recorded: RecordedEvent[facts.ItemAdded]) -> None:
        if ill:
            raise ArithmeticError
        note(recorded)

    shop, (low, high) = Shop(watching(choke)), sorted([new_id(), new_id()])
    for cart_id in (high, low):  # the table's own order is the other way round
        shop.open(cart_id)
        shop.add(cart_id, POISON)
        assert shop.drain()
        rows("UPDATE eventstore_parked_key SET attempts = 9, next_attempt_at = clock_timestamp() + interval '1 minute'")
    for cart_id in (high, low):
        shop.add(cart_id, "behind")

    def go_on() -> bool:
        rows("SET enable_indexscan = off; SET enable_bitmapscan = off")  # an index would sort them by itself
        return shop.drain()

    def look() -> None:
        with app.transaction():
            app.execute("SELECT FROM eventstore_parked_key WHERE key = %s FOR UPDATE", [low])
            waits.set()
            _wait(lambda: bool(app.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()))
            with psycopg.connect(shop_database.app_url) as third:
                statement = "SELECT FROM eventstore_parked_key WHERE key = %s FOR UPDATE SKIP LOCKED"
                free.append(third.execute(statement, [high]).fetchone() is not None)

    waits, free = threading.Event(), list[bool]()
    drained, _ = together([lambda: waits.wait(10) and go_on(), look])
    assert free == [True]  # who waits for the first has not taken the second yet
    assert drained
    assert notes() == []
    assert len(parked()) == 4


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "nobody waited"
