"""Wake-ups: sent on commit, few for many commits, never failing or delaying who commits, and none of them needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
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
from config.embedded.binaries import find_binaries
from config.embedded.home import find_home
from config.settings import broker_url
from eventstore import celery_wakeup, dispatch, tasks
from eventstore.celery_wakeup import BREAKER_SECONDS, DISPATCH_TASK, MARK_SECONDS, QUEUE, Breaker, clear_mark, wake
from eventstore.ids import new_id
from eventstore.store import EventStore
from eventstore.wakeup import quietly, wake_on_commit
from tests.conftest import Database, _use_redis
from tests.integration.shops import Shop, rows, story_of, together, value, watching
from tests.workers import Worker

PATIENCE_SECONDS: Final = 30.0
BOUND_SECONDS: Final = 1.5
"""How long a commit may take when the broker is away: half a second, and what a busy machine adds."""
PASSWORD: Final = "only-for-tests"


def _eventually(condition: Callable[[], object]) -> bool:
    return processes.wait_until(lambda: bool(condition()), timeout_seconds=PATIENCE_SECONDS)


# --- A broker of the test's own -----------------------------------------------------------------------------


class Broker:
    """A private Redis, which may be killed and frozen."""

    def __init__(self, folder: Path) -> None:
        self._program = find_binaries(home=find_home(data_dir=folder)).redis_server
        self._socket = folder / "redis.sock"
        self.url = f"unix://:{PASSWORD}@{self._socket}"
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Starts it, empty, and waits until it answers."""
        command = [str(self._program), "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        self._process = subprocess.Popen([*command, "--requirepass", PASSWORD], stdout=subprocess.DEVNULL)
        assert _eventually(self._answers)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1.0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def messages(self) -> int:
        """How many wake-ups wait for a worker."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.llen(QUEUE))

    def freeze(self) -> None:
        """It takes connections and says nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, and refuses connections."""
        self._process.kill()
        self._process.wait()


def _use_broker(url: str) -> None:
    """Lets the cache and Celery go to another Redis, and forget their connections to the one before."""
    _use_redis(url)
    kombu.pools.reset()  # type: ignore[no-untyped-call]
    current_app._pool = None
    current_app.amqp._producer_pool = None


@pytest.fixture
def broker(fresh_database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A Redis of the test's own, which cache and broker go to; no worker takes what is sent there."""
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": "eventstore.celery_wakeup.wake"}
    folder = Path(tempfile.mkdtemp(prefix="daybook-broker-", dir="/tmp"))
    found = Broker(folder)
    _use_broker(found.url)
    monkeypatch.setattr(celery_wakeup, "breaker", Breaker(seconds=BREAKER_SECONDS))
    yield found
    found.kill()
    _use_broker(fresh_database.redis_url)
    shutil.rmtree(folder)


@pytest.fixture
def shop(broker: Broker) -> Shop:
    """A shop whose commits wake."""
    return Shop()


def _commit() -> float:
    """Commits something and wakes; answers with the seconds that took."""
    began = time.monotonic()
    with transaction.atomic():
        rows("SELECT 1")
        wake_on_commit("default")
    return time.monotonic() - began


# --- On commit ----------------------------------------------------------------------------------------------


def test_a_commit_sends_a_wake_up(shop: Shop, broker: Broker) -> None:
    shop.open()
    assert broker.messages() == 1


def test_a_rollback_sends_none(shop: Shop, broker: Broker) -> None:
    with transaction.atomic():
        rows("SELECT 1")
        wake_on_commit("default")
        transaction.set_rollback(True)
    assert broker.messages() == 0


def test_a_thousand_commits_send_a_few_at_most(broker: Broker) -> None:
    for _ in range(1_000):
        _commit()
    assert 1 <= broker.messages() <= 3  # the mark expires on a very slow machine


def test_many_threads_that_commit_at_once_send_one(broker: Broker) -> None:
    together([_commit] * 8)
    assert broker.messages() == 1


def test_after_the_mark_is_cleared_the_next_commit_sends_again(broker: Broker) -> None:
    _commit()
    clear_mark("default")
    _commit()
    assert broker.messages() == 2


def test_a_mark_whose_wake_up_was_lost_expires(broker: Broker) -> None:
    _commit()
    with redis.Redis.from_url(broker.url) as client:
        (mark,) = [key for key in client.keys("*") if b"woken" in key]
        assert 0 < client.ttl(mark) <= MARK_SECONDS


def test_a_dispatcher_wakes_nobody_for_what_it_commits_itself(broker: Broker) -> None:
    with quietly():
        _commit()
    assert broker.messages() == 0
    _commit()
    assert broker.messages() == 1


def test_nobody_is_woken_when_the_project_has_named_nobody(broker: Broker, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": None}
    _commit()
    assert broker.messages() == 0


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
    shop: Shop, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def commit_first(**named: Any) -> bool:
        shop.open()  # somebody commits when the task has begun and not read yet
        sent.append(broker.messages())
        return dispatch.drain(**named)

    shop.open()
    monkeypatch.setattr(tasks, "drain", commit_first)
    tasks.dispatch(using="default")
    assert sent == [2]  # one that this task was woken by, and one that nobody has taken yet


def test_a_task_that_did_not_come_to_an_end_sends_another(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "drain", lambda **_: False)
    tasks.dispatch(using="default")
    assert broker.messages() == 1


def test_a_task_that_came_to_an_end_sends_none(broker: Broker) -> None:
    tasks.dispatch(using="default")
    assert broker.messages() == 0


def test_a_task_calls_for_help_when_there_is_more_than_a_batch(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(watching(lambda _: None, batch_size=2))
    shop.add(shop.open(), "a", "b", "c")
    clear_mark("default")
    monkeypatch.setattr(tasks, "EventStore", lambda **_: shop.store)
    before = broker.messages()
    tasks.sweep(using="default")
    assert broker.messages() - before == 1


def test_a_worker_that_starts_is_woken_whatever_the_mark_of_a_killed_one_says(broker: Broker) -> None:
    cache.set("eventstore:woken:default", 1, timeout=MARK_SECONDS)
    worker_ready.send(sender=None)
    assert broker.messages() == 1


@pytest.mark.parametrize("task", [tasks.dispatch, tasks.sweep])
def test_a_task_says_in_one_line_that_the_database_is_away(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, task: Callable[..., None]
) -> None:
    def lose_the_connection(**_: Any) -> bool:
        raise OperationalError("the connection is closed\nand more about it")

    monkeypatch.setattr(tasks, "drain", lose_the_connection)
    with capture_logs() as logged:
        task(using="default")
    assert [(line["event"], line["reason"]) for line in logged] == [
        ("eventstore.not_dispatched", "the connection is closed")
    ]
    assert broker.messages() == 0


@pytest.mark.parametrize("task", [tasks.dispatch, tasks.sweep])
def test_a_task_does_not_hide_an_error_of_the_program(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, task: Callable[..., None]
) -> None:
    def fail(**_: Any) -> bool:
        raise ArithmeticError

    monkeypatch.setattr(tasks, "drain", fail)
    with pytest.raises(ArithmeticError):
        task(using="default")


# --- When Redis is away -------------------------------------------------------------------------------------


def test_a_commit_answers_in_bounded_time_when_redis_refuses_and_wakes_again_afterwards(
    shop: Shop, broker: Broker
) -> None:
    _commit()
    broker.kill()
    began = time.monotonic()
    shop.open()
    assert time.monotonic() - began < BOUND_SECONDS
    assert celery_wakeup.breaker.is_open()
    broker.start()
    assert _eventually(lambda: _commit() and broker.messages())
    assert value("SELECT count(*) FROM eventstore_event") == 1


def test_a_commit_answers_in_bounded_time_when_redis_hangs_and_wakes_again_afterwards(
    shop: Shop, broker: Broker
) -> None:
    _commit()
    clear_mark("default")
    broker.freeze()
    assert _commit() < BOUND_SECONDS
    assert celery_wakeup.breaker.is_open()
    assert sum(_commit() for _ in range(20)) < BREAKER_SECONDS / 2  # while it is open nobody tries
    broker.thaw()
    before = broker.messages()
    # The frozen attempt has left its mark, and no wake-up: the mark must not keep the next one from being sent.
    cache.set("eventstore:woken:default", 1, timeout=MARK_SECONDS)
    began = time.monotonic()
    assert _eventually(lambda: _commit() and broker.messages() > before)
    assert time.monotonic() - began < MARK_SECONDS


def test_the_mark_is_left_to_expire_when_the_cache_is_away(broker: Broker) -> None:
    broker.kill()
    clear_mark("default")  # says so in the log, and goes on


def test_a_breaker_lets_one_try_for_all_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("eventstore.celery_wakeup.time.monotonic", lambda: clock[0])
    breaker = Breaker(seconds=2.0)
    assert not breaker.is_open()
    breaker.failed()
    assert breaker.is_open()
    clock[0] += 2.5
    assert not breaker.is_open()  # this caller tries
    assert breaker.is_open()  # and the others wait for what comes of it
    breaker.succeeded()
    assert not breaker.is_open()
    assert not breaker.is_trying()


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
