"""Transfers that take too long: how many, which, and a word in the log. Reading code: nothing in here writes.

A transfer counts from its release (`MoneyTransferCreated`), so that one which waits for a person or a date is never
slow. The limit is the setting `SLOW_TRANSFER_SECONDS`.

Who counts transfers in the read model is blind while that stands still. So the steps that the sagas have not taken are
watched as well, in the store itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections, router
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eventstore import inspection
from eventstore.registry import events
from eventstore.store import EventStore
from transfers.published.events import FINAL_STATUSES, STATUS_AFTER, TransferStatus
from views_readmodel import models
from views_readmodel.queries import WAITING_STATES

_log = structlog.get_logger(__name__)

MOST: Final = 1_000
"""More than this are told as so many."""
AGAIN_SECONDS: Final = 600.0
"""How long the log says nothing new about transfers that are still slow."""

RUNNING: Final = tuple(
    sorted(
        status.value for status in TransferStatus if status not in FINAL_STATUSES and status.value not in WAITING_STATES
    )
)
"""The states of transfers that go on by themselves."""

# Transfers that were released before a moment and still run, the oldest first.
_SELECT_SLOW: Final = """
SELECT t.transfer_id, t.state, released.at
FROM readmodel.transfer t
CROSS JOIN LATERAL (
    SELECT min(s.recorded_at) AS at FROM readmodel.transfer_step s
    WHERE s.transfer_id = t.transfer_id AND s.event_type = 'MoneyTransferCreated'
) AS released
WHERE t.state = ANY(%s) AND t.created_at < clock_timestamp() - make_interval(secs => %s)
    AND released.at < clock_timestamp() - make_interval(secs => %s)
ORDER BY released.at LIMIT %s
"""

# How many transfers are in each of some states.
_COUNT_UNFINISHED: Final = "SELECT state, count(*) FROM readmodel.transfer WHERE state = ANY(%s) GROUP BY state"

# For how long the oldest runs, from its release. Looked for among those that were asked for first.
_SELECT_OLDEST: Final = """
SELECT COALESCE(extract(epoch FROM clock_timestamp() - min(released.at)), 0)::float8
FROM (SELECT transfer_id FROM readmodel.transfer WHERE state = ANY(%s) ORDER BY created_at LIMIT %s) AS t
CROSS JOIN LATERAL (
    SELECT min(s.recorded_at) AS at FROM readmodel.transfer_step s
    WHERE s.transfer_id = t.transfer_id AND s.event_type = 'MoneyTransferCreated'
) AS released
"""


class SlowTransfer(NamedTuple):
    """A transfer that takes too long."""

    transfer_id: UUID
    state: str
    released_at: datetime


def slow_transfers(*, limit: int = MOST) -> list[SlowTransfer]:
    """Those that run for longer than `SLOW_TRANSFER_SECONDS`, the oldest first."""
    seconds = settings.SLOW_TRANSFER_SECONDS
    with connections[router.db_for_read(models.Transfer)].cursor() as cursor:
        cursor.execute(_SELECT_SLOW, [list(RUNNING), seconds, seconds, limit])
        return [SlowTransfer(*row) for row in cursor.fetchall()]


def slow_steps(*, store: EventStore | None = None) -> list[inspection.Undone]:
    """What the sagas have not done for longer than `SLOW_TRANSFER_SECONDS`, the oldest first, by the store alone."""
    found = inspection.undone(store=store or EventStore())
    return [one for one in found if one.seconds > settings.SLOW_TRANSFER_SECONDS]


class StepWatch:
    """Says in the log that steps of sagas wait: once, again much later."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    def look(self, slow: Sequence[inspection.Undone], *, now: float | None = None) -> None:
        """Takes what there is now; `now` is in monotonic seconds."""
        now = time.monotonic() if now is None else now
        if not slow:
            if self._told_at is not None:
                _log.warning("transfers.steps_wait_no_more")
            self._told_at = None
            return
        if self._told_at is not None and now - self._told_at < AGAIN_SECONDS:
            return
        self._told_at, oldest = now, slow[0]
        _log.warning(
            "transfers.steps_wait",
            stage=oldest.stage,
            subscription=oldest.subscription,
            since=oldest.since.isoformat(),
            longer_than_seconds=settings.SLOW_TRANSFER_SECONDS,
        )


class AgeWatch:
    """Says in the log when transfers have become slow: once, again only when there are twice as many or much later."""

    def __init__(self) -> None:
        self._told = 0
        self._told_at = 0.0

    def look(self, slow: Sequence[SlowTransfer], *, now: float | None = None) -> None:
        """Takes what there is now; `now` is in monotonic seconds."""
        now = time.monotonic() if now is None else now
        if not slow:
            if self._told:
                _log.warning("transfers.slow_no_more")
            self._told = 0
            return
        if self._told and len(slow) < 2 * self._told and now - self._told_at < AGAIN_SECONDS:
            return
        self._told, self._told_at = len(slow), now
        oldest = slow[0]
        _log.warning(
            "transfers.slow",
            transfers=len(slow),
            longer_than_seconds=settings.SLOW_TRANSFER_SECONDS,
            oldest=str(oldest.transfer_id),
            state=oldest.state,
            released_at=oldest.released_at.isoformat(),
        )


class TransfersCollector(Collector):
    """Transfers by state, for Prometheus.

    Those that are not final are counted in the read model; those that ended are counted as they end, by all processes,
    so that nothing here grows with history. `counted` tells the counters of all processes.
    """

    def __init__(self, *, counted: Collector) -> None:
        self._counted = counted

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked before there is a scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures."""
        unfinished = GaugeMetricFamily("daybook_transfers", "Transfers that are not final.", labels=["state"])
        counts = {status.value: 0 for status in TransferStatus if status not in FINAL_STATUSES}
        with connections[router.db_for_read(models.Transfer)].cursor() as cursor:
            cursor.execute(_COUNT_UNFINISHED, [list(counts)])
            counts |= dict(cursor.fetchall())
            cursor.execute(_SELECT_OLDEST, [list(RUNNING), MOST])
            (oldest_seconds,) = cursor.fetchone()
        for state, transfers in counts.items():
            unfinished.add_metric([state], transfers)
        yield unfinished
        yield GaugeMetricFamily(
            "daybook_transfers_oldest_unfinished_age_seconds",
            "Since the oldest transfer that runs by itself was released.",
            value=oldest_seconds,
        )
        yield GaugeMetricFamily(
            "daybook_transfers_slow",
            "Transfers that have run for longer than SLOW_TRANSFER_SECONDS, up to a limit.",
            value=len(slow_transfers()),
        )
        yield self._steps()
        yield self._ended()

    def _steps(self) -> Metric:
        """Zero where nothing waits, so that an alert need not tell that from a series that is gone."""
        oldest = dict.fromkeys(inspection.STAGES, 0.0)
        for one in inspection.undone(store=EventStore()):
            oldest[one.stage] = max(oldest[one.stage], one.seconds)
        steps = GaugeMetricFamily(
            "daybook_transfers_oldest_step_age_seconds",
            "Since the oldest step that no saga has taken was due, asked of the store and of no read model.",
            labels=["stage"],
        )
        for stage, seconds in oldest.items():
            steps.add_metric([stage], seconds)
        return steps

    def _ended(self) -> Metric:
        final = {events.type_of(cls).name: state for cls, state in STATUS_AFTER.items() if state in FINAL_STATUSES}
        counts = dict.fromkeys(sorted(FINAL_STATUSES), 0.0)
        for family in self._counted.collect():
            if family.name == "eventstore_appended_events":
                for sample in family.samples:
                    state = final.get(sample.labels.get("event_type", ""))
                    if state is not None and sample.name.endswith("_total"):
                        counts[state] += sample.value
        ended = CounterMetricFamily("daybook_transfers_ended", "Transfers that came to their end.", labels=["state"])
        for state, count in counts.items():
            ended.add_metric([state.value], count)
        return ended
