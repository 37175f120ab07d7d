"""How the event store stands, for Prometheus: looked up when somebody asks.

Invariant: a few queries, none of which grows with history; when the database does not answer, that is the answer. A
project's page of metrics imports this.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import Error
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from eventstore import inspection
from eventstore.seals import sealer


class StoreCollector(Collector):
    """How the log stands, how far everybody has come, what is parked: asked of the database at each scrape."""

    def __init__(self, *, using: str) -> None:
        self._using = using

    def describe(self) -> Iterable[Metric]:
        """Nothing is asked before there is a scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The figures; when the database does not answer, that alone."""
        answers = GaugeMetricFamily("eventstore_database_up", "Whether the database answered this scrape.")
        try:
            found = [*self._log(), *self._seals(), *self._subscriptions(), *self._parked()]
        except Error:
            found = []
        answers.add_metric([], float(bool(found)))
        return [answers, *found]

    def _log(self) -> Iterable[Metric]:
        log = inspection.log_state(using=self._using)
        most = f"counted up to {inspection.MOST_LAG}"
        yield _gauge("eventstore_log_position", "The last position of the log.", log.position)
        yield _gauge("eventstore_backlog_events", f"Committed events without a position, {most}.", log.unsequenced)
        yield _gauge(
            "eventstore_sequencer_heartbeat_age_seconds",
            "Since a sequencer showed that it lives.",
            log.heartbeat_seconds,
        )

    def _seals(self) -> Iterable[Metric]:
        waiting = sealer.backlog(using=self._using)
        seconds = 0.0 if not waiting.entries else waiting.waiting_seconds
        yield _gauge("eventstore_unsealed_entries", "Entries of the log that no seal covers.", waiting.entries)
        yield _gauge(
            "eventstore_unsealed_age_seconds",
            "Since the first of them was sequenced; infinite when it is gone.",
            float("inf") if seconds is None else max(0.0, seconds),
        )

    def _subscriptions(self) -> Iterable[Metric]:
        label = ["subscription"]
        events = GaugeMetricFamily("eventstore_lag_events", "Events still to be handled, up to a limit.", labels=label)
        seconds = GaugeMetricFamily("eventstore_lag_seconds", "How long the next of them has waited.", labels=label)
        stopped = GaugeMetricFamily("eventstore_stopped", "Ranges that are paused or held.", labels=label)
        parts: dict[str, list[inspection.Part]] = {}
        for part in inspection.parts(using=self._using):
            parts.setdefault(part.subscription, []).append(part)
        for subscription, ranges in parts.items():
            events.add_metric([subscription], sum(part.lag_events for part in ranges))
            seconds.add_metric([subscription], max(part.lag_seconds for part in ranges))
            stopped.add_metric(
                [subscription], sum(part.status == "paused" or bool(part.held_reason) for part in ranges)
            )
        return [events, seconds, stopped]

    def _parked(self) -> Iterable[Metric]:
        label = ["subscription"]
        keys = GaugeMetricFamily("eventstore_parked_keys", "Stories that cannot go on.", labels=label)
        events = GaugeMetricFamily("eventstore_parked_events", "Events that are parked.", labels=label)
        ages = GaugeMetricFamily(
            "eventstore_parked_oldest_age_seconds", "How long the oldest has been parked.", labels=label
        )
        for parked in inspection.count_parked(using=self._using).values():
            keys.add_metric([parked.subscription], parked.keys)
            events.add_metric([parked.subscription], parked.events)
            ages.add_metric([parked.subscription], parked.oldest_seconds)
        return [keys, events, ages]


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)
