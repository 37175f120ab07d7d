"""How long a client waits on an idle system, through everything that a user runs: web, Redis, Celery, Postgres."""

from __future__ import annotations

import time
from random import Random
from typing import Final

import httpx
import psycopg

from bench.measuring import Comparison, Figures
from tests.faults.clients import API, TIMEOUT_SECONDS
from tests.faults.product import Product, remove
from tests.folders import short_folder

WARM_UP: Final = 10
LOOK_EVERY_SECONDS: Final = 0.001

# Whether the read model shows a transfer as completed.
_SELECT_COMPLETED = "SELECT 1 FROM readmodel.transfer WHERE transfer_id = %s AND state = 'COMPLETED'"


def idle_latency(*, count: int) -> list[Comparison]:
    """From sending the POST to COMPLETED in the read model, one transfer at a time on an idle system."""
    folder = short_folder()
    try:
        with Product(folder=folder, disturbed=False) as product:
            return _measure(product, product.database_url, count=count)
    finally:
        remove(folder)


def _measure(product: Product, database_url: str, *, count: int) -> list[Comparison]:
    payer, payee, *_ = product.town.by_currency["EUR"]
    body = {"from_account_id": payer, "to_account_id": payee, "amount": "0.01"}
    random = Random(1)  # noqa: S311 - pauses
    seen: list[float] = []
    waited: list[float] = []
    answered: list[float] = []
    headers = {"Authorization": f"Bearer {product.api_key}"}
    with (
        psycopg.connect(database_url, autocommit=True) as reader,
        httpx.Client(base_url=product.url + API, headers=headers, timeout=TIMEOUT_SECONDS) as http,
    ):
        for number in range(WARM_UP + count):
            # Out of step with the sweep, which comes every second and would help.
            time.sleep(random.uniform(0.15, 0.45))
            began = time.perf_counter()
            response = http.post("transfers", json=body, headers={"Idempotency-Key": f"seen-{number}"})
            replied = time.perf_counter()
            _wait_until_completed(reader, response.json()["transfer_id"])
            completed = time.perf_counter()
            time.sleep(random.uniform(0.15, 0.45))
            asked = time.perf_counter()
            preference = {"Idempotency-Key": f"waited-{number}", "Prefer": "wait=5"}
            if http.post("transfers", json=body, headers=preference).status_code != 200:
                raise AssertionError("a transfer was not final within five seconds")
            settled = time.perf_counter()
            if number >= WARM_UP:
                answered.append((replied - began) * 1_000)
                seen.append((completed - began) * 1_000)
                waited.append((settled - asked) * 1_000)
    return [
        Comparison(ours=Figures(what="POST to COMPLETED in the read model", unit="ms", runs=seen)),
        Comparison(ours=Figures(what="POST with Prefer: wait, to its answer", unit="ms", runs=waited)),
        Comparison(ours=Figures(what="POST to its answer (202)", unit="ms", runs=answered)),
    ]


def _wait_until_completed(reader: psycopg.Connection, transfer_id: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while reader.execute(_SELECT_COMPLETED, [transfer_id]).fetchone() is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"transfer {transfer_id} was not completed in time")
        time.sleep(LOOK_EVERY_SECONDS)
