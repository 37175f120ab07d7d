"""Appending: events and outbox rows together or not at all, no gap in versions, one writer of a stream at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError
from msgspec.structs import replace
from pytest_django import Settings

from eventstore.aggregates import Aggregate
from eventstore.appending import (
    EventAlreadyRecorded,
    NewEvent,
    StreamBusy,
    StreamConflict,
    append,
    lock_key,
    lock_streams,
    try_lock_streams,
)
from eventstore.buckets import bucket_of
from eventstore.events import Event, StreamVersion
from eventstore.ids import new_id
from eventstore.store import Execution, StreamNotFound, Unit, VersionMismatch
from tests.conftest import Database
from tests.integration.shops import Shop, counted, rows, story_of, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART, ShoppingCart
from tests.shopping_cart.facts import CartOpened, ItemAdded

pytestmark = pytest.mark.usefixtures("shop_database")

TEA = ItemAdded(sku="tea", quantity=1, total=1)

# How many of a stream's events are in the store, and how many of them wait for a position.
COUNT = """
SELECT count(*), count(o.event_id)
FROM eventstore_event e LEFT JOIN eventstore_outbox o ON o.event_id = e.id WHERE e.stream_id = %s
"""

# What somebody writes who knows nothing of locks.
INSERT_EVENT = """
INSERT INTO eventstore_event
    (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
VALUES (gen_random_uuid(), 'cart', %s, %s, 'ItemAdded', 2, '{"sku": "cup", "quantity": 1, "total": 1}',
    '{"actor": "rude", "correlation_id": "01990000-0000-7000-8000-000000000000"}', %s)
"""


@pytest.fixture
def shop() -> Shop:
    """A shop that nobody follows."""
    return Shop()


def _new(stream_id: UUID, version: int, event: Event = TEA, *, event_id: UUID | None = None) -> NewEvent:
    return NewEvent(
        event_id=event_id or new_id(),
        stream_type="cart",
        stream_id=stream_id,
        version=version,
        data=event,
        metadata=story_of(stream_id),
    )


def _append(shop: Shop, *new: NewEvent) -> None:
    with transaction.atomic():
        append(new, registry=shop.store.registry, subscriptions=shop.store.subscriptions, using="default")


# --- All or nothing -----------------------------------------------------------------------------------------


def test_an_event_commits_with_its_outbox_row(shop: Shop) -> None:
    cart_id = shop.open()
    shop.add(cart_id, "tea", "cup")
    assert rows(COUNT, [cart_id]) == [(3, 3)]


def test_neither_event_nor_outbox_row_stays_when_the_work_fails_after_appending(shop: Shop) -> None:
    cart_id = new_id()

    def work(unit: Unit) -> None:
        unit.execute(CART, cart_id, facts.OpenCart(), metadata=story_of(cart_id), creates=True)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        shop.store.run(work)
    assert rows(COUNT, [cart_id]) == [(0, 0)]
    assert value("SELECT count(*) FROM eventstore_outbox") == 0


def test_neither_stays_when_the_connection_is_lost_before_the_commit(shop: Shop, app: psycopg.Connection) -> None:
    cart_id = new_id()

    def work(unit: Unit) -> None:
        unit.execute(CART, cart_id, facts.OpenCart(), metadata=story_of(cart_id), creates=True)
        app.execute("SELECT pg_terminate_backend(%s)", [value("SELECT pg_backend_pid()")])

    with pytest.raises(OperationalError):
        shop.store.run(work)
    assert rows(COUNT, [cart_id]) == [(0, 0)]
    assert shop.store.find_optional(CART, cart_id) is None


def test_a_row_that_was_not_written_takes_the_others_back(shop: Shop, owner: psycopg.Connection) -> None:
    owner.execute("""
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER swallow BEFORE INSERT ON eventstore_event
            FOR EACH ROW WHEN (new.data ->> 'sku' = 'cup') EXECUTE FUNCTION swallow();
    """)
    cart_id = new_id()
    with pytest.raises(StreamConflict, match="1 of 2"):
        _append(shop, _new(cart_id, 1), _new(cart_id, 2, ItemAdded(sku="cup", quantity=1, total=2)))
    assert rows(COUNT, [cart_id]) == [(0, 0)]


def test_an_outbox_row_that_was_not_written_takes_the_event_back(shop: Shop, owner: psycopg.Connection) -> None:
    owner.execute("""
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER swallow BEFORE INSERT ON eventstore_outbox FOR EACH ROW EXECUTE FUNCTION swallow();
    """)
    cart_id = new_id()
    with pytest.raises(StreamConflict, match="1 of 1"):
        _append(shop, _new(cart_id, 1))
    assert rows(COUNT, [cart_id]) == [(0, 0)]


def test_one_outbox_row_that_was_not_written_takes_all_events_back(shop: Shop, owner: psycopg.Connection) -> None:
    first, second = UUID(int=1), UUID(int=2)
    assert bucket_of(first) != bucket_of(second)
    owner.execute(f"""
        CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER swallow BEFORE INSERT ON eventstore_outbox
            FOR EACH ROW WHEN (new.stream_bucket = {bucket_of(second)}) EXECUTE FUNCTION swallow();
    """)
    with pytest.raises(StreamConflict, match="1 of 2"):
        _append(shop, _new(first, 1), _new(second, 1))
    assert rows(COUNT, [first]) == rows(COUNT, [second]) == [(0, 0)]


def test_it_writes_only_inside_a_transaction(shop: Shop) -> None:
    with pytest.raises(TransactionManagementError):
        append([_new(new_id(), 1)], registry=facts.EVENTS, subscriptions=shop.store.subscriptions, using="default")
    for take in (lock_streams, try_lock_streams):  # the locks would end at once
        with pytest.raises(TransactionManagementError):
            take([new_id()], using="default")


# --- Versions -----------------------------------------------------------------------------------------------


def test_a_stream_of_another_type_is_not_gone_on_with(shop: Shop) -> None:
    cart_id = shop.open()
    with pytest.raises(StreamConflict, match="do not follow"):
        _append(shop, msgspec.structs.replace(_new(cart_id, 2), stream_type="wardrobe"))
    assert rows(COUNT, [cart_id]) == [(1, 1)]


def test_what_is_written_together_is_inserted_in_the_order_in_which_it_was_given(shop: Shop) -> None:
    cart_id, other_id = new_id(), new_id()
    _append(shop, _new(cart_id, 1), _new(other_id, 1), *[_new(cart_id, version) for version in range(2, 9)])
    inserted = rows("SELECT stream_id, version FROM eventstore_event ORDER BY id")
    assert inserted == [(cart_id, 1), (other_id, 1), *[(cart_id, version) for version in range(2, 9)]]


def test_a_version_that_is_there_is_a_conflict(shop: Shop) -> None:
    cart_id = shop.open()
    with pytest.raises(StreamConflict, match="has appended this version"):
        _append(shop, _new(cart_id, 1))
    with pytest.raises(StreamConflict):
        shop.store.save(CART, [CartOpened()], stream_id=cart_id, metadata=story_of(cart_id))
    assert rows(COUNT, [cart_id]) == [(1, 1)]


def test_a_version_gap_is_refused_and_takes_the_whole_batch_back(shop: Shop) -> None:
    cart_id, other_id = shop.open(), new_id()
    shop.add(cart_id, "tea")
    with pytest.raises(StreamConflict, match="1 of 2 events do not follow"):
        _append(shop, _new(other_id, 1), _new(cart_id, 7))
    with pytest.raises(StreamConflict):
        _append(shop, _new(new_id(), 2))
    assert rows(COUNT, [cart_id]) == [(2, 2)]
    assert rows(COUNT, [other_id]) == [(0, 0)]


def test_a_stream_of_another_type_is_not_followed(shop: Shop) -> None:
    cart_id = shop.open()
    stranger = Aggregate(stream_type="stranger", initial=None, decide=lambda *_: [TEA], evolve=lambda *_: 1)
    assert shop.store.find_optional(stranger, cart_id) is None
    with pytest.raises(StreamConflict):
        shop.store.execute(stranger, cart_id, None, metadata=story_of(cart_id), creates=True)


def test_an_event_id_that_is_there_was_recorded_already(shop: Shop) -> None:
    event_id, cart_id = new_id(), new_id()
    _append(shop, _new(cart_id, 1, event_id=event_id))
    with pytest.raises(EventAlreadyRecorded):
        _append(shop, _new(cart_id, 2, event_id=event_id))
    assert rows(COUNT, [cart_id]) == [(1, 1)]


def test_update_goes_on_from_the_version_that_was_seen_and_from_no_other(shop: Shop) -> None:
    metadata = story_of(new_id())
    opened = shop.store.save(CART, [CartOpened()], metadata=metadata)
    filled = shop.store.update(CART, opened, [TEA], metadata=metadata)
    assert (opened.version, filled.version) == (1, 2)
    with pytest.raises(StreamConflict, match="expected version 1, it is at 2"):
        shop.store.update(CART, opened, [TEA], metadata=metadata)
    ahead = StreamVersion(stream_id=filled.stream_id, version=3)
    with pytest.raises(StreamConflict):
        shop.store.update(CART, ahead, [TEA], metadata=metadata)
    for elsewhere in (opened, ahead):
        with pytest.raises(StreamConflict):
            shop.store.update(CART, elsewhere, [], metadata=metadata)
    assert shop.store.update(CART, filled, [], metadata=metadata) == filled
    assert rows(COUNT, [opened.stream_id]) == [(2, 2)]


def test_a_command_with_another_expected_version_is_refused_before_it_is_decided(shop: Shop) -> None:
    cart_id = shop.open()
    command = facts.AddItem(sku="tea")
    with pytest.raises(VersionMismatch, match="expected version 3, it is at 1"):
        shop.store.execute(CART, cart_id, command, metadata=story_of(cart_id), expected_version=3)
    with pytest.raises(VersionMismatch, match="expected version 0, it is at 1"):
        shop.store.execute(CART, cart_id, command, metadata=story_of(cart_id), expected_version=0)
    done = shop.store.execute(CART, cart_id, command, metadata=story_of(cart_id), expected_version=1)
    assert done.version == 2


def test_within_a_unit_too_only_a_command_that_creates_begins_a_stream(shop: Shop) -> None:
    nowhere = new_id()
    with pytest.raises(StreamNotFound, match=str(nowhere)), transaction.atomic():
        Unit(shop.store).execute(CART, nowhere, facts.AddItem(sku="tea"), metadata=story_of(nowhere))


# --- Faster writers -----------------------------------------------------------------------------------------


class Interrupted:
    """A cart whose every decision a rude writer interrupts, so many times: it appends and takes no lock."""

    def __init__(self, app: psycopg.Connection, cart_id: UUID, *, times: int) -> None:
        self.decisions = 0
        self._app, self._cart_id, self._times = app, cart_id, times

    @property
    def aggregate(self) -> Aggregate[ShoppingCart]:
        """The cart."""
        return Aggregate(stream_type="cart", initial=CART.initial, decide=self._decide, evolve=CART.evolve)

    def _decide(self, state: ShoppingCart, command: Any) -> Sequence[Event]:
        self.decisions += 1
        if self.decisions <= self._times:
            self._app.execute(INSERT_EVENT, [self._cart_id, 1 + self.decisions, datetime.now(UTC)])
        return CART.decide(state, command)


def test_it_decides_anew_when_another_writer_was_faster(shop: Shop, app: psycopg.Connection) -> None:
    cart_id = shop.open()
    cart = Interrupted(app, cart_id, times=2)
    done = shop.store.execute(cart.aggregate, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
    assert cart.decisions == 3
    assert done.version == 4
    assert done.events[0].data == ItemAdded(sku="tea", quantity=1, total=3)  # it knows of both that came between


def test_it_gives_up_after_a_bounded_number_of_lost_races(
    shop: Shop, app: psycopg.Connection, settings: Settings
) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "CONFLICT_ATTEMPTS": 3}
    cart_id = shop.open()
    cart = Interrupted(app, cart_id, times=99)
    with pytest.raises(StreamConflict, match="each time"):
        shop.store.execute(cart.aggregate, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
    assert cart.decisions == 3


def test_it_never_restarts_for_a_caller_who_named_the_version(shop: Shop, app: psycopg.Connection) -> None:
    seen = shop.store.save(CART, [CartOpened()], metadata=story_of(new_id()))
    folds = []

    def evolve(state: ShoppingCart, event: Event) -> ShoppingCart:
        if isinstance(event, ItemAdded):
            folds.append(event)
            app.execute(INSERT_EVENT, [seen.stream_id, 2, datetime.now(UTC)])
        return CART.evolve(state, event)

    cart = Aggregate(stream_type="cart", initial=CART.initial, decide=CART.decide, evolve=evolve)
    with pytest.raises(StreamConflict, match="has appended this version"):
        shop.store.update(cart, seen, [TEA], metadata=story_of(seen.stream_id))
    assert len(folds) == 1


def test_a_lost_race_with_an_expected_version_ends_as_a_mismatch(shop: Shop, app: psycopg.Connection) -> None:
    cart_id = shop.open()
    cart = Interrupted(app, cart_id, times=1)
    with pytest.raises(VersionMismatch, match="expected version 1, it is at 2"):
        shop.store.execute(
            cart.aggregate, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id), expected_version=1
        )
    assert cart.decisions == 1


def test_a_deadlock_is_begun_anew_as_a_whole(shop: Shop) -> None:
    attempts: list[int] = []
    both_hold_one = threading.Barrier(2)

    def work(first: int, second: int) -> None:
        def in_transaction(unit: Unit) -> None:
            attempts.append(first)
            cart_id = new_id()
            unit.execute(CART, cart_id, facts.OpenCart(), metadata=story_of(cart_id), creates=True)
            rows("SELECT pg_advisory_xact_lock(%s)", [first])
            if len(attempts) <= 2:  # a third is somebody's second
                both_hold_one.wait(timeout=5)
            rows("SELECT pg_advisory_xact_lock(%s)", [second])

        shop.store.run(in_transaction)

    together([lambda: work(1, 2), lambda: work(2, 1)])
    assert len(attempts) == 3
    assert value("SELECT count(*) FROM eventstore_event") == 2


def test_a_deadlock_each_time_is_told_after_a_bounded_number_of_attempts(shop: Shop, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "CONFLICT_ATTEMPTS": 3}
    attempts: list[int] = []

    def work(_: Unit) -> None:
        attempts.append(len(attempts) + 1)
        rows("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '40P01'; END $$")

    with pytest.raises(OperationalError, match="made up"):
        shop.store.run(work)
    assert attempts == [1, 2, 3]


# --- Afterwards ---------------------------------------------------------------------------------------------

_woken: list[str] = []


def note_wake(using: str) -> None:
    """What `WAKE` names."""
    _woken.append(using)


def test_each_way_of_writing_wakes_the_dispatchers_once(shop: Shop, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": "tests.integration.test_eventstore_append.note_wake"}
    metadata = story_of(new_id())
    ways: list[Callable[[], object]] = [
        lambda: shop.store.save(CART, [CartOpened()], metadata=metadata),
        lambda: shop.store.update(CART, opened, [TEA], metadata=metadata),
        lambda: shop.add(opened.stream_id, "cup"),
    ]
    opened = shop.store.save(CART, [CartOpened()], metadata=metadata)
    for way in ways:
        _woken.clear()
        way()
        assert _woken == ["default"]


def test_a_command_that_changes_nothing_wakes_nobody(shop: Shop, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": "tests.integration.test_eventstore_append.note_wake"}
    cart_id = shop.open()
    idle = replace(CART, decide=lambda _state, _command: [])
    _woken.clear()
    done = shop.store.execute(idle, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
    assert (done.version, done.events) == (1, ())
    assert _woken == []


def test_it_tells_how_long_writing_took(shop: Shop) -> None:
    names = ("eventstore_append_seconds_count", "eventstore_append_seconds_sum")
    before = [counted(name) for name in names]
    shop.open()
    writings, seconds = (counted(name) - past for name, past in zip(names, before, strict=True))
    assert writings == 1
    assert 0 < seconds < 60


# --- One writer at a time -----------------------------------------------------------------------------------


def _wait_until_somebody_waits(app: psycopg.Connection) -> None:
    deadline = time.monotonic() + 5
    while not app.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone():
        assert time.monotonic() < deadline, "nobody waited for the stream's lock"


def test_the_lock_of_a_stream_is_both_halves_of_its_id_as_a_signed_number() -> None:
    assert [lock_key(UUID(int=id)) for id in (5, 7 << 64 | 5, 1 << 63, (1 << 63) - 1, (1 << 64) - 1)] == [
        *(5, 2, -(1 << 63), (1 << 63) - 1, -1),
    ]


def test_a_writer_waits_for_the_one_before_it_and_then_decides_once(shop: Shop, app: psycopg.Connection) -> None:
    cart_id = shop.open()
    first_has_appended = threading.Event()
    second = Interrupted(app, cart_id, times=0)

    def hold(unit: Unit) -> None:
        unit.execute(CART, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
        first_has_appended.set()
        _wait_until_somebody_waits(app)

    def follow() -> int:
        first_has_appended.wait(timeout=5)
        command = facts.AddItem(sku="cup")
        return shop.store.execute(second.aggregate, cart_id, command, metadata=story_of(cart_id)).version

    _, version = together([lambda: shop.store.run(hold) or 0, follow])
    assert version == 3
    assert second.decisions == 1  # it loaded after it had the lock: nothing was decided in vain


def test_the_wait_for_another_writer_is_bounded(shop: Shop, app: psycopg.Connection, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "LOCK_TIMEOUT_MS": 50}
    cart_id = shop.open()
    with app.transaction():
        app.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(cart_id)])
        began = time.monotonic()
        with pytest.raises(StreamBusy):
            shop.add(cart_id, "tea")
        with pytest.raises(StreamBusy):
            shop.store.update(CART, StreamVersion(stream_id=cart_id, version=1), [TEA], metadata=story_of(cart_id))
        assert time.monotonic() - began < 2
    shop.add(cart_id, "tea")
    assert rows(COUNT, [cart_id]) == [(2, 2)]


def test_the_bound_of_a_wait_ends_with_its_transaction(shop: Shop) -> None:
    cart_id = shop.open()
    with transaction.atomic():
        lock_streams([cart_id], using="default", timeout_ms=7)
        assert value("SHOW lock_timeout") == "7ms"
    assert value("SHOW lock_timeout") != "7ms"  # or a pooler would give it to the next


def test_without_waiting_it_locks_what_is_free_and_names_what_is_not(shop: Shop, app: psycopg.Connection) -> None:
    taken, free = new_id(), new_id()
    with app.transaction(), transaction.atomic():
        app.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(taken)])
        assert try_lock_streams([taken, free], using="default") == {taken}


def test_batches_over_the_same_streams_in_any_order_never_wait_for_each_other_in_a_circle(shop: Shop) -> None:
    carts = [shop.open() for _ in range(12)]
    runs: list[int] = []

    def fill(order: list[UUID]) -> None:
        executions = [
            Execution(aggregate=CART, stream_id=id, command=facts.AddItem(sku="tea"), metadata=story_of(id))
            for id in order
        ]

        def work(unit: Unit) -> None:
            runs.append(1)
            unit.execute_many(executions)

        for _ in range(15):
            shop.store.run(work)

    together([lambda: fill(carts), lambda: fill(carts[::-1]), lambda: fill(carts[6:] + carts[:6])])
    assert len(runs) == 45  # no deadlock, and no lost race, made one of them begin anew
    assert value("SELECT count(*) FROM eventstore_event") == 12 + 45 * 12


# --- Times and ids ------------------------------------------------------------------------------------------


def test_times_never_run_backwards_within_a_stream(shop: Shop, app: psycopg.Connection) -> None:
    cart_id = shop.open()
    future = datetime.now(UTC) + timedelta(hours=1)
    app.execute(INSERT_EVENT, [cart_id, 2, future])  # by a machine whose clock is an hour ahead
    done = shop.tell(cart_id, facts.AddItem(sku="tea"))
    assert done.version == 3
    assert done.events[0].recorded_at == future
    assert shop.store.find(CART, cart_id).updated_at == future
    elsewhere = shop.store.find(CART, shop.open())
    assert elsewhere.updated_at is not None
    assert elsewhere.updated_at < future


def test_insertion_ids_are_not_handed_out_ahead(shop: Shop) -> None:
    statement = "SELECT seqcache FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence(%s, 'id')::regclass"
    assert value(statement, ["eventstore_event"]) == 1


def test_each_event_says_who_and_why(shop: Shop, shop_database: Database) -> None:
    cart_id = shop.open()
    metadata = value("SELECT metadata FROM eventstore_event WHERE stream_id = %s", [cart_id])
    assert connection.settings_dict["NAME"] == shop_database.name
    assert '"actor": "shopper"' in metadata
    assert str(cart_id) in metadata
