"""`python -m bench [--quick]`: runs the benchmarks, prints a table, writes `bench/results.json`."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import django
import msgspec
from rich.console import Console
from rich.table import Table

from bench.broker_away import broker_away
from bench.databases import durable_servers
from bench.latency import idle_latency
from bench.measuring import Comparison

RESULTS: Final = Path(__file__).with_name("results.json")
RUNS: Final = 5
QUICK_RUNS: Final = 3
IN_PROCESS: Final = {"transfers": (5_000, 1_000), "appends": (2_000, 300), "replays": (10_000, 1_000), "pages": (9, 3)}
"""The parts that run in this process, with the size of a run, and of a quick one."""


def main() -> int:
    """Parses, measures, tells."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs: a first impression in a minute")
    parser.add_argument("--only", choices=[*IN_PROCESS, "latency", "broker-away"], help="one of them alone")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    wanted = [part for part in (*IN_PROCESS, "latency", "broker-away") if options.only in (None, part)]
    results = _measure_in_process(
        [part for part in wanted if part in IN_PROCESS], quick=options.quick, say=console.print
    )
    if "latency" in wanted:
        console.print("measuring latency …")
        results += idle_latency(count=20 if options.quick else 100)
    if "broker-away" in wanted:
        console.print("measuring without Redis …")
        outages = (5.0,) if options.quick else (5.0, 60.0)
        results += broker_away(count=150 if options.quick else 500, outages_seconds=outages)
    console.print(_table(results))
    if options.only is None:
        RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(_report(results, quick=options.quick))) + b"\n")
        console.print(f"written to {RESULTS}", style="dim")
    return 0


def _measure_in_process(parts: list[str], *, quick: bool, say: Callable[[str], None]) -> list[Comparison]:
    """Runs parts of `bench.throughput` and `bench.pages`, which can only be imported once Django knows the servers."""
    results: list[Comparison] = []
    if not parts:
        return results
    with durable_servers() as servers:
        django.setup()
        measures = {part: import_module("bench.pages" if part == "pages" else "bench.throughput") for part in parts}
        for part in parts:
            say(f"measuring {part} …")
            count, quick_count = IN_PROCESS[part]
            measure = getattr(measures[part], part)
            results += measure(servers, count=quick_count if quick else count, runs=QUICK_RUNS if quick else RUNS)
    return results


def _table(results: list[Comparison]) -> Table:
    table = Table("what", "median", "lowest", "highest", "p95", "unit", "peer", "its median", "ratio")
    for result in results:
        low, high = result.ours.spread
        figures = [_shown(value) for value in (result.ours.median, low, high, result.ours.percentile(95))]
        beside = ["", "", ""]
        if result.peer is not None and result.ratio is not None:
            beside = [result.peer.what, _shown(result.peer.median), f"{result.ratio:.2f}"]
        table.add_row(result.ours.what, *figures, result.ours.unit, *beside)
    return table


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _report(results: list[Comparison], *, quick: bool) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "quick": quick,
        "machine": {
            "cpus": os.cpu_count(),
            "load": [round(value, 2) for value in os.getloadavg()],
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "results": [result.as_plain() for result in results],
    }


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
