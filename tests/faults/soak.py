"""Breaks a Daybook for as long as you like, under load, and audits it again and again.

    make soak MINUTES=60            # the seed is printed
    make soak MINUTES=60 SEED=7     # the same faults in the same order

It runs what a user runs: `manage.py up` with the embedded servers, in a folder of its own. Every kind of fault comes
once in each round, in random order, and an operator goes about the usual business meanwhile; a round ends with an audit
of everything so far. It stops at the first thing that
is lost, doubled, stuck or different, keeps the folder, and says where. At the end it prints the counts as Markdown.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import psutil

from tests.faults.auditing import WAITED, Audit, final_states
from tests.faults.clients import Load
from tests.faults.kinds import KINDS
from tests.faults.operating import WORKS, Operator
from tests.faults.product import Hung, Product, remove
from tests.faults.report import as_markdown
from tests.folders import short_folder

RECOVERY_SECONDS: Final = 120.0
"""How long transfers may stand still after a fault's end."""
OPERATED_MINUTES: Final = 15.0
"""In so long a soak the operator must have come to everything that he does."""
CALM_DECISIONS: Final = 30
"""How many requests are decided between two faults."""
MOST_MEMORY_BYTES: Final = 4 * 2**30
LEAST_DISK_BYTES: Final = 2 * 2**30


class OutOfRoom(Exception):
    """The machine has not enough memory or disk to go on."""


def plan(*, seed: int, only: list[str] | None = None) -> Iterator[tuple[str, int]]:
    """The faults and their own seeds, round by round, without end. The same seed gives the same plan."""
    chosen = Random(seed)
    names = sorted(only or KINDS)
    while True:
        for name in chosen.sample(names, len(names)):
            yield name, chosen.randrange(2**32)


class Soak:
    """One run."""

    def __init__(self, *, product: Product, seed: int, minutes: float, only: list[str] | None) -> None:
        self.product = product
        self.seed = seed
        self.recoveries: list[dict[str, Any]] = []
        self.audits: list[dict[str, Any]] = []
        self.checked: Counter[str] = Counter()
        self.now = "starting"
        self.most_memory_bytes = 0
        self._only = only
        self._minutes = minutes
        self._began = time.monotonic()
        self._ends = self._began + minutes * 60
        self._faults = plan(seed=seed, only=only)
        self._numbers = 0
        self._operators: list[Operator] = []

    def run(self) -> None:
        """Rounds of faults, each with an audit, until the time is over. Raises AssertionError at the first loss."""
        size = len(self._only or KINDS)
        rounds = 0
        while time.monotonic() < self._ends:
            rounds += 1
            seed = self.seed + rounds
            operator = Operator(product=self.product, seed=seed)
            self._operators.append(operator)
            with self.product.load(seed=seed) as load, operator:
                for _ in range(size):
                    self._fault(load, *next(self._faults))
                    if time.monotonic() > self._ends:
                        break
            self._audit(rounds)
        self._check_operated()

    def _check_operated(self) -> None:
        """In a soak of some length the operator has done each of his works at least once."""
        done = sum((operator.done for operator in self._operators), Counter[str]())
        undone = [work for work in WORKS if not done[work]]
        assert self._minutes < OPERATED_MINUTES or not undone, f"the operator has done no {undone}: {dict(done)}"

    def _fault(self, load: Load, name: str, seed: int) -> None:
        self._numbers += 1
        self._wait_for_calm(load)
        self.now = f"fault {self._numbers}, {name} (its seed {seed})"
        began = time.monotonic()
        fault = KINDS[name](product=self.product, seed=seed)
        fault.strike()
        ended = fault.over or time.monotonic()
        self.now = f"recovery from {self.now}"
        first_seconds, all_seconds = self._recover(ended)
        fault.check_returned()
        self._check(load)
        recovery = {
            "fault": name,
            "seed": seed,
            "lasted_seconds": round(ended - began, 2),
            "first_transfer_seconds": round(first_seconds, 2),
            "backlog_zero_seconds": round(all_seconds, 2),
            "bystander_seconds": None if fault.bystander_seconds is None else round(fault.bystander_seconds, 2),
        }
        self.recoveries.append(recovery)
        model = self.product.model
        self.say(
            f"{self._numbers:4} {name:28} {ended - began:5.1f} s, then a transfer in {first_seconds:5.2f} s,"
            f" none left in {all_seconds:5.2f} s; {model.decided:,} requests decided,"
            f" {len(model.unknown())} unknown, {len(self.product.tail.states):,} transfers final"
        )

    def _wait_for_calm(self, load: Load) -> None:
        self.now = "calm between faults"
        enough = self.product.model.decided + CALM_DECISIONS
        self.product.wait(
            lambda: self._check(load) or self.product.model.decided >= enough,
            "clients are answered",
            seconds=RECOVERY_SECONDS,
        )

    def _recover(self, ended: float) -> tuple[float, float]:
        """Seconds from the fault's end to the first new transfer's end, and to that of all accepted before."""
        before = self.product.tail.unfinished() | self._accepted_and_open()
        accounts = self.product.town.by_currency["EUR"]
        probe = self.product.probe((accounts[1], accounts[2]))
        if not self.product.tail.wait_until_final({probe}, seconds=RECOVERY_SECONDS):
            raise Hung(f"no transfer came to an end within {RECOVERY_SECONDS:.0f} s\n{self.product.describe()}")
        first_seconds = time.monotonic() - ended
        if not self.product.tail.wait_until_final(before, seconds=RECOVERY_SECONDS):
            left = [id for id in before if id not in self.product.tail.states]
            raise Hung(f"{len(left)} transfers did not end: {left[:5]}\n{self.product.describe()}")
        return first_seconds, time.monotonic() - ended

    def _accepted_and_open(self) -> set[str]:
        recent = self.product.model.all()[-2_000:]
        ids = {told.body["transfer_id"] for told in recent if told.is_acknowledged and told.request.what == "transfer"}
        return {id for id in ids if id not in self.product.tail.states}

    def _audit(self, rounds: int) -> None:
        self.now = f"audit {rounds}"
        began = time.monotonic()
        audit = Audit(product=self.product, seed=self.seed + rounds)
        audit.run()
        assert audit.counts[WAITED], "nobody has waited for a transfer"
        self.checked = audit.counts
        seconds = time.monotonic() - began
        self.audits.append({"audit": rounds, "seconds": round(seconds, 1), **audit.counts})
        self.say(f"audit {rounds}: nothing lost, doubled or stuck ({seconds:.0f} s)")

    def _check(self, load: Load) -> bool:
        load.check()
        self._operators[-1].check()
        self.product.tail.check()
        self.most_memory_bytes = max(self.most_memory_bytes, psutil.Process().memory_info().rss)
        if self.most_memory_bytes > MOST_MEMORY_BYTES:
            raise OutOfRoom("the soak itself has grown too large; take fewer MINUTES")
        if shutil.disk_usage(self.product.folder).free < LEAST_DISK_BYTES:
            raise OutOfRoom(f"{self.product.folder} has no room left")
        return False

    def say(self, text: str) -> None:
        """A line of progress."""
        seconds = int(time.monotonic() - self._began)
        print(f"{seconds // 60:3}:{seconds % 60:02}  {text}", flush=True)  # noqa: T201 - this is what a soak is for

    def report(self, *, failure: str | None) -> dict[str, Any]:
        """All figures."""
        model, proxies = self.product.model, self.product.proxies
        slowest = sorted(told.slowest_seconds for told in model.all())
        return {
            "seed": self.seed,
            "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "minutes": round((time.monotonic() - self._began) / 60, 1),
            "failure": failure,
            "requests": model.counts(),
            "tries_without_a_decision": dict(model.reasons.most_common()),
            "slowest_try_seconds": round(slowest[-1], 2) if slowest else None,
            "transfers": final_states(self.product),
            "faults": summary(self.recoveries),
            "operated": dict(sum((operator.done for operator in self._operators), Counter[str]())),
            "done_to_traffic": dict(proxies.postgres.done + proxies.redis.done),
            "audits": self.audits,
            "events_by_type": dict(self.product.tail.recorded.most_common()),
            "most_memory_mib": self.most_memory_bytes // 2**20,
            "recoveries": self.recoveries,
        }


def summary(recoveries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Recovery by kind of fault: how often, and least, median and most seconds; and how long others had to wait."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({recovery["fault"] for recovery in recoveries}):
        of_kind = [recovery for recovery in recoveries if recovery["fault"] == name]
        found[name] = {"times": len(of_kind)}
        for measure in ("first_transfer_seconds", "backlog_zero_seconds", "bystander_seconds"):
            seconds = [recovery[measure] for recovery in of_kind if recovery[measure] is not None]
            if not seconds:
                continue
            found[name][measure] = {
                "min": min(seconds),
                "median": round(statistics.median(seconds), 2),
                "max": max(seconds),
            }
    return found


def main() -> int:
    """Parses, runs, reports; answers with the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--report", type=Path, default=Path("soak.json"))
    parser.add_argument("--only", action="append", choices=sorted(KINDS), help="this kind of fault; may be repeated")
    options = parser.parse_args()
    options.report.unlink(missing_ok=True)
    folder = short_folder()
    print(f"seed {options.seed}, {options.minutes:g} minutes, data in {folder}", flush=True)  # noqa: T201
    failure = None
    soak = None
    product = Product(folder=folder, seed=options.seed)
    try:
        with product:
            soak = Soak(product=product, seed=options.seed, minutes=options.minutes, only=options.only)
            try:
                soak.run()
                assert soak.audits, "the time was over before anything was audited"
            except BaseException:  # noqa: BLE001 - whatever it was, the report tells
                failure = f"during {soak.now}:\n{traceback.format_exc()}"
            finally:
                _write(options.report, soak.report(failure=failure))
    finally:
        if hasattr(product, "daybook"):
            (folder / "up.log").write_text("\n".join([*product.log, *product.daybook.lines]), encoding="utf-8")
        if soak is not None and failure is None:
            remove(folder)
    if failure:
        print(f"{failure}\nSTOPPED: seed {options.seed}; data and log are kept in {folder}", flush=True)  # noqa: T201
        return 1
    print(as_markdown(json.loads(options.report.read_text(encoding="utf-8"))))  # noqa: T201
    return 0


def _write(file: Path, report: dict[str, Any]) -> None:
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
