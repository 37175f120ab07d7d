"""Clients go on asking while parts of the product die under them; afterwards nothing is lost, doubled or stuck.

Each test brings its own accounts and its own load; the product, its database and its log are shared, so what is
checked at the end covers every fault so far.
"""

from __future__ import annotations

import signal

from config.processes import wait_until
from tests.faults.product import Product
from tests.load import Told

CLIENTS = 6
SETTLED_SECONDS = 30.0
"""How long the last transfers may take once everything is back, on a busy machine; the soak holds it to ten."""
ANSWER_SECONDS = 5.0
"""How long a command may take when Redis is away, on a busy machine."""


def test_it_loses_nothing_when_workers_are_killed(product: Product) -> None:
    requests = product.settle().requests(transfers=200, deposits=20, seed=1)
    with product.load(requests, clients=CLIENTS) as load:
        product.kill_workers_under(load, kills=5)
    product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)


def test_it_does_nothing_twice_when_the_web_server_is_killed(product: Product) -> None:
    requests = product.settle().requests(transfers=80, deposits=80, seed=5)
    with product.load(requests, clients=CLIENTS) as load:
        for kill in range(2):
            assert wait_until(lambda: load.answered > load.total * kill / 2, timeout_seconds=SETTLED_SECONDS)  # noqa: B023
            web = product.web()
            assert web is not None
            web.send_signal(signal.SIGKILL)
    assert any(answer.undecided for answer in load.told), "no client was left without an answer"
    product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)


def test_it_answers_and_catches_up_when_redis_hangs(product: Product) -> None:
    requests = product.settle().requests(transfers=60, deposits=20, seed=2)
    with product.frozen_redis(), product.load(requests, clients=CLIENTS) as load:
        load.wait()
    assert _slowest(load.told) < ANSWER_SECONDS
    product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)


def test_it_answers_and_catches_up_when_redis_is_killed(product: Product) -> None:
    requests = product.settle().requests(transfers=60, deposits=20, seed=3)
    redis = product.redis()
    assert redis is not None
    with product.load(requests, clients=CLIENTS) as load:
        redis.send_signal(signal.SIGKILL)
    assert _slowest(load.told) < ANSWER_SECONDS
    product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)


def test_it_loses_nothing_when_its_database_connections_are_cut(product: Product) -> None:
    requests = product.settle().requests(transfers=100, deposits=20, seed=4)
    with product.load(requests, clients=CLIENTS) as load:
        for cut in range(4):
            assert wait_until(lambda: load.answered > load.total * cut / 4, timeout_seconds=SETTLED_SECONDS)  # noqa: B023
            product.wait_for_work_in_progress(load)
            assert product.auditor.cut_connections() > 0
    product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)


def _slowest(told: list[Told]) -> float:
    return max(answer.slowest_seconds for answer in told)
