"""The soak's report as Markdown, for a document: `python -m tests.faults.report FILE`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def as_markdown(report: dict[str, Any]) -> str:
    """Tables of requests, transfers and faults."""
    parts = [_head, _requests, _transfers, _faults, _bystanders, _operated, _traffic]
    return "\n\n".join(part(report) for part in parts)


def _head(report: dict[str, Any]) -> str:
    requests = sum(sum(outcomes.values()) for outcomes in report["requests"].values())
    faults = sum(kind["times"] for kind in report["faults"].values())
    slowest = max((kind["backlog_zero_seconds"]["max"] for kind in report["faults"].values()), default=0)
    ended = "stopped by a failure" if report["failure"] else "nothing lost, doubled or stuck"
    return (
        f"Seed {report['seed']}, {report['minutes']} minutes: {requests:,} requests, "
        f"{sum(report['transfers'].values()):,} transfers, {faults:,} faults, {len(report['audits'])} audits; "
        f"slowest recovery {slowest:.1f} s; {ended}."
    )


def _requests(report: dict[str, Any]) -> str:
    outcomes = sorted({outcome for counts in report["requests"].values() for outcome in counts})
    rows = [[what, *(counts.get(outcome, 0) for outcome in outcomes)] for what, counts in report["requests"].items()]
    return _table(["requests", *outcomes], rows)


def _transfers(report: dict[str, Any]) -> str:
    return _table(["transfers that ended as", "count"], [[f"`{state}`", n] for state, n in report["transfers"].items()])


def _faults(report: dict[str, Any]) -> str:
    rows = []
    for name, kind in report["faults"].items():
        measures = (kind["first_transfer_seconds"], kind["backlog_zero_seconds"])
        rows.append(
            [name, kind["times"], *(" / ".join(f"{m[key]:.1f}" for key in ("min", "median", "max")) for m in measures)]
        )
    heads = ["fault", "times", "first transfer after it, s (min / median / max)", "none left, s (min / median / max)"]
    return _table(heads, rows)


def _bystanders(report: dict[str, Any]) -> str:
    """How long others had to wait while a fault lasted, where that was tried."""
    rows = [
        [name, kind["times"], " / ".join(f"{kind['bystander_seconds'][key]:.1f}" for key in ("min", "median", "max"))]
        for name, kind in report["faults"].items()
        if "bystander_seconds" in kind
    ]
    return _table(["meanwhile", "times", "others had to wait, s (min / median / max)"], rows)


def _operated(report: dict[str, Any]) -> str:
    return _table(["an operator's", "count"], [[what, n] for what, n in sorted(report["operated"].items())])


def _traffic(report: dict[str, Any]) -> str:
    return _table(
        ["done to connections", "count"], [[what, n] for what, n in sorted(report["done_to_traffic"].items())]
    )


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [
        heads,
        ["---"] * len(heads),
        *([f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


if __name__ == "__main__":
    print(as_markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))  # noqa: T201
