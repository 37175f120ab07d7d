"""Wake-ups: sent on commit, few for many commits, never failing or delaying who commits, and none of them needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import kombu.pools
import pytest
import redis
from celery import current_app
from celery.signals import worker_ready
from django.core.cache import cache
from django.db import OperationalError, transaction
from pytest_django import Settings
from structlog.testing import capture_logs

from accounts.domain.customer import CUSTOMER, RegisterCustomer
from config import processes
from config.settings import broker_url
from eventstore import celery_wakeup, dispatch, sweeping, tasks
from eventstore.celery_wakeup import DISPATCH_TASK, MARK_SECONDS, QUEUE, Sender, clear_mark, wake
from eventstore.ids import new_id
from eventstore.store import EventStore
from eventstore.wakeup import quietly, wake_on_commit
from tests.conftest import Database, _use_redis
from tests.folders import passing_folder, remove_folder
from tests.integration.shops import Shop, in_process, rows, story_of, together, value, watching
from tests.redis_server import RedisServer
from tests.workers import Worker

PATIENCE_SECONDS: Final = 30.0
MOMENT_SECONDS: Final = 4.0
"""More than a try takes on a busy machine, and less than the client's own patience of five seconds."""
QUICK_SECONDS: Final = 0.25
"""Half of what a single try at a broker that hangs takes: whoever commits has not waited for one."""


def _eventually(condition: Callable[[], object]) -> bool:
    return processes.wait_until(lambda: bool(condition()), timeout_seconds=PATIENCE_SECONDS)


# --- A broker of the test's own -----------------------------------------------------------------------------


def _use_broker(url: str) -> None:
    """Lets the cache and Celery go to another Redis, and forget their connections to the one before."""
    _use_redis(url)
    kombu.pools.reset()  # type: ignore[no-untyped-call]
    current_app._pool = None
    current_app.amqp._producer_pool = None


@pytest.fixture
def broker(fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A Redis of the test's own, which cache and broker go to; no worker takes what is sent there."""
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": "eventstore.celery_wakeup.wake"}
    folder = passing_folder(prefix="daybook-broker-")
    found = RedisServer(folder)
    _use_broker(found.url)
    monkeypatch.setattr(celery_wakeup, "sender", Sender(retry_seconds=0.1))
    yield found
    celery_wakeup.sender.wait_until_tried(seconds=PATIENCE_SECONDS)
    found.kill()
    _use_broker(fresh_database.redis_url)
    remove_folder(folder)


@pytest.fixture
def shop(broker: RedisServer) -> Shop:
    """A shop whose commits wake."""
    return Shop()


def _sent(broker: RedisServer) -> int:
    """How many wake-ups wait for a worker, once all that is wanted has left."""
    assert _eventually(lambda: celery_wakeup.sender.wait_until_tried(seconds=1.0))
    return broker.waiting(QUEUE)


def _commit() -> float:
    """Commits something and wakes; answers with the seconds that took."""
    began = time.monotonic()
    with transaction.atomic():
        rows("SELECT 1")
        wake_on_commit("default")
    return time.monotonic() - began


# --- On commit ----------------------------------------------------------------------------------------------


def test_a_commit_sends_a_wake_up(shop: Shop, broker: RedisServer) -> None:
    shop.open()
    assert _sent(broker) == 1


def test_a_rollback_sends_none(shop: Shop, broker: RedisServer) -> None:
    with transaction.atomic():
        rows("SELECT 1")
        wake_on_commit("default")
        transaction.set_rollback(True)
    assert _sent(broker) == 0


def test_a_thousand_commits_send_a_few_at_most(broker: RedisServer) -> None:
    for _ in range(1_000):
        _commit()
    assert 1 <= _sent(broker) <= 3  # the mark expires on a very slow machine


def test_many_threads_that_commit_at_once_send_one(broker: RedisServer) -> None:
    together([_commit] * 8)
    assert _sent(broker) == 1


def test_after_the_mark_is_cleared_the_next_commit_sends_again(broker: RedisServer) -> None:
    _commit()
    assert _sent(broker) == 1
    clear_mark("default")
    _commit()
    assert _sent(broker) == 2


def test_a_mark_whose_wake_up_was_lost_expires(broker: RedisServer) -> None:
    _commit()
    assert _sent(broker) == 1
    with redis.Redis.from_url(broker.url) as client:
        (mark,) = [key for key in client.keys("*") if b"woken" in key]
        assert 0 < client.ttl(mark) <= MARK_SECONDS


def test_a_dispatcher_wakes_nobody_for_what_it_commits_itself(broker: RedisServer) -> None:
    with quietly():
        _commit()
    assert _sent(broker) == 0
    _commit()
    assert _sent(broker) == 1


def test_nobody_is_woken_when_the_project_has_named_nobody(broker: RedisServer, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": None}
    _commit()
    assert _sent(broker) == 0


def refuse(using: str) -> None:
    """A way to wake that never works."""
    raise ArithmeticError(using)


def test_whatever_waking_runs_into_the_commit_stands(shop: Shop, settings: Settings) -> None:
    for path in ("tests.integration.test_wakeups.refuse", "no.such.module", "eventstore.wakeup.nothing"):
        settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": path}
        shop.open()
    assert value("SELECT count(*) FROM eventstore_event") == 3


# --- In the task --------------------------------------------------------------------------------------------


def test_the_mark_is_cleared_before_anything_is_read(
    shop: Shop, broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def commit_first(**named: Any) -> bool:
        shop.open()  # somebody commits when the task has begun and not read yet
        sent.append(_sent(broker))
        return dispatch.drain(**named)

    shop.open()
    assert _sent(broker) == 1  # it has left, so that the next one is not sent in its stead
    monkeypatch.setattr(tasks, "drain", commit_first)
    tasks.dispatch(using="default")
    assert sent == [2]  # one that this task was woken by, and one that nobody has taken yet


def test_a_task_that_did_not_come_to_an_end_sends_another(broker: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "drain", lambda **_: False)
    tasks.dispatch(using="default")
    assert _sent(broker) == 1


def test_a_task_that_came_to_an_end_sends_none(broker: RedisServer) -> None:
    tasks.dispatch(using="default")
    assert _sent(broker) == 0


def test_a_task_calls_for_help_when_there_is_more_than_a_batch(
    broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(watching(lambda _: None, batch_size=2))
    shop.add(shop.open(), "a", "b", "c")
    before = _sent(broker)
    clear_mark("default")
    monkeypatch.setattr(tasks, "EventStore", lambda **_: shop.store)
    tasks.sweep(using="default")
    assert _sent(broker) - before == 1


def test_a_worker_that_starts_is_woken_whatever_the_mark_of_a_killed_one_says(broker: RedisServer) -> None:
    cache.set("eventstore:woken:default", 1, timeout=MARK_SECONDS)
    worker_ready.send(sender=None)
    assert _sent(broker) == 1


@pytest.mark.parametrize("task", [tasks.dispatch, tasks.sweep])
def test_a_task_says_in_one_line_that_the_database_is_away(
    broker: RedisServer, monkeypatch: pytest.MonkeyPatch, task: Callable[..., None]
) -> None:
    def lose_the_connection(**_: Any) -> bool:
        raise OperationalError("the connection is closed\nand more about it")

    monkeypatch.setattr(tasks, "drain", lose_the_connection)
    with capture_logs() as logged:
        task(using="default")
    assert [(line["event"], line["reason"]) for line in logged] == [
        ("eventstore.not_dispatched", "the connection is closed")
    ]
    assert _sent(broker) == 0


@pytest.mark.parametrize("task", [tasks.dispatch, tasks.sweep])
def test_a_task_does_not_hide_an_error_of_the_program(
    broker: RedisServer, monkeypatch: pytest.MonkeyPatch, task: Callable[..., None]
) -> None:
    def fail(**_: Any) -> bool:
        raise ArithmeticError

    monkeypatch.setattr(tasks, "drain", fail)
    with pytest.raises(ArithmeticError):
        task(using="default")


# --- When Redis is away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["refuses", "hangs"])
def test_a_commit_does_not_notice_that_redis_is_away_and_wakes_again_afterwards(
    shop: Shop, broker: RedisServer, fault: str
) -> None:
    _commit()
    assert _sent(broker) == 1
    clear_mark("default")
    broker.kill() if fault == "refuses" else broker.freeze()
    slowest = max(_commit() for _ in range(50))
    shop.open()
    assert not celery_wakeup.sender.wait_until_tried(seconds=PATIENCE_SECONDS)
    assert celery_wakeup.is_broker_away()
    assert slowest < QUICK_SECONDS
    broker.start() if fault == "refuses" else broker.thaw()
    # The attempts have left their mark, and no wake-up; no commit comes to remind of it.
    assert _eventually(lambda: not celery_wakeup.is_broker_away())
    assert _sent(broker) >= 1  # a Redis that hung does late what it was asked for meanwhile
    assert value("SELECT count(*) FROM eventstore_event") == 1


def test_it_says_once_that_the_broker_is_away_and_once_that_it_is_back(broker: RedisServer) -> None:
    broker.kill()
    tries: list[str] = []
    send = celery_wakeup.send

    def count(using: str, **named: bool) -> None:
        tries.append(using)
        send(using, **named)

    with pytest.MonkeyPatch.context() as patched, capture_logs() as logged:
        patched.setattr(celery_wakeup, "send", count)
        _commit()
        assert _eventually(lambda: len(tries) > 3)
        broker.start()
        assert _eventually(lambda: not celery_wakeup.is_broker_away())
    assert [line["event"] for line in logged] == ["eventstore.broker_away", "eventstore.broker_back"]


def test_a_broker_that_is_away_is_tried_now_and_then_and_not_all_the_time(
    broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.kill()
    tries: list[float] = []
    send = celery_wakeup.send

    def count(using: str, **named: bool) -> None:
        tries.append(time.monotonic())
        send(using, **named)

    monkeypatch.setattr(celery_wakeup, "send", count)
    _commit()
    assert _eventually(lambda: len(tries) > 3)
    assert tries[3] - tries[0] >= 3 * 0.1  # what the fixture has it wait
    assert celery_wakeup.RETRY_SECONDS >= 1.0
    broker.start()


def test_a_try_at_a_broker_that_hangs_has_an_end(broker: RedisServer) -> None:
    broker.freeze()

    def send() -> None:
        with suppress(Exception):
            current_app.send_task(DISPATCH_TASK, queue=QUEUE, retry=False, ignore_result=True)

    sending = threading.Thread(target=send)
    sending.start()
    sending.join(PATIENCE_SECONDS / 2)
    came_back = not sending.is_alive()
    broker.thaw()
    sending.join(PATIENCE_SECONDS)
    assert came_back


def test_a_cache_that_hangs_is_given_up_after_a_moment(broker: RedisServer) -> None:
    broker.freeze()
    began = time.monotonic()
    with pytest.raises(redis.TimeoutError):
        cache.get("anything")
    took = time.monotonic() - began
    broker.thaw()
    assert took < MOMENT_SECONDS


def test_a_fork_sends_its_own_wake_ups(broker: RedisServer) -> None:
    _commit()
    assert _sent(broker) == 1
    clear_mark("default")

    def wake_and_leave() -> None:
        _commit()
        assert celery_wakeup.sender.wait_until_tried(seconds=PATIENCE_SECONDS)

    assert in_process(wake_and_leave) == 0
    assert _sent(broker) == 2


def test_the_mark_is_left_to_expire_when_the_cache_is_away(broker: RedisServer) -> None:
    broker.kill()
    clear_mark("default")  # says so in the log, and goes on


# --- Sweeping in need ---------------------------------------------------------------------------------------


def _look(*, alone: bool = False, away: bool = True) -> bool:
    return sweeping.look(using="default", alone=alone, help_away=lambda: away, call_for_help=lambda: None)


def _let_it_stand_still() -> None:
    rows("UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp() - interval '1 minute'")


def test_nobody_sweeps_in_need_while_others_do(shop: Shop) -> None:
    dispatch.drain(store=shop.store)
    shop.open()
    assert not _look()
    assert value("SELECT count(*) FROM eventstore_log") == 0


def test_it_sweeps_in_need_when_nobody_has_for_some_seconds(shop: Shop) -> None:
    shop.open()
    _let_it_stand_still()
    assert _look()  # there is nobody who could be called, so that it goes on at once
    assert value("SELECT count(*) FROM eventstore_log") == 1
    shop.open()
    assert _look(alone=True)
    assert value("SELECT count(*) FROM eventstore_log") == 2


def test_it_sweeps_in_need_though_the_last_sign_of_life_is_from_before_the_clock_was_set_back(shop: Shop) -> None:
    shop.open()
    rows("UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp() + interval '1 hour'")
    assert _look()
    assert value("SELECT count(*) FROM eventstore_log") == 1


def test_it_calls_for_help_and_leaves_the_work_to_those_who_can_hear_it(shop: Shop) -> None:
    shop.open()
    _let_it_stand_still()
    called: list[int] = []
    assert not sweeping.look(
        using="default", alone=True, help_away=lambda: False, call_for_help=lambda: called.append(1)
    )
    assert called == [1]


def test_an_idle_sweep_shows_that_it_lives_every_second() -> None:
    assert sweeping.STILL_SECONDS > 2.0  # twice what `eventstore.sequencer` leaves between two signs of life


def test_it_goes_on_looking_whatever_a_look_runs_into(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look(**_: Any) -> bool:
        looks.append(1)
        raise ArithmeticError

    monkeypatch.setattr(sweeping, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(sweeping, "look", look)
    stopped = sweeping.begin(using="default", help_away=lambda: False, call_for_help=lambda: None)
    assert _eventually(lambda: len(looks) > 2)
    stopped.set()


def test_the_clock_has_somebody_sweep_every_second_or_two(settings: Settings) -> None:
    sweep = settings.CELERY_BEAT_SCHEDULE["sweep"]
    assert sweep["task"] == tasks.sweep.name
    assert sweep["schedule"] <= 2.0
    assert sweep["options"]["queue"] == QUEUE


def test_celery_is_told_the_address_of_the_redis_that_the_cache_goes_to() -> None:
    assert broker_url("redis://10.0.0.1:6379/3") == "redis://10.0.0.1:6379/3"
    assert broker_url("unix://:secret@/run/redis.sock?db=3") == "redis+socket://:secret@/run/redis.sock?virtual_host=3"
    assert broker_url("unix:///run/redis.sock") == "redis+socket:///run/redis.sock"


# --- A real worker ------------------------------------------------------------------------------------------


def _register(name: str) -> UUID:
    """Registers a customer of the bank, whose read model a worker will make."""
    customer_id = new_id()
    command = RegisterCustomer(name=name)
    EventStore().execute(CUSTOMER, customer_id, command, metadata=story_of(customer_id), creates=True)
    return customer_id


def _is_shown(customer_id: UUID) -> bool:
    return bool(value("SELECT count(*) FROM readmodel.customer WHERE customer_id = %s", [customer_id]))


def _all_taken(redis_url: str) -> bool:
    """Whether a worker has taken every wake-up."""
    with redis.Redis.from_url(redis_url) as client:
        return not client.llen(QUEUE)


def test_a_commit_wakes_a_worker_who_dispatches_it_without_a_sweep(worker: Worker) -> None:
    customers = [_register(f"Customer {number}") for number in range(20)]
    assert _eventually(lambda: all(map(_is_shown, customers))), worker.output
    assert value("SELECT count(*) FROM eventstore_log") == 20


def test_a_lost_wake_up_is_found_by_the_sweep_and_doubled_ones_are_harmless(
    worker: Worker, fresh_database: Database, settings: Settings
) -> None:
    woken = settings.EVENTSTORE
    settings.EVENTSTORE = {**woken, "WAKE": None}
    lost = _register("Alice")
    assert value("SELECT count(*) FROM eventstore_log") == 0
    current_app.send_task("eventstore.sweep", kwargs={"using": "default"}, queue=QUEUE, ignore_result=True)
    assert _eventually(lambda: _is_shown(lost)), worker.output

    doubled = _register("Bob")
    for _ in range(10):
        current_app.send_task(DISPATCH_TASK, kwargs={"using": "default"}, queue=QUEUE, ignore_result=True)
    assert _eventually(lambda: _is_shown(doubled) and _all_taken(fresh_database.redis_url)), worker.output
    assert value("SELECT count(*) FROM eventstore_log") == 2
    assert value("SELECT count(*) FROM eventstore_parked_key") == 0


def test_a_worker_that_was_killed_is_replaced_by_another_that_goes_on(worker: Worker) -> None:
    first = _register("Alice")
    assert _eventually(lambda: _is_shown(first)), worker.output
    worker.kill()
    second = _register("Bob")
    worker.start()
    wake("default")
    assert _eventually(lambda: _is_shown(second)), worker.output
