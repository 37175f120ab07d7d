"""What a benchmark says: figures of several runs, ours and a peer's, by turns, so that both meet the same machine."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec


class Stopwatch:
    """Measures a block."""

    seconds: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measures the block, with what was allocated before it out of the collector's way."""
    gc.collect()
    watch = Stopwatch()
    began = time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - began


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity, measured several times."""

    what: str
    unit: str
    runs: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest."""
        return min(self.runs), max(self.runs)

    def percentile(self, percent: float) -> float:
        """The value that `percent` of the runs do not exceed."""
        ordered = sorted(self.runs)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Our figures, and those of another way of doing it if there is one."""

    ours: Figures
    peer: Figures | None = None

    @property
    def ratio(self) -> float | None:
        """Ours through the peer's, by medians."""
        return None if self.peer is None else self.ours.median / self.peer.median

    def as_plain(self) -> dict[str, object]:
        """For the results file."""
        plain: dict[str, object] = {"ours": _plain(self.ours)}
        if self.peer is not None and self.ratio is not None:
            plain |= {"peer": _plain(self.peer), "ratio": round(self.ratio, 3)}
        return plain


Run = Callable[[], float]
SIGNIFICANT: Final = 4


def by_turns(runs: int, *contestants: Run) -> list[list[float]]:
    """Has each contestant run once in each round; answers with each one's figures."""
    results: list[list[float]] = [[] for _ in contestants]
    for _ in range(runs):
        for figures, run in zip(results, contestants, strict=True):
            figures.append(run())
    return results


def _plain(figures: Figures) -> dict[str, object]:
    low, high = figures.spread
    return {
        "what": figures.what,
        "unit": figures.unit,
        "median": _rounded(figures.median),
        "low": _rounded(low),
        "high": _rounded(high),
        "p95": _rounded(figures.percentile(95)),
        "runs": [_rounded(run) for run in figures.runs],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT}g}")
