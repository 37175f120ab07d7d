"""Parking: what cannot be handled waits by key, its followers behind it in order, and everybody else goes on."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest

from eventstore.events import RecordedEvent
from eventstore.ids import new_id
from eventstore.subscriptions import parking
from eventstore.subscriptions.handling import ALONE_SECONDS
from eventstore.subscriptions.parking import NotDiscardable, Retry, discard, retry
from eventstore.subscriptions.registry import Execute, Follows, SubscriptionRegistry, handles
from tests.integration.shops import (
    POISON,
    Shop,
    counted,
    in_process,
    make_due,
    note,
    notes,
    parked,
    rows,
    together,
    value,
    watching,
)
from tests.shopping_cart import facts
from tests.shopping_cart.handlers import SUBSCRIPTIONS
from tests.shopping_cart.warehouse import WAREHOUSE

pytestmark = pytest.mark.usefixtures("shop_database")

Added = RecordedEvent[facts.ItemAdded]

SELECT_DELAY = """
SELECT attempts, ceil(extract(epoch FROM next_attempt_at - clock_timestamp()))::integer FROM eventstore_parked_key
"""

# An event whose fields are not those of its class: somebody's mistake of long ago.
INSERT_BROKEN = """
WITH broken AS (
    INSERT INTO eventstore_event
        (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
    VALUES (gen_random_uuid(), 'cart', %s, 2, 'ItemAdded', 2, '{"sku": 7}',
        '{"actor": "old", "correlation_id": "01990000-0000-7000-8000-000000000000"}', clock_timestamp())
    RETURNING id
)
INSERT INTO eventstore_outbox (event_id, stream_bucket) SELECT id, 7 FROM broken
"""


# A key with nothing behind it, so many attempts and seconds before its time.
INSERT_PARKED = """
INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
VALUES ('watcher', gen_random_uuid(), %s, clock_timestamp() + make_interval(secs => %s), clock_timestamp(), 'made up')
"""


class Sickness:
    """A handler that chokes on some skus, until it is healed of them."""

    def __init__(self, *skus: str) -> None:
        self.skus = set(skus)
        self.tries: list[str] = []

    def handle(self, recorded: Added) -> None:
        """Writes the item down, or fails."""
        self.tries.append(recorded.data.sku)
        if recorded.data.sku in self.skus:
            raise ArithmeticError(recorded.data.sku)
        note(recorded)


def _key_id() -> int:
    return int(value("SELECT id FROM eventstore_parked_key"))


# --- Waiting behind the key ---------------------------------------------------------------------------------


def test_the_followers_of_a_parked_event_wait_behind_it_and_the_others_go_on() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    alices, bobs = shop.open(), shop.open()
    shop.add(alices, "a1", POISON, "a2")
    shop.add(bobs, "b1")
    assert shop.drain()
    shop.add(alices, "a3")
    shop.add(bobs, "b2")
    assert shop.drain()
    assert notes() == ["a1", "b1", "b2"]
    assert [key for _, key, _ in parked()] == [alices] * 3
    sickness.skus.clear()
    make_due()
    assert shop.drain()
    assert notes() == ["a1", "b1", "b2", POISON, "a2", "a3"]
    assert parked() == []
    assert value("SELECT count(*) FROM eventstore_parked_key") == 0
    shop.add(alices, "a4")
    assert shop.drain()
    assert notes()[-1] == "a4"


def test_the_key_is_not_the_route_so_one_poisoned_cart_never_stops_a_busy_warehouse() -> None:
    registry = SubscriptionRegistry()

    def warehouse_of(event: facts.CartCheckedOut) -> UUID:
        return event.warehouse_id

    @registry.subscriber(id="picking", follows=Follows.ROUTE)
    class Picking:
        @handles(facts.CartCheckedOut, route=warehouse_of)
        def pick(self, recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
            if recorded.data.quantity == 13:
                raise ArithmeticError
            command = facts.PickOrder(cart_id=recorded.stream_id, quantity=recorded.data.quantity)
            id = recorded.data.warehouse_id
            return Execute(aggregate=WAREHOUSE, stream_id=id, command=command, creates=True)

    shop, warehouse = Shop(registry), new_id()
    carts = [shop.order(warehouse, quantity=quantity) for quantity in (1, 2, 13, 4, 5)]
    assert shop.drain()
    assert shop.picked(warehouse) == 4
    assert [key for _, key, _ in parked()] == [carts[2]]


def test_what_is_delivered_again_while_it_is_parked_is_parked_once() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON, "a")
    assert shop.drain()
    before = parked()
    rows("UPDATE eventstore_checkpoint SET position = 0")
    assert shop.drain()
    assert parked() == before
    assert len(before) == 2


def test_an_event_that_cannot_be_read_is_parked_by_its_stream() -> None:
    shop = Shop(watching(note))
    cart_id = shop.open()
    rows(INSERT_BROKEN, [cart_id])
    shop.add(shop.open(), "b")
    assert shop.drain()
    assert notes() == ["b"]
    assert [key for _, key, _ in parked()] == [cart_id]
    assert value("SELECT error FROM eventstore_parked_key").startswith("ValidationError: ")


def test_a_key_that_cannot_be_told_is_the_stream() -> None:
    registry = SubscriptionRegistry()

    def broken(recorded: RecordedEvent[Any]) -> UUID:
        raise LookupError("no such key")

    @registry.subscriber(id="keyless", key=broken)
    class Keyless:
        @handles(facts.ItemAdded)
        def added(self, recorded: Added) -> None:
            note(recorded)

    shop = Shop(registry)
    cart_id = shop.open()
    shop.add(cart_id, "a")
    assert shop.drain()
    assert [key for _, key, _ in parked()] == [cart_id]


def test_a_key_that_one_subscription_has_parked_is_nothing_to_another() -> None:
    sickness = Sickness(POISON)
    registry = watching(sickness.handle)

    @registry.subscriber(id="healthy")
    class Healthy:
        @handles(facts.ItemAdded)
        def added(self, recorded: Added) -> None:
            note(recorded, f"healthy {recorded.data.sku}")

    shop = Shop(registry)
    cart_id = shop.open()
    shop.add(cart_id, POISON)
    assert shop.drain()
    shop.add(cart_id, "a")
    assert shop.drain()
    assert notes() == [f"healthy {POISON}", "healthy a"]
    assert [subscription for subscription, _, _ in parked()] == ["watcher", "watcher"]


def test_what_two_subscriptions_have_parked_each_retries_for_itself() -> None:
    sickness = Sickness(POISON)
    registry = watching(sickness.handle)

    @registry.subscriber(id="ill")
    class Ill:
        @handles(facts.ItemAdded)
        def added(self, recorded: Added) -> None:
            raise ArithmeticError

    shop = Shop(registry)
    cart_id = shop.open()
    shop.add(cart_id, POISON)
    parkings = counted("eventstore_parkings_total", subscription="ill")
    assert shop.drain()
    assert counted("eventstore_parkings_total", subscription="ill") == parkings + 1
    sickness.skus.clear()
    key_ids = dict(rows("SELECT subscription, id FROM eventstore_parked_key"))
    watcher = registry.get("watcher")
    assert watcher is not None
    assert retry(key_ids["watcher"], watcher, store=shop.store) is Retry.FREED
    assert parked() == [("ill", cart_id, 2)]


def test_what_fails_under_a_key_that_only_waited_is_parked_in_earnest() -> None:
    shop = Shop(watching(note))
    cart_id = shop.open()
    assert shop.drain()
    rows(
        """
        INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
        VALUES ('watcher', %s, 0, clock_timestamp() + interval '1 second', clock_timestamp(), 'waits')
        """,
        [cart_id],
    )
    rows(INSERT_BROKEN, [cart_id])
    assert shop.drain()
    ((attempts, error),) = rows("SELECT attempts, error FROM eventstore_parked_key")
    assert attempts == 1
    assert error.startswith("ValidationError: ")


# --- Retrying -----------------------------------------------------------------------------------------------


def test_a_retry_comes_by_itself_and_the_delay_grows_up_to_an_hour() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    delays = rows(SELECT_DELAY)
    for _ in range(4):
        tried = len(sickness.tries)
        assert shop.drain()
        assert len(sickness.tries) == tried  # not before its time
        make_due()
        assert shop.drain()
        assert len(sickness.tries) == tried + 1
        delays += rows(SELECT_DELAY)
    assert delays == [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32)]
    rows("UPDATE eventstore_parked_key SET attempts = 40")
    make_due()
    assert shop.drain()
    assert rows(SELECT_DELAY) == [(41, 3600)]


@pytest.mark.parametrize("log", ["ahead", "behind"])
@pytest.mark.parametrize("attempts", [0, 1, 5])
def test_a_clock_that_is_set_back_puts_off_no_retry(attempts: int, log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "HEED_SECONDS", 5.0 if log == "ahead" else 0.0)
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    tried = len(sickness.tries)
    rows("UPDATE eventstore_parked_key SET attempts = %s", [attempts])
    rows("UPDATE eventstore_parked_key SET next_attempt_at = clock_timestamp() + interval '10 minutes'")
    if log == "ahead":  # otherwise nothing but a retry came while the clock was
        rows("UPDATE eventstore_sequencer SET sequenced_at = clock_timestamp() + interval '10 minutes'")
    sickness.skus.clear()
    assert shop.drain()
    assert len(sickness.tries) == tried + 1
    assert parked() == []


def test_keys_are_looked_at_for_a_clock_that_was_set_back_every_few_seconds_unless_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(parking, "_heeded_at", {})
    monkeypatch.setattr(parking, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def is_brought_forward() -> bool:
        rows("DELETE FROM eventstore_parked_key")
        rows(INSERT_PARKED, [1, 600])
        parking.heed_clock(using="default")
        return bool(value("SELECT next_attempt_at <= clock_timestamp() FROM eventstore_parked_key"))

    brought = []
    for now[0] in (100.0, 104.9, 105.0, 109.9):
        brought.append(is_brought_forward())
    assert brought == [True, False, True, False]
    rows("UPDATE eventstore_sequencer SET sequenced_at = clock_timestamp() + interval '1 day'")
    assert is_brought_forward()


def test_a_clock_that_is_set_back_brings_forward_only_what_is_further_away_than_its_delay(
    app: psycopg.Connection,
) -> None:
    cases = [(0, 1.9, False), (5, 100, True), (10, 600, False), (40, 3_000, False), (40, 4_000, True), (5, 90, False)]
    for attempts, seconds, _ in cases:
        rows(INSERT_PARKED, [attempts, seconds])
    rows("UPDATE eventstore_sequencer SET sequenced_at = clock_timestamp() + interval '1 day'")
    rows("SET lock_timeout = '2s'")
    with app.transaction():  # somebody is at the last
        app.execute("SELECT 1 FROM eventstore_parked_key ORDER BY id DESC LIMIT 1 FOR UPDATE")
        parking.heed_clock(using="default")
    delays = rows(
        "SELECT extract(epoch FROM next_attempt_at - parked_at)::float8 FROM eventstore_parked_key ORDER BY id"
    )
    brought = [delay < seconds / 2 for (delay,), (_, seconds, _) in zip(delays, cases, strict=True)]
    assert brought == [expected for _, _, expected in cases]


def test_what_is_overdue_for_longest_is_due_first() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    carts = [shop.open() for _ in range(3)]
    for cart in carts:
        shop.add(cart, POISON)
    assert shop.drain()
    for minutes, cart in zip((1, 3, 2), carts, strict=True):
        overdue = "UPDATE eventstore_parked_key SET next_attempt_at = now() - make_interval(mins => %s) WHERE key = %s"
        rows(overdue, [minutes, cart])
    key_ids = dict(rows("SELECT key, id FROM eventstore_parked_key"))
    due = parking.due_keys(shop.store.subscriptions.all(), limit=2, using="default")
    assert [key.id for key in due] == [key_ids[carts[1]], key_ids[carts[2]]]


def test_what_is_done_to_one_key_is_done_to_no_other() -> None:
    sickness = Sickness("alice", "bob")
    shop = Shop(watching(sickness.handle))
    alices, bobs = shop.open(), shop.open()
    shop.add(alices, "alice", "a")
    shop.add(bobs, "bob", "b")
    assert shop.drain()
    (watcher,) = shop.store.subscriptions.all()
    key_ids = dict(rows("SELECT key, id FROM eventstore_parked_key"))
    other = "SELECT attempts, next_attempt_at, error FROM eventstore_parked_key WHERE key = %s"
    before = rows(other, [bobs])
    failed = counted("eventstore_retries_total", subscription="watcher", outcome="still parked")
    assert retry(key_ids[alices], watcher, store=shop.store) is Retry.STILL_PARKED
    assert counted("eventstore_retries_total", subscription="watcher", outcome="still parked") == failed + 1
    sickness.skus = {"bob"}
    assert retry(key_ids[alices], watcher, store=shop.store) is Retry.FREED
    assert notes() == ["alice", "a"]
    assert [key for _, key, _ in parked()] == [bobs, bobs]
    assert rows(other, [bobs]) == before


def test_a_key_that_is_being_retried_delays_no_other(app: psycopg.Connection) -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    shop.add(shop.open(), "b")
    rows("SET lock_timeout = '2s'")
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_parked_key FOR UPDATE")
        assert shop.drain()
        assert notes() == ["b"]


def test_a_retry_goes_as_far_as_it_can_and_keeps_the_order() -> None:
    sickness = Sickness("first", "second")
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), "first", "a", "second", "b")
    assert shop.drain()
    assert notes() == []
    sickness.skus = {"second"}
    make_due()
    assert shop.drain()
    assert notes() == ["first", "a"]
    assert [position for _, _, position in parked()] == [4, 5]
    assert value("SELECT error FROM eventstore_parked_key") == "ArithmeticError: second"


def test_what_a_retry_does_and_that_it_is_done_are_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    sickness.skus.clear()
    (watcher,) = shop.store.subscriptions.all()

    def fail(*_: Any) -> bool:
        raise ArithmeticError("at the very end")

    with monkeypatch.context() as patched:
        patched.setattr(parking, "_remove", fail)
        assert retry(_key_id(), watcher, store=shop.store) is Retry.STILL_PARKED
    assert (notes(), len(parked())) == ([], 1)
    assert retry(_key_id(), watcher, store=shop.store) is Retry.FREED
    assert (notes(), len(parked())) == ([POISON], 0)


def test_a_connection_lost_in_a_retry_leaves_it_handled_once(app: psycopg.Connection) -> None:
    sickness = Sickness(POISON)
    killed: list[int] = []

    def note_and_die_once(recorded: Added) -> None:
        sickness.handle(recorded)
        if recorded.data.sku == "a" and not killed:
            killed.append(value("SELECT pg_backend_pid()"))
            app.execute("SELECT pg_terminate_backend(%s)", killed)

    shop = Shop(watching(note_and_die_once))
    shop.add(shop.open(), POISON, "a", "b")
    assert shop.drain()
    sickness.skus.clear()
    (watcher,) = shop.store.subscriptions.all()
    assert retry(_key_id(), watcher, store=shop.store) is Retry.STILL_PARKED
    assert notes() == [POISON]
    assert retry(_key_id(), watcher, store=shop.store) is Retry.FREED
    assert notes() == [POISON, "a", "b"]
    assert len(killed) == 1


def test_a_retry_without_a_right_or_a_table_does_not_count_and_tells_what_is_missing() -> None:
    sickness = Sickness(POISON)
    is_lost = False

    def note_if_possible(recorded: Added) -> None:
        if is_lost:
            rows("REVOKE INSERT ON readmodel.journal FROM CURRENT_USER")
        sickness.handle(recorded)

    shop = Shop(watching(note_if_possible))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    sickness.skus.clear()
    is_lost = True
    (watcher,) = shop.store.subscriptions.all()
    assert retry(_key_id(), watcher, store=shop.store) is Retry.STILL_PARKED
    ((attempts, error, waits),) = rows("""
        SELECT attempts, error, next_attempt_at - clock_timestamp() <= interval '0.5 s' FROM eventstore_parked_key
    """)
    assert (attempts, waits) == (1, True)
    assert error == "ProgrammingError: permission denied for table journal"
    is_lost = False
    assert retry(_key_id(), watcher, store=shop.store) is Retry.FREED
    assert notes() == [POISON]


def test_a_retry_that_kills_its_process_counts_and_comes_later_next_time() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    shop.add(shop.open(), "b")
    assert shop.drain()
    make_due()

    def die(recorded: Added) -> None:
        os._exit(9)

    assert in_process(Shop(watching(die)).drain) == 9
    assert rows(SELECT_DELAY) == [(2, 4)]
    assert len(parked()) == 1
    shop.add(shop.open(), "c")
    assert shop.drain()
    assert notes() == ["b", "c"]


def test_an_event_that_comes_during_a_retry_waits_and_is_handled_after_it(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sickness = Sickness(POISON)
    retrying = threading.Event()
    set_aside, failures = parking.set_aside, []

    def look(*arguments: Any) -> list[RecordedEvent[Any]]:
        try:
            return set_aside(*arguments)
        except Exception as error:
            failures.append(error)
            raise

    monkeypatch.setattr(parking, "set_aside", look)

    def slow_when_retried(recorded: Added) -> None:
        sickness.handle(recorded)
        if recorded.data.sku == POISON:
            retrying.set()
            _wait_until_somebody_waits(app)

    shop = Shop(watching(slow_when_retried))
    cart_id = shop.open()
    shop.add(cart_id, POISON)
    assert shop.drain()
    shop.add(cart_id, "after")
    sickness.skus.clear()
    (watcher,) = shop.store.subscriptions.all()
    key_id = _key_id()

    def live() -> bool:
        assert retrying.wait(timeout=10)
        return shop.drain()

    _, drained = together([lambda: retry(key_id, watcher, store=shop.store) is Retry.FREED, live])
    assert drained
    assert failures == []  # it waited for the key, rather than find out by a foreign key that it is gone
    assert notes() == [POISON, "after"]
    assert parked() == []


def _wait_until_somebody_waits(app: psycopg.Connection) -> None:
    deadline = time.monotonic() + 10
    while not app.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
        assert time.monotonic() < deadline, "nobody waited"


def test_two_retries_at_once_handle_it_once() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON, *"abcdef")
    assert shop.drain()
    sickness.skus.clear()
    (watcher,) = shop.store.subscriptions.all()
    key_id = _key_id()
    together([lambda: retry(key_id, watcher, store=shop.store)] * 3)
    make_due()
    assert shop.drain()
    assert notes() == [POISON, *"abcdef"]


def test_a_retry_beside_one_that_is_under_way_does_nothing() -> None:
    sickness, began, done = Sickness(POISON), threading.Event(), threading.Event()

    def handle_slowly(recorded: Added) -> None:
        sickness.handle(recorded)
        if recorded.data.sku == POISON and not began.is_set():
            began.set()
            assert done.wait(ALONE_SECONDS / 2)

    def retry_meanwhile() -> Retry:
        assert began.wait(ALONE_SECONDS * 10)
        outcome = retry(key_id, watcher, store=shop.store)
        done.set()
        return outcome

    shop = Shop(watching(handle_slowly))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    sickness.skus.clear()
    (watcher,) = shop.store.subscriptions.all()
    key_id = _key_id()
    assert together([lambda: retry(key_id, watcher, store=shop.store), retry_meanwhile]) == [Retry.FREED, Retry.BUSY]
    assert notes() == [POISON]


def test_a_retry_of_what_was_handled_under_a_lost_checkpoint_changes_nothing() -> None:
    shop, warehouse = Shop(SUBSCRIPTIONS), new_id()
    cart_id = shop.order(warehouse)
    assert shop.drain()
    picking = SUBSCRIPTIONS.get("shop.picking")
    assert picking is not None
    position = value("""
        SELECT position FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
        WHERE e.event_type = 'CartCheckedOut'
    """)
    rows(
        """
        WITH parked AS (
            INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
            VALUES ('shop.picking', %s, clock_timestamp(), clock_timestamp(), 'made up') RETURNING id
        )
        INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
        SELECT id, 'shop.picking', %s, clock_timestamp() FROM parked
        """,
        [cart_id, position],
    )
    assert retry(_key_id(), picking, store=shop.store) is Retry.FREED
    assert shop.drain()
    assert shop.picked(warehouse) == 1


def test_nothing_of_a_paused_subscription_is_retried() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    rows("UPDATE eventstore_checkpoint SET status = 'paused'")
    sickness.skus.clear()
    make_due()
    assert shop.drain()
    assert len(parked()) == 1


def test_a_pause_stops_the_retries_of_nobody_else() -> None:
    sickness = Sickness(POISON)
    registry = watching(sickness.handle)

    @registry.subscriber(id="idle")
    class Idle:
        @handles(facts.ItemRemoved)
        def removed(self, recorded: RecordedEvent[facts.ItemRemoved]) -> None:
            note(recorded)

    shop = Shop(registry)
    shop.add(shop.open(), POISON)
    assert shop.drain()
    rows("UPDATE eventstore_checkpoint SET status = 'paused' WHERE subscription = 'idle'")
    sickness.skus.clear()
    make_due()
    assert shop.drain()
    assert notes() == [POISON]


def test_nothing_is_retried_in_the_tables_of_another_version() -> None:
    shop = Shop(SUBSCRIPTIONS)
    cart_id = shop.open()
    rows(INSERT_BROKEN, [cart_id])
    assert shop.drain()
    assert len(parked()) == 1
    make_due()
    rows("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE subscription = 'shop.carts'")
    assert shop.drain()
    assert value("SELECT attempts FROM eventstore_parked_key") == 1
    rows("UPDATE eventstore_checkpoint SET projection_version = 1 WHERE subscription = 'shop.carts'")
    assert shop.drain()
    assert value("SELECT attempts FROM eventstore_parked_key") == 2


# --- Giving up ----------------------------------------------------------------------------------------------


def test_a_discarded_event_ends_its_story_by_a_command_and_is_recorded() -> None:
    shop = Shop(SUBSCRIPTIONS)
    # The warehouse's stream is a cart's already, so that no order can be picked there.
    warehouse = shop.open()
    cart_id = shop.order(warehouse)
    assert shop.drain()
    assert [key for _, key, _ in parked()] == [cart_id]
    assert shop.status(cart_id) == "ordered"
    picking = SUBSCRIPTIONS.get("shop.picking")
    assert picking is not None
    position = discard(_key_id(), picking, actor="staff:olga", reason="no such warehouse", store=shop.store)
    assert shop.status(cart_id) == "given up"
    assert parked() == []
    assert rows("SELECT actor, action, subscription, detail ->> 'reason' FROM eventstore_operation") == [
        ("staff:olga", "discard", "shop.picking", "no such warehouse")
    ]
    assert value("SELECT (detail ->> 'position')::integer FROM eventstore_operation") == position
    ending = "SELECT metadata ->> 'causation_id' FROM eventstore_event WHERE event_type = 'CartGivenUp'"
    cause = "SELECT event_id::text FROM eventstore_event WHERE event_type = 'CartCheckedOut'"
    assert value(ending) == value(cause)


def test_a_discard_is_recorded_of_its_own_key() -> None:
    shop = Shop(SUBSCRIPTIONS)
    warehouse = shop.open()
    carts = [shop.order(warehouse) for _ in range(2)]
    assert shop.drain()
    picking = SUBSCRIPTIONS.get("shop.picking")
    assert picking is not None
    key_ids = dict(rows("SELECT key, id FROM eventstore_parked_key"))
    discard(key_ids[carts[1]], picking, actor="staff:olga", reason="no such warehouse", store=shop.store)
    assert value("SELECT detail ->> 'key' FROM eventstore_operation") == str(carts[1])
    assert [shop.status(cart) for cart in carts] == ["ordered", "given up"]


def test_what_has_no_sound_ending_is_not_discarded() -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON, "a")
    assert shop.drain()
    (watcher,) = shop.store.subscriptions.all()
    with pytest.raises(NotDiscardable, match="no sound end is known for ItemAdded in watcher"):
        discard(_key_id(), watcher, actor="staff:olga", reason="tired of it", store=shop.store)
    assert len(parked()) == 2
    assert value("SELECT count(*) FROM eventstore_operation") == 0


@pytest.mark.parametrize(
    ("attempts", "error", "is_refused"),
    [
        (0, parking.WAITING, True),
        (1, parking.WAITING, True),  # it is about to be tried for the first time since
        (2, parking.WAITING, False),  # which has ended its process
        (1, "StreamConflict: not a warehouse", False),
    ],
)
def test_what_only_waits_is_not_discarded(attempts: int, error: str, is_refused: bool) -> None:
    shop = Shop(SUBSCRIPTIONS)
    cart_id = shop.order(shop.open())
    assert shop.drain()
    rows("UPDATE eventstore_parked_key SET attempts = %s, error = %s", [attempts, error])
    picking = SUBSCRIPTIONS.get("shop.picking")

    def give_up() -> None:
        assert picking is not None
        discard(_key_id(), picking, actor="staff:olga", reason="no such warehouse", store=shop.store)

    if is_refused:
        with pytest.raises(NotDiscardable, match="nothing has failed: it waits for a stream"):
            give_up()
    else:
        give_up()
    assert shop.status(cart_id) == ("ordered" if is_refused else "given up")
    assert len(parked()) == is_refused


def test_what_is_being_retried_is_not_discarded(app: psycopg.Connection) -> None:
    sickness = Sickness(POISON)
    shop = Shop(watching(sickness.handle))
    shop.add(shop.open(), POISON)
    assert shop.drain()
    (watcher,) = shop.store.subscriptions.all()
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_parked_key FOR UPDATE")
        with pytest.raises(LookupError, match="being retried"):
            discard(_key_id(), watcher, actor="staff:olga", reason="tired of it", store=shop.store)
        assert retry(_key_id(), watcher, store=shop.store) is Retry.BUSY


def test_an_error_is_told_in_a_bounded_line() -> None:
    assert len(parking.describe(ValueError("x" * 10_000))) == 2_000
    assert parking.describe(ValueError("what it is\nand a row of somebody's")) == "ValueError: what it is"
