"""What the event store counts while it works, for Prometheus.

Every process keeps its own; with `PROMETHEUS_MULTIPROC_DIR` set they are files, which whoever is asked adds up.
Invariant: counting costs microseconds. The store and `subscriptions` count; what stands in the database is not counted
but looked up when somebody asks (`collecting`).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from django.db import transaction
from prometheus_client import Counter, Histogram

from eventstore.events import RecordedEvent

_QUICK: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds

APPENDED: Final = Counter("eventstore_appended_events", "Events that were committed.", ["event_type"])
APPEND_SECONDS: Final = Histogram(
    "eventstore_append_seconds", "Time to write a batch of events, without its commit.", buckets=_QUICK
)
HANDLED: Final = Counter("eventstore_handled_events", "Events that were handled.", ["subscription"])
HANDLING_SECONDS: Final = Histogram(
    "eventstore_handling_seconds", "Time of a batch from its lock to its commit.", ["subscription"], buckets=_QUICK
)
PARKED: Final = Counter("eventstore_parkings", "Times that a key was parked.", ["subscription"])
WAITED: Final = Counter("eventstore_waitings", "Events put behind because others held their stream.", ["subscription"])
HELD: Final = Counter("eventstore_holds", "Times that a checkpoint was held for a while.", ["subscription"])
RETRIES: Final = Counter("eventstore_retries", "Retries of parked keys, by outcome.", ["subscription", "outcome"])


def appended(events: Sequence[RecordedEvent[Any]], *, seconds: float, using: str) -> None:
    """Counts events once they are committed, and the time that writing them took."""
    APPEND_SECONDS.observe(seconds)
    names = [event.name for event in events]
    transaction.on_commit(partial(_count, names), using=using, robust=True)


def _count(names: Iterable[str]) -> None:
    for name, times in Tally(names).items():
        APPENDED.labels(name).inc(times)
