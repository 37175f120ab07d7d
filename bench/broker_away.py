"""What clients notice when Redis is away: the same load with Redis as usual, refusing, and hanging, side by side.

A load of requests at a steady rate, so that a slow answer does not thin out the requests behind it. Everything that a
user runs takes part; Redis alone is one of our own, so that nobody restarts it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import httpx

from bench.measuring import Comparison, Figures
from config.processes import wait_until
from tests.faults.clients import API, TIMEOUT_SECONDS
from tests.faults.product import Product, remove
from tests.folders import remove_folder, short_folder
from tests.redis_server import RedisServer

PER_SECOND: Final = 25
WARM_UP: Final = 60
PATIENCE_SECONDS: Final = 120.0


def broker_away(*, count: int, outages_seconds: tuple[float, ...]) -> list[Comparison]:
    """Time to the answer and to the last transfer's end, by state of Redis; and how soon its workers are back."""
    folder, redis_folder = short_folder(), short_folder()
    redis = RedisServer(redis_folder)
    try:
        with Product(folder=folder, disturbed=False, environment={"REDIS_URL": redis.url}) as product:
            return _measure(product, redis, count=count, outages_seconds=outages_seconds)
    finally:
        redis.thaw()
        redis.kill()
        remove(folder)
        remove_folder(redis_folder)


def _measure(
    product: Product, redis: RedisServer, *, count: int, outages_seconds: tuple[float, ...]
) -> list[Comparison]:
    load = _Load(product)
    load.run(WARM_UP)
    results = [*load.figures("Redis as usual", count)]
    normal = results[0].ours
    for what, away in (("Redis refuses", _refusing), ("Redis hangs", _hanging)):
        with away(redis):
            beside = load.figures(what, count)
        results += [Comparison(ours=beside[0].ours, peer=normal), *beside[1:]]
        _wait_for(redis.has_consumer)
    for seconds in outages_seconds:
        for what, away in (("refused", _refusing), ("hung", _hanging)):
            with away(redis):
                time.sleep(seconds)
            began = time.monotonic()
            _wait_for(redis.has_consumer)
            back = (time.monotonic() - began) * 1_000
            figures = Figures(what=f"worker back after Redis {what} for {seconds:g} s", unit="ms", runs=[back])
            results.append(Comparison(ours=figures))
    return results


@contextmanager
def _refusing(redis: RedisServer) -> Iterator[None]:
    redis.kill()
    yield
    redis.start()


@contextmanager
def _hanging(redis: RedisServer) -> Iterator[None]:
    redis.freeze()
    yield
    redis.thaw()


class _Load:
    """Transfers at a steady rate, each with the time to its answer."""

    def __init__(self, product: Product) -> None:
        payer, payee, *_ = product.town.by_currency["EUR"]
        self._product = product
        self._body = {"from_account_id": payer, "to_account_id": payee, "amount": "0.01"}
        self._number = 0
        self._local = threading.local()

    def figures(self, what: str, count: int) -> list[Comparison]:
        """The times to the answers, and how long the transfers then took to be final."""
        runs = self.run(count)
        ended = time.monotonic()
        final = wait_until(self._is_final, timeout_seconds=PATIENCE_SECONDS / 6)
        settled = Figures(what=f"last transfer final, {what}", unit="ms", runs=[(time.monotonic() - ended) * 1_000])
        p99 = Figures(what=f"p99 of the answers, {what}", unit="ms", runs=[_percentile_99(runs)])
        answers = Figures(what=f"POST to its answer, {what}", unit="ms", runs=runs)
        return [Comparison(ours=found) for found in (answers, p99, *([settled] if final else []))]

    def _is_final(self) -> bool:
        return not self._product.behind() and not self._product.tail.unfinished()

    def run(self, count: int) -> list[float]:
        """Sends so many; answers with the milliseconds that each took from when it was due."""
        began = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            due = [began + number / PER_SECOND for number in range(count)]
            found = [pool.submit(self._one, at, self._number + number) for number, at in enumerate(due)]
            self._number += count
            return [one.result() for one in found]

    def _one(self, due: float, number: int) -> float:
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.perf_counter()
        response = self._http().post("transfers", json=self._body, headers={"Idempotency-Key": f"away-{number}"})
        if response.status_code != 202:
            raise AssertionError(response.text)
        return (time.perf_counter() - began) * 1_000

    def _http(self) -> httpx.Client:
        if not hasattr(self._local, "http"):
            headers = {"Authorization": f"Bearer {self._product.api_key}"}
            self._local.http = httpx.Client(base_url=self._product.url + API, headers=headers, timeout=TIMEOUT_SECONDS)
        http: httpx.Client = self._local.http
        return http


def _percentile_99(runs: list[float]) -> float:
    return sorted(runs)[min(len(runs) - 1, len(runs) * 99 // 100)]


def _wait_for(condition: Callable[[], bool]) -> None:
    if not wait_until(condition, timeout_seconds=PATIENCE_SECONDS):
        raise AssertionError("the workers did not come back")
