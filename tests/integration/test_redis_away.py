"""A whole Daybook whose Redis is gone, or says nothing: it answers, and what follows from the commands carries on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

import httpx
import pytest

from tests.faults.auditing import Audit
from tests.faults.clients import Asker
from tests.faults.product import Product, remove
from tests.faults.told import Told
from tests.folders import passing_folder, remove_folder
from tests.redis_server import RedisServer

BOUND_SECONDS: Final = 4.0
"""How long an answer may take on a busy machine. With Redis hanging and no bound it would be fifteen."""
SETTLED_SECONDS: Final = 30.0
REQUESTS: Final = 40


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis that nobody starts again."""
    folder = passing_folder()
    found = RedisServer(folder)
    yield found
    found.thaw()
    found.kill()
    remove_folder(folder)


@pytest.fixture(scope="module")
def product(redis: RedisServer) -> Iterator[Product]:
    """A Daybook on that Redis."""
    folder = passing_folder()
    with Product(folder=folder, disturbed=False, environment={"REDIS_URL": redis.url}) as product:
        yield product
    remove(folder)


@pytest.mark.parametrize(
    ("leave", "return_"),
    [(RedisServer.kill, RedisServer.start), (RedisServer.freeze, RedisServer.thaw)],
    ids=["refuses", "hangs"],
)
def test_it_answers_and_posts_while_redis_is_away_and_its_workers_come_back(
    product: Product,
    redis: RedisServer,
    leave: Callable[[RedisServer], None],
    return_: Callable[[RedisServer], None],
) -> None:
    asker = Asker(town=product.town, random=Random(7))
    with product.client() as client:
        leave(redis)
        for _ in range(REQUESTS):
            told = client.ask(Told(request=asker.next(waits=False)))
            product.model.add(told)
            asker.learn(told)
    assert max(told.slowest_seconds for told in product.model.all()) < BOUND_SECONDS
    product.wait_until_settled(seconds=SETTLED_SECONDS)
    assert httpx.get(f"{product.url}/health/ready", timeout=10).json()["broker"] == "failing"
    return_(redis)
    product.wait(redis.has_consumer, "a worker waits for messages", seconds=SETTLED_SECONDS)
    Audit(product=product, seed=7).run()
