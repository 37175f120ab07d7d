"""Subscriptions: every event handled once, in order, in the transaction that moves the checkpoint."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from pytest_django import Settings

from eventstore import dispatch
from eventstore.appending import StreamConflict
from eventstore.buckets import bucket_of
from eventstore.events import RecordedEvent
from eventstore.ids import new_id
from eventstore.loading import cache
from eventstore.registry import EventRegistry
from eventstore.snapshots import Loaded
from eventstore.store import EventStore
from eventstore.subscriptions import checkpoints, reading, runner
from eventstore.subscriptions.reading import Range, read_window
from eventstore.subscriptions.registry import Execute, SubscriptionRegistry, handles
from eventstore.subscriptions.runner import Progress, advance
from tests.integration.shops import (
    POISON,
    Shop,
    counted,
    in_process,
    make_due,
    make_tables,
    note,
    notes,
    parked,
    rows,
    together,
    value,
    watching,
)
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART
from tests.shopping_cart.handlers import SUBSCRIPTIONS
from tests.shopping_cart.warehouse import WAREHOUSE, Warehouse

Added = RecordedEvent[facts.ItemAdded]

# All that streams are made of, identity included; what the clock and the log have added is left out.
SELECT_HISTORY: Final = """
SELECT stream_id, version, event_id, event_type, data, metadata FROM eventstore_event ORDER BY stream_id, version
"""
SELECT_CARTS: Final = "SELECT * FROM readmodel.cart ORDER BY cart_id"
SELECT_CHECKPOINT: Final = "SELECT position, attempts, held_reason FROM eventstore_checkpoint"

# An event of a later version of the program.
INSERT_UNKNOWN: Final = """
WITH unknown AS (
    INSERT INTO eventstore_event
        (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
    VALUES (gen_random_uuid(), 'cart', %s, %s, %s, %s, '{}', %s, clock_timestamp())
    RETURNING id
)
INSERT INTO eventstore_outbox (event_id, stream_bucket) SELECT id, 7 FROM unknown
"""


def _note(recorded: Added) -> None:
    note(recorded)


# --- Exactly once -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shop_database")
class TestExactlyOnce:
    """One handling of each event, whatever breaks."""

    def test_it_handles_each_event_once_and_in_order(self) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a", "b", "c")
        assert shop.drain()
        shop.add(shop.open(), "d")
        assert shop.drain()
        assert shop.drain()
        assert notes() == ["a", "b", "c", "d"]

    def test_it_counts_what_it_handles_and_how_long_that_took(self) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a", "b")
        names = (
            "eventstore_handled_events_total",
            "eventstore_handling_seconds_count",
            "eventstore_handling_seconds_sum",
        )
        before = [counted(name, subscription="watcher") for name in names]
        assert shop.drain()
        events, batches, seconds = (
            counted(name, subscription="watcher") - past for name, past in zip(names, before, strict=True)
        )
        assert (events, batches) == (2, 1)
        assert 0 < seconds < 60

    def test_a_connection_lost_between_handling_and_commit_leaves_it_handled_once(
        self, app: psycopg.Connection
    ) -> None:
        killed: list[int] = []

        def note_and_die_once(recorded: Added) -> None:
            note(recorded)
            if recorded.data.sku == "c" and not killed:
                killed.append(value("SELECT pg_backend_pid()"))
                app.execute("SELECT pg_terminate_backend(%s)", killed)

        shop = Shop(watching(note_and_die_once))
        shop.add(shop.open(), "a", "b", "c")
        shop.drain()
        assert notes() == []  # the handling went with the transaction that it was in
        assert rows(SELECT_CHECKPOINT)[0][0] == 0
        make_due()
        assert shop.drain()
        assert notes() == ["a", "b", "c"]
        assert parked() == []
        assert len(killed) == 1

    def test_a_process_killed_between_handling_and_commit_leaves_it_handled_once(self) -> None:
        def note_and_stop(recorded: Added) -> None:
            note(recorded)
            raise KeyboardInterrupt

        cart_id = Shop().open()
        Shop().add(cart_id, "a", "b")
        assert in_process(Shop(watching(note_and_stop)).drain) == 70
        assert notes() == []
        make_due()
        assert Shop(watching(_note)).drain()
        assert notes() == ["a", "b"]

    def test_a_batch_and_its_checkpoint_are_one_transaction(self) -> None:
        shop = Shop(watching(_note, batch_size=5))
        shop.add(shop.open(), *"abcdefg")  # eight events with the opening: batches of five and three
        assert shop.drain()
        counted = rows("SELECT count(*) FROM readmodel.journal GROUP BY transaction ORDER BY min(id)")
        assert counted == [(4,), (3,)]
        last = value("SELECT max(transaction)::text FROM readmodel.journal")
        assert value("SELECT xmin::text FROM eventstore_checkpoint") == last

    def test_four_dispatchers_at_once_handle_each_event_once_and_in_its_stream_s_order(self) -> None:
        shop = Shop(watching(_note, partitions=4, batch_size=3))
        carts = [shop.open() for _ in range(8)]
        for number in range(6):
            for cart in carts:
                shop.add(cart, f"{number}")
        together([shop.drain] * 4)
        assert shop.drain()
        handled = rows("""
            SELECT e.stream_id, j.note FROM readmodel.journal j
            JOIN eventstore_log l USING (position) JOIN eventstore_event e ON e.id = l.event_id ORDER BY j.id
        """)
        assert {cart: [text for id, text in handled if id == cart] for cart in carts} == {
            cart: list("012345") for cart in carts
        }

    def test_nobody_else_has_the_right_to_advance_while_a_batch_is_handled(self) -> None:
        rights: list[bool] = []

        def try_to_take() -> bool:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT id FROM eventstore_checkpoint")
                return checkpoints.lock(cursor, cursor.fetchone()[0]) is not None

        shop = Shop(watching(lambda _: rights.extend(together([try_to_take]))))
        shop.add(shop.open(), "a")
        assert shop.drain()
        assert rights == [False]
        assert try_to_take()

    def test_every_event_delivered_twice_changes_nothing(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        warehouses = [new_id(), new_id()]
        carts = [shop.order(warehouses[number % 2]) for number in range(10)]
        assert shop.drain()
        before = rows(SELECT_HISTORY), rows(SELECT_CARTS)
        rows("UPDATE eventstore_checkpoint SET position = 0")
        assert shop.drain()
        assert (rows(SELECT_HISTORY), rows(SELECT_CARTS)) == before
        assert {shop.status(cart) for cart in carts} == {"picked"}
        assert [shop.picked(warehouse) for warehouse in warehouses] == [5, 5]
        assert parked() == []

    def test_an_old_event_delivered_again_beside_new_ones_changes_nothing(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        warehouse = new_id()
        shop.order(warehouse)
        assert shop.drain()
        rows("UPDATE eventstore_checkpoint SET position = 0")
        shop.order(warehouse)
        assert shop.drain()
        assert shop.picked(warehouse) == 2
        assert parked() == []


@pytest.mark.django_db
def test_a_batch_size_of_one_gives_the_events_that_five_hundred_give() -> None:
    shop = Shop(SUBSCRIPTIONS)
    make_tables()
    warehouses = [new_id() for _ in range(3)]
    for number in range(30):
        shop.order(warehouses[number % 3], quantity=number + 1)
    came_of_it = []
    before = transaction.savepoint()
    for batch_size in (500, 1, 7):
        assert shop.drain(batch_size=batch_size)
        came_of_it.append((rows(SELECT_HISTORY), rows(SELECT_CARTS)))
        transaction.savepoint_rollback(before)
    assert len(came_of_it[0][0]) == 30 * 5
    assert came_of_it[0] == came_of_it[1] == came_of_it[2]


# --- Who is due ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shop_database")
class TestDue:
    """One query names the checkpoints that have something to do."""

    def _due(self, shop: Shop) -> list[tuple[str, int]]:
        registry = shop.store.subscriptions
        checkpoints.ensure(registry, using="default")
        found = checkpoints.due([subscription.id for subscription in registry.all()], using="default")
        lows = dict(rows("SELECT id, bucket_low FROM eventstore_checkpoint"))
        return [(due.subscription, lows[due.id]) for due in found]

    def test_nobody_is_due_on_an_empty_log(self) -> None:
        assert self._due(Shop(watching(_note, partitions=4))) == []

    def test_only_the_range_that_an_event_is_in_is_due(self) -> None:
        shop = Shop(watching(_note, partitions=4))
        self._due(shop)
        cart_id = UUID(int=1)
        shop.open(cart_id)
        assert self._due(shop) == []  # it is in no range yet: it has no position
        _sequence()
        bucket = value("SELECT stream_bucket FROM eventstore_log")
        assert self._due(shop) == [("watcher", bucket // 64 * 64)]
        assert shop.drain()
        assert self._due(shop) == []

    def test_a_route_makes_due_whom_it_leads_to_and_no_other(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.open()
        _sequence()
        assert self._due(shop) == [("shop.carts", 0)]
        shop.order(new_id())
        _sequence()
        assert sorted(self._due(shop)) == [("shop.carts", 0), ("shop.picking", 0)]

    @pytest.mark.parametrize(
        "change",
        [
            "status = 'paused'",
            "status = 'replaying'",
            "held_until = clock_timestamp() + interval '8 seconds'",
        ],
    )
    def test_who_is_stopped_is_not_due(self, change: str) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a")
        _sequence()
        assert self._due(shop) == [("watcher", 0)]
        rows(f"UPDATE eventstore_checkpoint SET {change}")
        assert self._due(shop) == []
        assert shop.drain()
        assert notes() == []

    def test_what_is_behind_a_range_makes_it_due_no_more(self) -> None:
        shop = Shop(watching(_note, partitions=2))
        low, high = (next(id for id in iter(new_id, None) if bucket_of(id) // 128 == half) for half in (0, 1))
        shop.open(low)
        assert shop.drain()
        shop.open(high)
        _sequence()
        assert self._due(shop) == [("watcher", 128)]

    def test_who_is_furthest_behind_comes_first(self) -> None:
        shop = Shop(watching(_note, partitions=4))
        for _ in range(40):
            shop.open()
        _sequence()
        self._due(shop)
        for low, position in ((0, 3), (64, 1), (128, 2), (192, 0)):
            rows("UPDATE eventstore_checkpoint SET position = %s WHERE bucket_low = %s", [position, low])
        assert self._due(shop) == [("watcher", low) for low in (192, 64, 128, 0)]

    def test_who_was_paused_after_the_look_is_neither_stamped_nor_advanced(self) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a")
        _sequence()
        self._due(shop)
        id = value("SELECT id FROM eventstore_checkpoint")
        rows("UPDATE eventstore_checkpoint SET status = 'paused'")
        assert checkpoints.stamp(id, using="default") is None
        with transaction.atomic(), connection.cursor() as cursor:
            assert checkpoints.lock(cursor, id) is None

    def test_a_range_is_held_or_gone_through_carefully_by_itself(self) -> None:
        shop = Shop(watching(_note, partitions=2))
        self._due(shop)
        id = value("SELECT min(id) FROM eventstore_checkpoint")
        checkpoints.hold(id, seconds=5, reason="full", using="default")
        with transaction.atomic(), connection.cursor() as cursor:
            checkpoint = checkpoints.lock(cursor, id)
            assert checkpoint
            checkpoints.be_careful(cursor, checkpoint, 7)
        found = rows("SELECT held_reason, careful_until FROM eventstore_checkpoint ORDER BY id")
        assert found == [("full", 7), ("", None)]

    @pytest.mark.parametrize("follows", ["stream", "route"])
    def test_what_nobody_wants_stays_in_the_database(self, follows: str) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.order(new_id())
        _sequence()
        with connection.cursor() as cursor:
            everything = read_window(cursor, Range(follows, 0, 255), after=0, limit=50, unwanted=[])
            wanted = read_window(cursor, Range(follows, 0, 255), after=0, limit=50, unwanted=["CartCheckedOut"])
        names = [row.event_type for row in everything.rows]
        assert [row.event_type for row in wanted.rows] == [name for name in names if name != "CartCheckedOut"]
        assert len(wanted.rows) < len(names)
        assert (wanted.until, wanted.entries) == (everything.until, everything.entries)

    def test_a_hold_from_before_the_clock_was_set_back_is_over(self) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a")
        _sequence()
        rows("UPDATE eventstore_checkpoint SET held_until = clock_timestamp() + interval '1 hour'")
        assert shop.drain()
        assert notes() == ["a"]

    def test_a_subscription_of_another_program_is_not_due(self) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a")
        _sequence()
        rows("""
            INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position)
            VALUES ('stranger', 'stream', 0, 255, 0)
        """)
        assert self._due(shop) == [("watcher", 0)]

    def test_who_is_far_behind_is_due_though_nothing_concerns_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoints, "IDLE_LIMIT", 3)
        shop = Shop(SUBSCRIPTIONS)
        shop.add(shop.open(), "a", "b")
        _sequence()
        assert ("shop.picking", 0) not in self._due(shop)
        shop.add(shop.open(), "c")
        assert shop.drain()
        assert value("SELECT position FROM eventstore_checkpoint WHERE subscription = 'shop.picking'") == 5

    def test_a_projection_of_another_version_is_left_to_a_replay(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.open()
        self._due(shop)
        rows("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE subscription = 'shop.carts'")
        assert shop.drain()
        assert value("SELECT count(*) FROM readmodel.cart") == 0

    def test_tables_swapped_after_the_look_at_what_is_due_are_left_alone(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.open()
        _sequence()
        self._due(shop)  # makes the checkpoints
        rows("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE subscription = 'shop.carts'")
        checkpoint_id = value("SELECT id FROM eventstore_checkpoint WHERE subscription = 'shop.carts'")
        carts = SUBSCRIPTIONS.get("shop.carts")
        assert carts is not None
        assert advance(checkpoint_id, carts, store=shop.store) is Progress.BUSY
        assert value("SELECT count(*) FROM readmodel.cart") == 0

    def test_what_gets_its_position_while_a_batch_is_read_is_read_next_time(self) -> None:
        shop = Shop(watching(_note))
        cart_id = shop.open()
        shop.add(cart_id, "a")
        _sequence()
        self._due(shop)  # makes the checkpoint
        (watcher,) = shop.store.subscriptions.all()

        def sequence_another() -> None:
            shop.add(cart_id, "b")
            _sequence()

        def look(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
            answer = execute(statement, parameters, many, context)
            if statement == reading._READ_BY_STREAM:
                together([sequence_another])
            return answer

        with connection.execute_wrapper(look):
            advance(value("SELECT id FROM eventstore_checkpoint"), watcher, store=shop.store)
        assert notes() == ["a"]
        assert value("SELECT position FROM eventstore_checkpoint") == 2
        assert shop.drain()
        assert notes() == ["a", "b"]

    def test_it_ends_in_time_though_there_is_always_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        most = int(dispatch.BUDGET_SECONDS)
        seconds, handled = itertools.count(), list[int]()

        def ask_for_more(recorded: Added) -> Execute | None:
            handled.append(recorded.version)
            if len(handled) > 3 * most:
                return None
            return Execute(aggregate=CART, stream_id=recorded.stream_id, command=facts.AddItem(sku="more"))

        shop = Shop(watching(ask_for_more))
        shop.add(shop.open(), "a")
        clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=lambda _: None)  # a round, a second
        monkeypatch.setattr(dispatch, "time", clock)
        assert not shop.drain()
        assert most - 2 <= len(handled) <= most
        assert most == 20

    def test_a_lock_that_another_has_is_not_taken_for_empty(
        self, app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("eventstore.dispatch.BUSY_PAUSES", 2)
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a")
        assert shop.drain()
        shop.add(shop.open(), "b")
        with app.transaction():
            app.execute("SELECT 1 FROM eventstore_checkpoint FOR UPDATE")
            assert not shop.drain()
        assert shop.drain()
        assert notes() == ["a", "b"]

    def test_it_looks_again_at_what_another_had(self, app: psycopg.Connection) -> None:
        shop = Shop(watching(_note))
        shop.add(shop.open(), "a")
        assert shop.drain()
        shop.add(shop.open(), "b")
        app.execute("BEGIN")
        app.execute("SELECT 1 FROM eventstore_checkpoint FOR UPDATE")
        release = threading.Timer(0.1, app.execute, ["COMMIT"])
        release.start()
        assert shop.drain()
        release.join()
        assert notes() == ["a", "b"]


def _sequence() -> None:
    Shop().drain()  # nobody follows, so that it only sequences


# --- Failing ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shop_database")
class TestCulprits:
    """A failure parks who caused it, and nobody else."""

    def test_a_batch_is_split_until_the_culprit_stands_alone(self) -> None:
        handled_together: list[int] = []

        def note_or_fail(recorded: Added) -> None:
            if recorded.data.sku == POISON:
                raise ArithmeticError("cannot digest this")
            handled_together.append(recorded.version)
            note(recorded)

        shop = Shop(watching(note_or_fail))
        carts = [shop.open() for _ in range(20)]
        for number, cart in enumerate(carts):
            shop.add(cart, POISON if number == 13 else f"{number:02}")
        assert shop.drain()
        assert notes() == [f"{number:02}" for number in range(20) if number != 13]
        assert parked() == [("watcher", carts[13], 34)]
        assert value("SELECT error FROM eventstore_parked_key") == "ArithmeticError: cannot digest this"
        assert len(handled_together) < 80  # by halves, not one by one over and over
        assert value("SELECT count(DISTINCT transaction) FROM readmodel.journal") == 5
        assert value("SELECT position FROM eventstore_checkpoint") == 40

    def test_several_culprits_are_all_found(self) -> None:
        def note_or_fail(recorded: Added) -> None:
            if recorded.data.sku == POISON:
                raise ArithmeticError
            note(recorded)

        shop = Shop(watching(note_or_fail))
        carts = [shop.open() for _ in range(9)]
        for number, cart in enumerate(carts):
            shop.add(cart, POISON if number in (0, 4, 8) else f"{number}")
        assert shop.drain()
        assert notes() == ["1", "2", "3", "5", "6", "7"]
        assert [key for _, key, _ in parked()] == [carts[0], carts[4], carts[8]]

    def test_what_follows_a_culprit_is_handled_in_batches_no_larger_than_before(self) -> None:
        def note_or_fail(recorded: Added) -> None:
            if recorded.data.sku == POISON:
                raise ArithmeticError
            note(recorded)

        shop = Shop(watching(note_or_fail, batch_size=2))
        carts = [shop.open() for _ in range(4)]
        for cart, sku in zip(carts, (POISON, "b", "c", "d"), strict=True):
            shop.add(cart, sku)
        assert shop.drain()
        assert notes() == ["b", "c", "d"]
        assert rows("SELECT count(*) FROM readmodel.journal GROUP BY transaction ORDER BY min(id)") == [(1,), (2,)]

    def test_nothing_of_a_failed_batch_stays(self) -> None:
        attempts: list[str] = []

        def note_then_fail(recorded: Added) -> None:
            attempts.append(recorded.data.sku)
            note(recorded)
            if recorded.data.sku == POISON:
                raise ArithmeticError

        shop = Shop(watching(note_then_fail))
        cart = shop.open()
        shop.add(cart, "a", "b")
        shop.add(shop.open(), POISON)
        assert shop.drain()
        assert attempts.count("a") > 1
        assert notes() == ["a", "b"]

    def test_an_event_is_not_parked_for_another_that_somebody_else_has_gone_past(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sick = True

        def fail_while_sick(recorded: Added) -> None:
            if sick and recorded.data.sku == "a":
                raise ArithmeticError
            note(recorded)

        shop = Shop(watching(fail_while_sick, batch_size=1))
        shop.add(shop.open(), "a")
        shop.add(shop.open(), "b")
        park = runner._park_next

        def recover_first(checkpoint_id: int, *arguments: Any, **named: Any) -> Progress:
            nonlocal sick
            if sick:  # another worker handles it just before this one parks it
                sick = False
                subscription = shop.store.subscriptions.all()[0]
                make_due()
                assert together([lambda: advance(checkpoint_id, subscription, store=shop.store)]) == [Progress.FULL]
            return park(checkpoint_id, *arguments, **named)

        monkeypatch.setattr(runner, "_park_next", recover_first)
        assert shop.drain()
        assert notes() == ["a", "b"]
        assert parked() == []

    def test_who_handled_it_under_a_checkpoint_that_was_lost_is_no_culprit(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        warehouse = new_id()
        for _ in range(3):
            shop.order(warehouse)
        assert shop.drain()
        rows("UPDATE eventstore_checkpoint SET position = position - 2 WHERE subscription = 'shop.picking'")
        assert shop.drain()
        assert parked() == []
        assert shop.picked(warehouse) == 3


# --- Holding ------------------------------------------------------------------------------------------------


def _raise_in_database(state: str) -> Callable[[], None]:
    def fail() -> None:
        rows(f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$")

    return fail


def _raise_in_driver() -> None:
    # What COPY raises, which Django does not wrap.
    connection.connection.execute("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '53100'; END $$")


def _time_out() -> None:
    rows("SET LOCAL lock_timeout = '20ms'")
    rows("SELECT 1 FROM eventstore_sequencer FOR UPDATE")


def _lose_connection() -> None:
    rows("SELECT pg_terminate_backend(pg_backend_pid())")


def _cut_connection() -> None:
    """As a network does: nobody gets to say why."""
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)
    rows("SELECT 1")


PASSING = {
    "deadlock": _raise_in_database("40P01"),
    "serialization failure": _raise_in_database("40001"),
    "disk full": _raise_in_database("53100"),
    "disk full in a COPY": _raise_in_driver,
    "too many connections": _raise_in_database("53300"),
    "statement timeout": _raise_in_database("57014"),
    "shutdown": _raise_in_database("57P01"),
    "input/output error": _raise_in_database("58030"),
    "lock timeout": _time_out,
    "lost connection": _lose_connection,
    "connection cut": _cut_connection,
}


# What takes the ground from under every handler that writes the journal, until the transaction is rolled back; how that
# is named, and how long it is held for.
GROUNDLESS = {
    "a right": ("REVOKE INSERT ON readmodel.journal FROM CURRENT_USER", "permission denied for table journal", 5.0),
    "a table": ("ALTER TABLE readmodel.journal RENAME TO lost", 'relation "readmodel.journal" does not exist', 5.0),
    "a schema": ("CREATE TABLE lost.journal ()", 'schema "lost" does not exist', 5.0),
    "a server that writes": ("SET TRANSACTION READ ONLY", "cannot execute INSERT in a read-only transaction", 1.0),
}


@pytest.mark.usefixtures("shop_database")
class TestHolding:
    """What is not the event's fault stops the checkpoint for a while, and never parks."""

    def test_what_passes_holds_and_never_parks(self, app: psycopg.Connection) -> None:
        failing: list[str] = []

        def note_or_fail(recorded: Added) -> None:
            note(recorded)
            if failing and recorded.data.sku == "b":
                PASSING[failing[0]]()

        shop = Shop(watching(note_or_fail))
        (watcher,) = shop.store.subscriptions.all()
        cart_id = shop.open()
        assert shop.drain()
        checkpoint_id = value("SELECT id FROM eventstore_checkpoint")
        for done, failure in enumerate(PASSING):
            shop.add(cart_id, "a", "b", "c")
            _sequence()
            failing.append(failure)
            with app.transaction():
                app.execute("SELECT 1 FROM eventstore_sequencer FOR UPDATE")  # what the lock time-out waits for
                assert advance(checkpoint_id, watcher, store=shop.store) is Progress.HELD, failure
            ((position, attempts, reason),) = rows(SELECT_CHECKPOINT)
            # No attempt counts against the event, but for what may be its own doing.
            assert (position, attempts) == (1 + 3 * done, failure == "statement timeout"), failure
            assert reason, failure
            assert shop.drain()
            assert (notes(), parked()) == (["a", "b", "c"] * done, []), failure  # held means held
            failing.clear()
            make_due()
            assert shop.drain()
            assert notes() == ["a", "b", "c"] * (done + 1), failure
            assert rows(SELECT_CHECKPOINT) == [(4 + 3 * done, 0, "")]

    @pytest.mark.parametrize("lost", GROUNDLESS)
    def test_what_is_everybody_s_misfortune_holds_by_its_name_and_parks_nothing(
        self, lost: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        statement, told, seconds = GROUNDLESS[lost]
        held: list[float] = []
        hold = checkpoints.hold

        def note_time(checkpoint_id: int, *, seconds: float, **told: Any) -> None:
            held.append(seconds)
            hold(checkpoint_id, seconds=seconds, **told)

        is_lost = True

        def note_if_possible(recorded: Added) -> None:
            if is_lost:
                rows(statement)
            note(recorded)

        monkeypatch.setattr(checkpoints, "hold", note_time)
        registry = watching(note_if_possible)

        @registry.subscriber(id="elsewhere")
        class Elsewhere:
            @handles(facts.ItemAdded)
            def added(self, recorded: Added) -> None:
                note(recorded, f"elsewhere {recorded.data.sku}")

        shop = Shop(registry)
        for sku in "ab":
            shop.add(shop.open(), sku)
        assert shop.drain()
        assert parked() == []
        state = "SELECT position, attempts, held_reason FROM eventstore_checkpoint WHERE subscription = 'watcher'"
        ((position, attempts, reason),) = rows(state)
        assert (position, attempts) == (0, 0)
        assert told in reason
        assert held == [seconds]
        assert notes() == ["elsewhere a", "elsewhere b"]
        is_lost = False
        make_due()
        assert shop.drain()
        assert notes()[2:] == ["a", "b"]

    def test_a_batch_that_loses_each_race_is_begun_anew_so_many_times_and_then_held(self) -> None:
        tries: list[str] = []

        def lose(recorded: Added) -> None:
            tries.append(recorded.data.sku)
            PASSING["deadlock"]()

        shop = Shop(watching(lose))
        shop.add(shop.open(), "a")
        assert shop.drain()
        assert tries == ["a"] * 5
        assert value("SELECT held_reason FROM eventstore_checkpoint").startswith("OperationalError")

    def test_a_handler_that_meets_a_conflict_each_time_has_failed_like_any_other(self) -> None:
        tries: list[str] = []

        def conflict(recorded: Added) -> None:
            tries.append(recorded.data.sku)
            raise StreamConflict("another was faster")

        shop = Shop(watching(conflict, batch_size=1))
        shop.add(shop.open(), "a")
        assert shop.drain()
        assert tries == ["a"] * 10  # five times, and five times without what is known
        assert value("SELECT error FROM eventstore_parked_key") == "StreamConflict: another was faster"

    def test_what_is_neither_an_event_s_fault_nor_passes_by_itself_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise LookupError("of our own")

        shop = Shop(watching(lambda _: PASSING["disk full"]()))
        shop.add(shop.open(), "a")
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "hold", fail)
            with pytest.raises(LookupError, match="of our own"):
                shop.drain()
        make_due()
        monkeypatch.setattr(checkpoints, "stamp", fail)
        with pytest.raises(LookupError, match="of our own"):
            shop.drain()

    def test_a_connection_that_is_found_closed_by_a_hold_is_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hold, full = checkpoints.hold, True

        def lose_and_hold(*arguments: Any, **named: Any) -> None:
            connection.connection.close()
            hold(*arguments, **named)

        def note_or_fail(recorded: Added) -> None:
            if full:
                PASSING["disk full"]()
            note(recorded)

        shop = Shop(watching(note_or_fail))
        shop.add(shop.open(), "a")
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints, "hold", lose_and_hold)
            shop.drain()
        full = False
        make_due()
        assert shop.drain()
        assert notes() == ["a"]

    def test_what_another_program_must_mend_is_held_for_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        held: list[float] = []
        hold = checkpoints.hold

        def note_time(checkpoint_id: int, *, seconds: float, **told: Any) -> None:
            held.append(seconds)
            hold(checkpoint_id, seconds=seconds, **told)

        def fail(recorded: Added) -> None:
            PASSING[recorded.data.sku]()

        monkeypatch.setattr(checkpoints, "hold", note_time)
        holds = counted("eventstore_holds_total", subscription="watcher")
        shop = Shop(watching(fail))
        cart_id = shop.open()
        shop.add(cart_id, "disk full")
        assert shop.drain()
        rows("UPDATE eventstore_checkpoint SET position = 2")
        _insert_unknown(cart_id, version=3, name="CartTeleported")
        make_due()
        assert shop.drain()
        assert held == [1.0, 5.0]
        assert counted("eventstore_holds_total", subscription="watcher") == holds + 2

    def test_an_unknown_event_holds_what_follows_it_and_is_named(self) -> None:
        shop = Shop(watching(_note))
        cart_id = shop.open()
        shop.add(cart_id, "a")
        _insert_unknown(cart_id, version=3, name="CartTeleported")
        shop.add(shop.open(), "b")
        assert shop.drain()
        assert notes() == ["a"]  # what stands before it is handled
        (checkpoint,) = rows(SELECT_CHECKPOINT)
        assert checkpoint[0] == 2
        assert "CartTeleported" in checkpoint[2]
        assert parked() == []
        make_due()
        shop.drain()
        assert notes() == ["a"]

        make_due()
        informed = Shop(watching(_note))
        informed.store = EventStore(registry=_knowing("CartTeleported"), subscriptions=informed.store.subscriptions)
        assert informed.drain()
        assert notes() == ["a", "b"]

    def test_a_later_schema_version_of_a_known_event_holds_too(self) -> None:
        shop = Shop(watching(_note))
        cart_id = shop.open()
        _insert_unknown(cart_id, version=2, name="ItemAdded", schema_version=9)
        shop.add(shop.open(), "b")
        assert shop.drain()
        assert notes() == []
        assert "schema version 9" in value("SELECT held_reason FROM eventstore_checkpoint")
        assert parked() == []

    def test_an_unknown_event_that_another_range_follows_stops_only_that_one(self) -> None:
        shop = Shop(watching(_note, partitions=256))
        cart_id = shop.open()
        shop.add(cart_id, "a")
        bucket = value("SELECT stream_bucket FROM eventstore_outbox LIMIT 1")
        assert bucket != 7
        _insert_unknown(new_id(), version=1, name="CartTeleported")
        shop.add(cart_id, "b")
        assert shop.drain()
        assert notes() == ["a", "b"]

    def test_a_setting_that_is_missing_holds_rather_than_parks_every_person(self, settings: Settings) -> None:
        registry = SubscriptionRegistry()

        @registry.subscriber(id="letters")
        class Letters:
            @handles(facts.RecipientNamed)
            def write(self, recorded: RecordedEvent[facts.RecipientNamed]) -> None:
                note(recorded, recorded.data.name)

        shop = Shop(registry)
        for name in ("Alice", "Bob"):
            shop.tell(shop.open(), facts.NameRecipient(name=name))
        keys = settings.EVENTSTORE
        settings.EVENTSTORE = {**keys, "SEALING_KEYS": ()}
        assert shop.drain()
        assert parked() == []
        assert "SEALING_KEYS" in value("SELECT held_reason FROM eventstore_checkpoint")
        settings.EVENTSTORE = keys
        make_due()
        assert shop.drain()
        assert notes() == ["Alice", "Bob"]

    def test_a_state_that_this_process_remembers_wrongly_holds_nothing_for_long(self) -> None:
        warehouse = new_id()
        shop = Shop(SUBSCRIPTIONS)
        shop.order(warehouse)
        # As after a restore from a backup that is older than this process.
        ahead = Loaded(stream_id=warehouse, state=Warehouse(orders=9), version=9)
        cache.feed([(("default", "warehouse", warehouse), ahead)])
        assert shop.drain()
        assert shop.picked(warehouse) == 1
        assert value("SELECT held_reason FROM eventstore_checkpoint WHERE subscription = 'shop.picking'") == ""


def _insert_unknown(stream_id: UUID, *, version: int, name: str, schema_version: int = 1) -> None:
    metadata = '{"actor": "later", "correlation_id": "01990000-0000-7000-8000-000000000000"}'
    rows(INSERT_UNKNOWN, [stream_id, version, name, schema_version, metadata])


def _knowing(name: str) -> EventRegistry:
    """The shop's events and one more."""
    registry = EventRegistry()
    for known in facts.EVENTS._by_name.values():
        registry.event(known.name, schema_version=known.schema_version, upcasters=known.upcasters, sealed=known.sealed)(
            known.cls
        )

    class Teleported(facts.CartOpened):
        """A later version's event."""

    registry.event(name)(Teleported)
    return registry


# --- Commands of a reactor ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("shop_database")
class TestReactors:
    """A reactor's commands have their cause, and the ids of their events follow from it."""

    def test_what_a_reactor_causes_is_in_the_story_of_its_cause(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        cart_id = shop.order(new_id())
        assert shop.drain()
        story = rows(
            """
            SELECT e.event_type, e.metadata ->> 'actor', c.event_type, e.metadata ->> 'origin'
            FROM eventstore_event e
            JOIN eventstore_event c ON c.event_id = (e.metadata ->> 'causation_id')::uuid
            WHERE e.metadata ->> 'correlation_id' = %s ORDER BY e.id
            """,
            [str(cart_id)],
        )
        assert story == [
            ("OrderPicked", "system:shop.picking", "CartCheckedOut", "test"),
            ("CartPicked", "system:shop.picking", "OrderPicked", "test"),
        ]

    def test_several_commands_in_answer_to_one_event_have_ids_of_their_own(self) -> None:
        registry = SubscriptionRegistry()
        warehouses = [new_id(), new_id()]

        @registry.subscriber(id="twice")
        class Twice:
            @handles(facts.CartOpened)
            def opened(self, recorded: RecordedEvent[facts.CartOpened]) -> list[Execute]:
                command = facts.PickOrder(cart_id=recorded.stream_id, quantity=1)
                return [
                    Execute(aggregate=WAREHOUSE, stream_id=id, command=command, creates=True)
                    for id in (*warehouses, warehouses[0])
                ]

        shop = Shop(registry)
        shop.open()
        assert shop.drain()
        rows("UPDATE eventstore_checkpoint SET position = 0")
        assert shop.drain()
        assert [shop.picked(warehouse) for warehouse in warehouses] == [2, 1]

    def test_a_command_for_a_stream_that_does_not_exist_parks_its_cause(self) -> None:
        registry = SubscriptionRegistry()

        @registry.subscriber(id="lost")
        class Lost:
            @handles(facts.CartOpened)
            def opened(self, recorded: RecordedEvent[facts.CartOpened]) -> Execute:
                command = facts.PickOrder(cart_id=recorded.stream_id, quantity=1)
                return Execute(aggregate=WAREHOUSE, stream_id=new_id(), command=command)

        shop = Shop(registry)
        cart_id = shop.open()
        assert shop.drain()
        assert [key for _, key, _ in parked()] == [cart_id]
        assert value("SELECT error FROM eventstore_parked_key").startswith("StreamNotFound: warehouse")

    def test_a_batch_appends_with_one_statement(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        for _ in range(5):
            shop.order(new_id())
        assert shop.drain()
        batches = rows("""
            SELECT count(*) FROM eventstore_event WHERE event_type IN ('OrderPicked', 'CartPicked')
            GROUP BY recorded_at ORDER BY min(id)
        """)
        assert batches == [(5,), (5,)]
