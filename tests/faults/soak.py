"""Kills workers under a load of transfers on a Daybook of its own, and reports what came of it.

    python -m tests.faults.soak --transfers 2000 --kills 5

It runs what a user runs: `manage.py up` with the embedded servers, in a folder of its own that is removed afterwards.
Exits with an error when anything is lost, doubled, or not final within ten seconds of the workers' return.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter
from typing import Any, Final

from config.embedded.credentials import read_credentials
from config.embedded.home import APP_ROLE, find_home
from tests.daybook_process import Daybook, remove_folder, short_folder
from tests.faults.auditing import Auditor
from tests.faults.product import Product
from tests.load import Told

SETTLED_SECONDS: Final = 10.0


def soak(product: Product, *, transfers: int, kills: int, clients: int, seed: int) -> dict[str, Any]:
    """Runs the load with its kills, checks everything, and answers with the figures. Raises AssertionError."""
    requests = product.settle().requests(transfers=transfers, deposits=transfers // 10, seed=seed)
    began = time.monotonic()
    with product.load(requests, clients=clients) as load:
        returned_seconds = product.kill_workers_under(load, kills=kills)
    loaded_seconds = time.monotonic() - began
    settled_seconds = product.assert_nothing_is_lost(seconds=SETTLED_SECONDS)
    return {
        "seed": seed,
        "transfers": transfers,
        "deposits": transfers // 10,
        "kills": kills,
        "load_seconds": round(loaded_seconds, 1),
        "last_return_seconds": round(returned_seconds, 2),
        "all_final_after_return_seconds": round(settled_seconds, 2),
        "states": product.auditor.transfers_shown(),
        **_answers(load.told),
    }


def _answers(told: list[Told]) -> dict[str, Any]:
    slowest = sorted(answer.slowest_seconds * 1_000 for answer in told)
    return {
        "repeated_requests": sum(bool(answer.undecided) for answer in told),
        "repeated_because": Counter(reason for answer in told for reason in answer.undecided),
        "answer_ms_median": round(statistics.median(slowest), 1),
        "answer_ms_p99": round(slowest[int(len(slowest) * 0.99)], 1),
        "answer_ms_max": round(slowest[-1], 1),
    }


def main() -> int:
    """Parses, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    options = parser.parse_args()
    folder = short_folder()
    try:
        with Daybook(data_dir=folder, environment={"WORKER_PROCESSES": "2"}).ready() as daybook:
            credentials = read_credentials(path=find_home(data_dir=folder).credentials_file)
            if credentials is None:
                raise LookupError("the running Daybook has no credentials")
            url = find_home(data_dir=folder).database_url(user=APP_ROLE, password=credentials.app_password)
            product = Product(daybook, Auditor(database_url=url))
            report = soak(product, **vars(options))
            daybook.stop()
    finally:
        remove_folder(folder)
    print(json.dumps(report, indent=2))  # noqa: T201 - the report is what this is for
    return 0


if __name__ == "__main__":
    sys.exit(main())
