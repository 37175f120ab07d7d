"""A stream that another transaction has locked delays what needs it, and nothing else; that is nobody's business."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from structlog.testing import capture_logs

from eventstore import inspection
from eventstore.appending import StreamBusy, StreamConflict, lock_key
from eventstore.events import RecordedEvent
from eventstore.ids import new_id
from eventstore.loading import cache
from eventstore.snapshots import Loaded
from eventstore.subscriptions import handling, parking, runner
from eventstore.subscriptions.registry import Execute, Follows, SubscriptionRegistry, handles
from eventstore.tables import Tables
from tests.integration.shops import Shop, counted, in_process, make_due, parked, rows, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.handlers import SUBSCRIPTIONS
from tests.shopping_cart.warehouse import WAREHOUSE, Warehouse

pytestmark = pytest.mark.usefixtures("shop_database")

LONG_AGO = 5.0
"""What one stuck session used to cost every other story, in seconds, again and again."""
FOREVER = 600.0


# How long after it began to wait something is tried again, in tenths of a second.
SELECT_WAIT = "SELECT max(round(extract(epoch FROM next_attempt_at - parked_at), 1))::float8 FROM eventstore_parked_key"


@pytest.fixture(autouse=True)
def _patient() -> Iterator[None]:
    """What one database taught about its checkpoints says nothing about the next one's."""
    runner._impatient_until.clear()
    yield
    runner._impatient_until.clear()


def _warehouse_of(event: facts.CartCheckedOut) -> UUID:
    return event.warehouse_id


def _picking(*, check: Callable[[int], object] = abs) -> SubscriptionRegistry:
    """Subscriptions of which the one has the warehouse pick what a cart ordered, unless `check` objects."""
    registry = SubscriptionRegistry()

    @registry.subscriber(id="picking", follows=Follows.ROUTE)
    class Picking:
        @handles(facts.CartCheckedOut, route=_warehouse_of)
        def pick(self, recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
            check(recorded.data.quantity)
            command = facts.PickOrder(cart_id=recorded.stream_id, quantity=recorded.data.quantity)
            return Execute(aggregate=WAREHOUSE, stream_id=recorded.data.warehouse_id, command=command, creates=True)

    return registry


@contextmanager
def _locked(app: psycopg.Connection, stream_id: UUID) -> Iterator[None]:
    """Somebody has the stream, and does nothing with it."""
    with app.transaction():
        app.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(stream_id)])
        yield


def _attempts() -> list[int]:
    return [attempts for (attempts,) in rows("SELECT attempts FROM eventstore_parked_key ORDER BY id")]


def test_one_locked_stream_delays_what_needs_it_and_nothing_else(app: psycopg.Connection) -> None:
    shop, stuck, free = Shop(_picking()), new_id(), new_id()
    with _locked(app, stuck):
        waiting = [shop.order(stuck) for _ in range(3)]
        for _ in range(5):
            shop.order(free)
        began, waited = time.monotonic(), counted("eventstore_waitings_total", subscription="picking")
        with capture_logs() as logged:
            assert shop.drain()
        assert counted("eventstore_waitings_total", subscription="picking") == waited + 3
        assert time.monotonic() - began < LONG_AGO
        assert shop.picked(free) == 5
        assert shop.picked(stuck) == 0
        assert [key for _, key, _ in parked()] == waiting
        assert value(SELECT_WAIT) == parking.WAIT_SECONDS == 0.5
        make_due()
        assert shop.drain()
        assert _attempts() == [0, 0, 0]  # it never counts as a failure
    assert {line["log_level"] for line in logged} <= {"info"}
    assert inspection.count_parked(using="default") == {}
    assert value("SELECT held_reason FROM eventstore_checkpoint") == ""
    make_due()
    assert shop.drain()
    assert shop.picked(stuck) == 3
    assert parked() == []


def test_a_batch_waits_for_streams_that_others_have_for_a_moment(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "PATIENCE_MS", 20_000)
    shop, streams = Shop(_picking()), [new_id(), new_id()]
    for stream_id in streams:
        shop.order(stream_id)

    def let_go_when_somebody_waits() -> bool:
        deadline = time.monotonic() + 10
        while not app.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone():
            assert time.monotonic() < deadline, "nobody waited"
        app.execute("COMMIT")
        return True

    app.execute("BEGIN")
    for stream_id in streams:
        app.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(stream_id)])
    assert together([shop.drain, let_go_when_somebody_waits]) == [True, True]
    assert [shop.picked(stream_id) for stream_id in streams] == [1, 1]
    assert parked() == []


def test_the_next_batches_do_not_wait_for_a_stream_that_was_not_given_free(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "IMPATIENT_SECONDS", FOREVER)
    shop, stuck = Shop(_picking()), new_id()

    def wait(*_: object, **__: object) -> None:
        raise ArithmeticError("it waited")

    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
        monkeypatch.setattr(runner, "handle", wait)
        for _ in range(4):
            shop.order(stuck)
            assert shop.drain(batch_size=1)
        assert _attempts() == [0] * 5


def test_who_does_not_wait_does_nothing_again_that_was_handled(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "IMPATIENT_SECONDS", FOREVER)
    shop, stuck, free = Shop(_picking()), new_id(), new_id()
    shop.order(free)
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
        rows("UPDATE eventstore_checkpoint SET position = 0")
        assert shop.drain()
        assert shop.picked(free) == 1
        assert _attempts() == [0]


def test_a_projection_that_meets_a_locked_stream_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    (carts,) = SUBSCRIPTIONS.projections()
    shop, project, tries = Shop(SUBSCRIPTIONS), carts.handler.project, list[int]()

    def meet_one(events: Sequence[RecordedEvent[Any]], tables: Tables) -> None:
        tries.append(len(events))
        if len(tries) == 1:
            raise StreamBusy
        project(events, tables)

    monkeypatch.setattr(carts.handler, "project", meet_one)
    cart_id = shop.open()
    assert shop.drain()
    assert rows("SELECT cart_id FROM readmodel.cart") == [(cart_id,)]


def test_who_loses_races_and_then_meets_a_locked_stream_is_held() -> None:
    tries: list[int] = []

    def meet(_: int) -> None:
        tries.append(1)
        raise StreamConflict if len(tries) < runner.RACES else StreamBusy

    shop = Shop(_picking(check=meet))
    shop.order(new_id())
    assert shop.drain()
    assert value("SELECT held_reason FROM eventstore_checkpoint").startswith("StreamBusy")
    assert parked() == []


def test_what_comes_later_under_a_key_that_waits_is_handled_after_it(app: psycopg.Connection) -> None:
    registry, stuck, free, seen = SubscriptionRegistry(), new_id(), new_id(), []

    @registry.subscriber(id="counting")
    class Counting:
        @handles(facts.ItemAdded)
        def count(self, recorded: RecordedEvent[facts.ItemAdded]) -> Execute:
            seen.append(recorded.version)
            target = stuck if recorded.data.sku == "stuck" else free
            command = facts.PickOrder(cart_id=recorded.event_id, quantity=recorded.version)
            return Execute(aggregate=WAREHOUSE, stream_id=target, command=command, creates=True)

    shop = Shop(registry)
    with _locked(app, stuck):
        cart_id = shop.open()
        shop.add(cart_id, "free", "stuck", "after", "stuck", "last")
        assert shop.drain()
        assert shop.picked(free) == 1
        assert [key for _, key, _ in parked()] == [cart_id] * 4
        shop.add(cart_id, "even later")
        assert shop.drain()
    while parked():
        make_due()
        assert shop.drain()
    picked = "SELECT data ->> 'cart_id' FROM eventstore_event WHERE stream_type = 'warehouse' ORDER BY id"
    added = "SELECT event_id::text FROM eventstore_event WHERE event_type = 'ItemAdded' ORDER BY id"
    assert rows(picked) == rows(added)


def test_one_of_those_that_wait_may_fail_and_the_others_are_handled(app: psycopg.Connection) -> None:
    ill = True

    def check(quantity: int) -> None:
        if quantity == 13 and ill and not holding:
            raise ArithmeticError("thirteen")

    shop, stuck, holding = Shop(_picking(check=check)), new_id(), True
    with _locked(app, stuck):
        for quantity in (1, 13, 2):
            shop.order(stuck, quantity=quantity)
        assert shop.drain()
        assert _attempts() == [0, 0, 0]
    holding = False
    make_due()
    with capture_logs() as logged:
        assert shop.drain()
    assert shop.picked(stuck) == 2
    assert _attempts() == [1]
    assert inspection.count_parked(using="default")["picking"].keys == 1
    assert [line["event"] for line in logged if line["log_level"] == "error"] == ["eventstore.retry_failed"]
    ill = False
    make_due()
    assert shop.drain()
    assert shop.picked(stuck) == 3


def test_one_that_kills_its_process_when_its_turn_comes_is_found_out(app: psycopg.Connection) -> None:
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        for quantity in (1, 13, 2):
            shop.order(stuck, quantity=quantity)
        assert shop.drain()

    def die(quantity: int) -> None:
        if quantity == 13:
            os._exit(9)

    make_due()
    assert in_process(Shop(_picking(check=die)).drain) == 9
    assert _attempts() == [1, 1, 1]
    assert value("SELECT max(next_attempt_at) <= clock_timestamp() + interval '2 seconds' FROM eventstore_parked_key")
    make_due()
    assert in_process(Shop(_picking(check=die)).drain) == 9
    make_due()
    assert shop.drain()
    assert shop.picked(stuck) == 3


def test_two_dispatchers_handle_what_waited_once(app: psycopg.Connection) -> None:
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        for _ in range(20):
            shop.order(stuck)
        assert shop.drain()
    make_due()
    together([shop.drain] * 3)
    make_due()
    assert shop.drain()
    assert shop.picked(stuck) == 20


def test_a_stream_that_writers_queue_for_all_the_time_is_had_in_turn(app: psycopg.Connection) -> None:
    shop, hot, stop = Shop(_picking()), new_id(), threading.Event()

    def write() -> None:
        connection = psycopg.connect(app.info.dsn, password=app.info.password, autocommit=True)
        with connection:
            while not stop.is_set():
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s), pg_sleep(0.01)", [lock_key(hot)])

    writers = [threading.Thread(target=write) for _ in range(3)]
    with _locked(app, hot):
        shop.order(hot)
        assert shop.drain()
        assert _attempts() == [0]
    for writer in writers:
        writer.start()
    try:
        deadline = time.monotonic() + 30
        while shop.picked(hot) == 0:
            assert time.monotonic() < deadline, "it never had its turn"
            make_due()
            shop.drain()
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_nothing_that_waits_is_tried_while_its_subscription_is_paused(app: psycopg.Connection) -> None:
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    rows("UPDATE eventstore_checkpoint SET status = 'paused'")
    make_due()
    assert shop.drain()
    (picking,) = shop.store.subscriptions.all()
    assert not parking.retry_waiting(picking, store=shop.store)
    assert len(parked()) == 1


def test_a_pause_stops_nothing_that_waits_of_somebody_else(app: psycopg.Connection) -> None:
    registry, stuck = _picking(), new_id()

    @registry.subscriber(id="idle")
    class Idle:
        @handles(facts.ItemRemoved)
        def removed(self, recorded: RecordedEvent[facts.ItemRemoved]) -> None:
            raise ArithmeticError

    shop = Shop(registry)
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    rows("UPDATE eventstore_checkpoint SET status = 'paused' WHERE subscription = 'idle'")
    make_due()
    assert shop.drain()
    assert shop.picked(stuck) == 1


def test_what_waits_is_handled_by_its_own_subscription(app: psycopg.Connection) -> None:
    registry, stuck = SubscriptionRegistry(), new_id()

    def pick(recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
        command = facts.PickOrder(cart_id=recorded.stream_id, quantity=recorded.data.quantity)
        return Execute(aggregate=WAREHOUSE, stream_id=stuck, command=command, creates=True)

    @registry.subscriber(id="first")
    class First:
        @handles(facts.CartCheckedOut)
        def checked_out(self, recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
            return pick(recorded)

    @registry.subscriber(id="second")
    class Second:
        @handles(facts.CartCheckedOut)
        def checked_out(self, recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
            return pick(recorded)

    shop = Shop(registry)
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    make_due()
    first, _ = registry.all()
    assert parking.retry_waiting(first, store=shop.store)
    assert [subscription for subscription, _, _ in parked()] == ["second"]
    assert _attempts() == [0]


def test_what_has_failed_is_not_tried_with_what_waits(app: psycopg.Connection) -> None:
    def check(quantity: int) -> None:
        if quantity == 13:
            raise ArithmeticError("thirteen")

    shop, stuck = Shop(_picking(check=check)), new_id()
    shop.order(new_id(), quantity=13)
    assert shop.drain()
    rows("UPDATE eventstore_parked_key SET attempts = 5")
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    make_due()
    (picking,) = shop.store.subscriptions.all()
    assert parking.retry_waiting(picking, store=shop.store)
    assert shop.picked(stuck) == 1
    assert _attempts() == [5]  # so that its delay goes on to grow


def test_only_what_is_due_is_tried_the_longest_overdue_first(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "WAITING_AT_ONCE", 2)
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        carts = [shop.order(stuck) for _ in range(4)]
        assert shop.drain()
    for minutes, cart in zip((1, 3, 2, -60), carts, strict=True):
        overdue = "UPDATE eventstore_parked_key SET next_attempt_at = now() - make_interval(mins => %s) WHERE key = %s"
        rows(overdue, [minutes, cart])
    (picking,) = shop.store.subscriptions.all()
    assert parking.retry_waiting(picking, store=shop.store)
    assert [key for _, key, _ in parked()] == [carts[0], carts[3]]
    assert shop.picked(stuck) == 2
    assert parking.retry_waiting(picking, store=shop.store)
    assert [key for _, key, _ in parked()] == [carts[3]]


def test_what_somebody_else_is_at_is_left_to_them(app: psycopg.Connection) -> None:
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        carts = [shop.order(stuck) for _ in range(2)]
        assert shop.drain()
    make_due()
    (picking,) = shop.store.subscriptions.all()
    key_ids = dict(rows("SELECT key, id FROM eventstore_parked_key"))
    rows("SET lock_timeout = '2s'")
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_parked_key WHERE key = %s FOR UPDATE", [carts[0]])
        assert parking.retry_waiting(picking, store=shop.store)
        assert rows("SELECT key FROM eventstore_parked_key") == [(carts[0],)]
        assert not parking._handle_waiting([key_ids[carts[0]]], picking, shop.store)  # taken just before
    assert shop.picked(stuck) == 1


def _counting(stuck: UUID) -> Shop:
    """A shop in which each item that is added is counted in one stream."""
    registry = SubscriptionRegistry()

    @registry.subscriber(id="counting")
    class Counting:
        @handles(facts.ItemAdded)
        def count(self, recorded: RecordedEvent[facts.ItemAdded]) -> Execute:
            command = facts.PickOrder(cart_id=recorded.event_id, quantity=recorded.version)
            return Execute(aggregate=WAREHOUSE, stream_id=stuck, command=command, creates=True)

    return Shop(registry)


def test_of_what_waits_under_one_key_each_has_its_turn(app: psycopg.Connection) -> None:
    stuck = new_id()
    shop = _counting(stuck)
    with _locked(app, stuck):
        shop.add(shop.open(), "a", "b")
        assert shop.drain()
    make_due()
    (counting,) = shop.store.subscriptions.all()
    assert parking.retry_waiting(counting, store=shop.store)
    assert shop.picked(stuck) == 1
    assert _attempts() == [0]
    assert parking.retry_waiting(counting, store=shop.store)  # the next is due at once
    assert shop.picked(stuck) == 2
    assert _attempts() == []
    assert not parking.retry_waiting(counting, store=shop.store)


def test_a_drain_goes_on_with_what_waited_until_nothing_is_left(app: psycopg.Connection) -> None:
    stuck = new_id()
    shop = _counting(stuck)
    with _locked(app, stuck):
        shop.add(shop.open(), "a", "b", "c")
        assert shop.drain()
    make_due()
    assert shop.drain()
    assert shop.picked(stuck) == 3
    assert parked() == []


def test_a_retry_that_meets_a_locked_stream_does_not_count(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "WAIT_SECONDS", 60)
    shop, stuck = Shop(_picking()), new_id()
    (picking,) = shop.store.subscriptions.all()
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
        rows("UPDATE eventstore_parked_key SET attempts = 5, next_attempt_at = clock_timestamp()")
        key_id = value("SELECT id FROM eventstore_parked_key")
        assert parking.retry(key_id, picking, store=shop.store) is parking.Retry.STILL_PARKED
    assert _attempts() == [5]
    assert value("SELECT next_attempt_at > clock_timestamp() FROM eventstore_parked_key")


@pytest.mark.parametrize("state", ["53100", "42501"])  # a full disk, a right that is gone
def test_what_waits_while_the_database_is_unwell_goes_on_waiting(state: str, app: psycopg.Connection) -> None:
    well = True

    def check(_: int) -> None:
        if not well:
            rows(f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$")

    shop, stuck = Shop(_picking(check=check)), new_id()
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    well = False
    make_due()
    (picking,) = shop.store.subscriptions.all()
    assert not parking.retry_waiting(picking, store=shop.store)
    assert _attempts() == [0]
    well = True
    make_due()
    assert parking.retry_waiting(picking, store=shop.store)
    assert shop.picked(stuck) == 1


def test_a_state_that_is_remembered_wrongly_is_forgotten_by_who_waits_for_its_stream(app: psycopg.Connection) -> None:
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    ahead = Loaded(stream_id=stuck, state=Warehouse(orders=9), version=9)
    cache.feed([(("default", "warehouse", stuck), ahead)])
    make_due()
    (picking,) = shop.store.subscriptions.all()
    assert parking.retry_waiting(picking, store=shop.store)
    assert shop.picked(stuck) == 1
    assert parked() == []


def test_a_state_that_is_remembered_wrongly_fails_one_retry_and_no_more(app: psycopg.Connection) -> None:
    shop, stuck = Shop(_picking()), new_id()
    with _locked(app, stuck):
        shop.order(stuck)
        assert shop.drain()
    ahead = Loaded(stream_id=stuck, state=Warehouse(orders=9), version=9)
    cache.feed([(("default", "warehouse", stuck), ahead)])
    (picking,) = shop.store.subscriptions.all()
    key_id = value("SELECT id FROM eventstore_parked_key")
    outcomes = [parking.retry(key_id, picking, store=shop.store) for _ in range(2)]
    assert outcomes == [parking.Retry.STILL_PARKED, parking.Retry.FREED]
    assert shop.picked(stuck) == 1
