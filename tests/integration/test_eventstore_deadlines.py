"""Handlers that hang: each is interrupted, told from what is slow in the database, and delays nobody for long."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest
from django.db import connections

from config.processes import wait_until
from eventstore import dispatch, operations, sweeping
from eventstore.events import RecordedEvent
from eventstore.subscriptions import handling, parking
from eventstore.subscriptions.parking import Retry, retry
from tests.integration.shops import (
    POISON,
    Shop,
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

pytestmark = pytest.mark.usefixtures("shop_database")

Added = RecordedEvent[facts.ItemAdded]
FOREVER: Final = 600.0
OLGA: Final = "staff:olga"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling, "BATCH_SECONDS", 0.4)
    monkeypatch.setattr(handling, "ALONE_SECONDS", 0.2)


def _sleep_on(recorded: Added) -> None:
    if recorded.data.sku.startswith(POISON):
        time.sleep(FOREVER)
    note(recorded)


def _compute_on(recorded: Added) -> None:
    while recorded.data.sku == POISON:
        pass
    note(recorded)


def _catch_everything(recorded: Added) -> None:
    while recorded.data.sku == POISON:
        try:
            time.sleep(FOREVER)
        except Exception:  # noqa: BLE001 - what a handler of somebody else's may do
            continue
    note(recorded)


def _fill(*skus: str) -> None:
    for sku in skus:
        shop = Shop()
        shop.add(shop.open(), sku)


@pytest.mark.parametrize("hang", [_sleep_on, _compute_on, _catch_everything])
def test_what_hangs_is_parked_by_itself_and_everything_else_goes_on(hang: Callable[[Added], None]) -> None:
    _fill("a", "b", POISON, "c", "d")
    began = time.monotonic()
    assert Shop(watching(hang)).drain()
    assert time.monotonic() - began < FOREVER / 10
    assert notes() == ["a", "b", "c", "d"]
    assert [position for _, _, position in parked()] == [6]
    assert "HandlerTooSlow: the handler was interrupted after 0.2 s" in value("SELECT error FROM eventstore_parked_key")
    assert rows("SELECT position, attempts FROM eventstore_checkpoint") == [(10, 0)]
    transactions = rows("SELECT count(*) FROM readmodel.journal GROUP BY transaction ORDER BY min(id)")
    assert transactions == [(1,), (1,), (2,)]  # one by one until it was found, and no longer


def test_a_large_batch_is_gone_through_in_parts_and_only_the_part_that_hangs_one_at_a_time() -> None:
    skus = [f"item {number}" for number in range(100)]
    skus[30] = POISON
    shop = Shop()
    shop.add(shop.open(), *skus)
    assert Shop(watching(_sleep_on)).drain()
    assert notes() == skus[:30]  # those after it are behind its key
    assert min(position for _, _, position in parked()) == 32
    transactions = rows("SELECT count(*) FROM readmodel.journal GROUP BY transaction ORDER BY min(id)")
    # Each part is a sixteenth of 101; the first event opens the cart and is not noted.
    assert transactions == [(5,), *[(6,)] * 4, (1,)]


@pytest.mark.parametrize("batch_size", [1, 500])
def test_a_process_that_was_suspended_parks_nothing(batch_size: int) -> None:
    _fill("a", "b")
    suspensions = iter([0.5])  # seconds: longer than any handler may go on

    def note_beside_a_suspension(recorded: Added) -> None:
        for seconds in suspensions:
            wake = f"while sleep {seconds} && kill -CONT {os.getpid()}; do :; done"
            subprocess.Popen(["/bin/sh", "-c", wake], stderr=subprocess.DEVNULL)
            os.kill(os.getpid(), signal.SIGSTOP)
        note(recorded)

    shop = Shop(watching(note_beside_a_suspension, batch_size=batch_size))
    assert in_process(shop.drain) == 0
    assert notes() == ["a", "b"]
    assert parked() == []


def test_what_hangs_once_alone_is_tried_once_more_and_what_hangs_again_is_parked() -> None:
    tried: list[str] = []

    def hang(recorded: Added) -> None:
        tried.append(recorded.data.sku)
        if recorded.data.sku == POISON or tried.count(recorded.data.sku) == 1:
            time.sleep(FOREVER)
        note(recorded)

    _fill("a", POISON, "b")
    assert Shop(watching(hang, batch_size=1)).drain()
    assert notes() == ["a", "b"]
    assert tried == ["a", "a", POISON, POISON, "b", "b"]
    assert [position for _, _, position in parked()] == [4]


def test_what_hangs_once_in_the_half_of_a_batch_that_failed_is_tried_once_more() -> None:
    tried: list[str] = []

    def hang_or_fail(recorded: Added) -> None:
        tried.append(recorded.data.sku)
        if recorded.data.sku == POISON:
            raise ArithmeticError
        if tried.count("a") == 3:  # in the batch, in the batch once more, alone
            time.sleep(FOREVER)
        note(recorded)

    shop = Shop(watching(hang_or_fail, batch_size=2))
    cart_id, other = shop.open(), shop.open()
    assert shop.drain()
    shop.add(cart_id, "a")
    shop.add(other, POISON)
    assert shop.drain()
    assert notes() == ["a"]
    assert [key for _, key, _ in parked()] == [other]
    assert tried.count("a") == 4


def test_a_connection_that_an_interruption_may_have_broken_is_not_used_again() -> None:
    _fill(POISON, "b")
    before = value("SELECT pg_backend_pid()")
    assert Shop(watching(_sleep_on)).drain()
    assert notes() == ["b"]
    assert value("SELECT pg_backend_pid()") != before


def _sleep_in_steps(recorded: Added) -> None:
    while recorded.data.sku == POISON:
        time.sleep(0.01)
    note(recorded)


@pytest.mark.parametrize("hang", [_compute_on, _sleep_in_steps])
def test_what_hangs_is_interrupted_in_any_thread(hang: Callable[[Added], None]) -> None:
    _fill("a", "b", POISON, "c", "d")
    assert together([Shop(watching(hang)).drain]) == [True]
    assert notes() == ["a", "b", "c", "d"]
    assert [position for _, _, position in parked()] == [6]
    # And nobody watches any more.
    assert wait_until(
        lambda: all(thread.name != "deadline" for thread in threading.enumerate()), timeout_seconds=FOREVER / 60
    )


def test_a_slow_statement_is_the_servers_affair_in_any_thread() -> None:
    _fill("a")

    def wait_for_the_server(recorded: Added) -> None:
        rows("SELECT pg_sleep(0.6)")
        note(recorded)

    together([Shop(watching(wait_for_the_server)).drain])
    assert notes() == ["a"]


def test_a_batch_of_slow_ones_is_gone_through_one_by_one() -> None:
    skus = [*"abcdefghijkl"]
    _fill(*skus)
    asked: list[str] = []

    def take_a_while(recorded: Added) -> None:
        asked.append(recorded.data.sku)
        time.sleep(0.1)
        note(recorded)

    assert Shop(watching(take_a_while)).drain()
    assert notes() == skus
    assert parked() == []
    assert asked.count("a") == 2  # in the batch, and by itself; not in halves of it as well


def test_a_slow_statement_is_the_servers_affair() -> None:
    _fill("a")

    def wait_for_the_server(recorded: Added) -> None:
        rows("SELECT pg_sleep(0.6)")
        note(recorded)

    assert Shop(watching(wait_for_the_server)).drain()
    assert notes() == ["a"]
    assert parked() == []


def test_a_projection_that_hangs_is_parked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    (carts,) = SUBSCRIPTIONS.projections()
    shop = Shop(SUBSCRIPTIONS)
    healthy, sick = shop.open(), shop.open()
    project = carts.handler.project

    def hang(events: list[RecordedEvent[facts.CartOpened]], tables: object) -> None:
        if sick in {recorded.stream_id for recorded in events}:
            time.sleep(FOREVER)
        project(events, tables)

    monkeypatch.setattr(carts.handler, "project", hang)
    assert shop.drain()
    assert [key for _, key, _ in parked()] == [sick]
    assert rows("SELECT cart_id FROM readmodel.cart") == [(healthy,)]


def test_between_retries_that_hang_what_is_not_parked_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RETRY_SECONDS", 0.05)
    tried: list[str] = []

    def hang(recorded: Added) -> None:
        tried.append(recorded.data.sku)
        if retrying and len(tried) == 1:  # while the first retry hangs, somebody shops
            together([lambda: _fill("live")])
        _sleep_on(recorded)

    retrying = False
    shop = Shop(watching(hang))
    _fill(f"{POISON}-1", f"{POISON}-2", f"{POISON}-3")
    assert shop.drain()
    assert len(parked()) == 3
    tried.clear()
    retrying = True
    make_due()
    shop.drain()
    assert tried[1] == "live"
    assert notes() == ["live"]
    assert len(parked()) == 3


def _stand_idle() -> None:
    rows("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
    time.sleep(0.5)


def _ask_for_too_much() -> None:
    rows("SET LOCAL statement_timeout = '100ms'")
    rows("SELECT pg_sleep(60)")


@pytest.mark.parametrize("overdo", [_stand_idle, _ask_for_too_much])
def test_what_the_server_ended_for_taking_too_long_counts_as_an_attempt(
    overdo: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no deadline reaches, one process alone must find out all the same."""
    monkeypatch.setattr(handling, "BATCH_SECONDS", FOREVER)
    monkeypatch.setattr(handling, "ALONE_SECONDS", FOREVER)
    _fill("a", POISON, "b")

    def overdo_it(recorded: Added) -> None:
        if recorded.data.sku == POISON:
            overdo()
        note(recorded)

    shop = Shop(watching(overdo_it))
    for _ in range(12):
        together([shop.drain])
        make_due()
        if parked():
            break
    assert notes()[:1] == ["a"]
    assert [position for _, _, position in parked()] == [4]
    together([shop.drain])
    assert notes() == ["a", "b"]
    before = value("SELECT attempts FROM eventstore_parked_key")
    make_due()
    together([shop.drain])
    ((attempts, error),) = rows("SELECT attempts, error FROM eventstore_parked_key")
    assert attempts == before + 1
    assert "timeout" in error


def test_a_turn_that_hangs_ends_the_process_that_sweeps_in_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "HANGING_SECONDS", 0.3)
    monkeypatch.setattr(sweeping, "drain", lambda **_: time.sleep(FOREVER))

    def look() -> None:
        found = {"using": "default", "alone": True, "help_away": lambda: True, "call_for_help": lambda: None}
        threads = [threading.Thread(target=sweeping.look, kwargs=found, daemon=True)]
        for thread in threads:
            thread.start()
            thread.join(FOREVER)

    assert in_process(look) == 1


# --- Many behind one key ------------------------------------------------------------------------------------


def _park_many(count: int, *, seconds: float = 0.0) -> tuple[Shop, set[str], UUID]:
    """A shop in whose one cart the first of so many items is parked, and all others behind it; each takes a while."""
    sick = {"item-0"}

    def choke(recorded: Added) -> None:
        if recorded.data.sku in sick:
            raise ArithmeticError(recorded.data.sku)
        time.sleep(seconds)
        note(recorded)

    shop = Shop(watching(choke))
    cart_id = shop.open()
    shop.add(cart_id, *(f"item-{number}" for number in range(count)))
    assert shop.drain()
    assert len(parked()) == count
    return shop, sick, cart_id


def _key_id() -> int:
    return int(value("SELECT id FROM eventstore_parked_key"))


def test_followers_are_handled_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RETRIED_AT_ONCE", 4)
    shop, sick, _ = _park_many(10)
    sick.clear()
    (watcher,) = shop.store.subscriptions.all()
    assert retry(_key_id(), watcher, store=shop.store) is Retry.FREED
    assert notes() == [f"item-{number}" for number in range(10)]
    transactions = rows("SELECT count(*) FROM readmodel.journal GROUP BY transaction ORDER BY min(id)")
    assert transactions == [(1,), (4,), (4,), (1,)]


def test_among_followers_the_next_culprit_is_found_and_those_before_it_are_handled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "RETRIED_AT_ONCE", 4)
    shop, sick, _ = _park_many(10)
    sick.clear()
    sick.add("item-3")
    (watcher,) = shop.store.subscriptions.all()
    assert retry(_key_id(), watcher, store=shop.store) is Retry.STILL_PARKED
    assert notes() == ["item-0", "item-1", "item-2"]
    assert len(parked()) == 7


def test_a_retry_ends_when_its_time_is_up_and_the_rest_follows_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RETRIED_AT_ONCE", 4)
    shop, sick, _ = _park_many(10)
    sick.clear()
    (watcher,) = shop.store.subscriptions.all()
    assert retry(_key_id(), watcher, store=shop.store, budget_seconds=0) is Retry.GOES_ON
    assert notes() == ["item-0"]
    assert rows("SELECT attempts, next_attempt_at <= clock_timestamp() FROM eventstore_parked_key") == [(1, True)]
    assert shop.drain()
    assert len(notes()) == 10
    assert parked() == []


def test_an_operator_is_told_what_there_was_no_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RETRIED_AT_ONCE", 1)
    shop, sick, _ = _park_many(10, seconds=0.05)
    sick.clear()
    ids = [_key_id(), 0]  # a second one, whose turn never comes
    done = operations.retry_many(ids, actor=OLGA, reason="Mended", store=shop.store, budget_seconds=0.1)
    assert (done.freed, done.still_parked, done.busy, done.begun, done.left) == (0, 0, 0, 1, 1)
    assert 0 < len(notes()) < 10


def test_an_operators_retry_heeds_the_version_of_the_tables() -> None:
    shop = Shop(SUBSCRIPTIONS)
    cart_id = shop.open()
    key = "INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)"
    assert shop.drain()
    rows(f"{key} VALUES ('shop.carts', %s, clock_timestamp(), clock_timestamp(), 'odd')", [cart_id])
    rows("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE subscription = 'shop.carts'")
    with pytest.raises(operations.RebuildNeeded):
        operations.retry(_key_id(), actor=OLGA, reason="Mended", store=shop.store)
    assert rows("SELECT action FROM eventstore_operation") == []


def test_an_event_that_the_log_has_lost_is_not_taken_for_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, sick, _ = _park_many(2)
    sick.clear()
    rows("UPDATE eventstore_parked_event SET position = 99 WHERE position = 3")
    (watcher,) = shop.store.subscriptions.all()
    assert retry(_key_id(), watcher, store=shop.store) is Retry.STILL_PARKED
    assert len(parked()) == 1


def test_a_drain_of_many_due_keys_goes_on_until_none_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "RETRY_SECONDS", 0.0)
    sick = {f"{POISON}-{number}" for number in range(5)}

    def choke(recorded: Added) -> None:
        if recorded.data.sku in sick:
            raise ArithmeticError
        note(recorded)

    shop = Shop(watching(choke))
    _fill(*sorted(sick))
    assert shop.drain()
    assert len(parked()) == 5
    sick.clear()
    make_due()
    assert dispatch.drain(store=shop.store)
    assert parked() == []
    connections.close_all()
