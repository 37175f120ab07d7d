"""A whole Daybook whose Redis is gone, or says nothing: it answers, and what follows from the commands carries on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import httpx
import pytest

from config.embedded.credentials import read_credentials
from config.embedded.home import APP_ROLE, find_home
from config.processes import wait_until
from tests.daybook_process import Daybook, remove_folder, short_folder
from tests.faults.auditing import Auditor
from tests.faults.product import Product
from tests.load import Client
from tests.redis_server import RedisServer

BOUND_SECONDS: Final = 4.0
"""How long an answer may take on a busy machine. With Redis hanging and no bound it would be fifteen."""
SETTLED_SECONDS: Final = 30.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis that nobody starts again."""
    folder = short_folder()
    found = RedisServer(folder)
    yield found
    found.thaw()
    found.kill()
    remove_folder(folder)


@pytest.fixture(scope="module")
def product(redis: RedisServer) -> Iterator[Product]:
    """A Daybook on that Redis."""
    folder = short_folder()
    with Daybook(data_dir=folder, environment={"REDIS_URL": redis.url}).ready() as daybook:
        home = find_home(data_dir=folder)
        credentials = read_credentials(path=home.credentials_file)
        assert credentials is not None
        url = home.database_url(user=APP_ROLE, password=credentials.app_password)
        yield Product(daybook, Auditor(database_url=url))
    remove_folder(folder)


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
    town = product.settle()
    with Client(url=product.url, api_key=product.api_key) as client:
        leave(redis)
        slowest_seconds = 0.0
        for request in town.requests(transfers=30, deposits=10, seed=7):
            began = time.monotonic()
            product.told.append(client.ask(request))
            slowest_seconds = max(slowest_seconds, time.monotonic() - began)
    assert slowest_seconds < BOUND_SECONDS
    assert product.auditor.wait_until_all_final(seconds=SETTLED_SECONDS), product.daybook.output
    assert httpx.get(f"{product.url}/health/ready", timeout=10).json()["broker"] == "failing"
    return_(redis)
    assert wait_until(redis.has_consumer, timeout_seconds=SETTLED_SECONDS), product.daybook.output
    product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)
