"""Checks that no transfer is stuck: one that was released comes to an end soon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.conf import settings

from eventstore.events import RecordedEvent
from eventstore.ids import derive_id
from eventstore.rows import EventRow
from eventstore.subscriptions.registry import Reactor
from eventstore.verification.findings import Difference, Scope, shown
from eventstore.verification.parked import Ranges, passed_by, ranges_in
from eventstore.verification.reading import one_moment
from eventstore.verification.walking import Chunk, Found, Segment, Span, Stored, StreamCheck, decode_each
from transfers.published.events import FINAL_STATUSES, STATUS_AFTER, MoneyTransferCreated, TransferEvent

_SELECT_NOW = "SELECT clock_timestamp()"

# Which of these keys a saga has parked, and behind which position.
_SELECT_PARKED: Final = """
SELECT k.key, k.subscription, min(e.position)
FROM eventstore_parked_key k LEFT JOIN eventstore_parked_event e ON e.parked_key_id = k.id
WHERE k.subscription = ANY(%s) AND k.key BETWEEN %s AND %s
GROUP BY k.key, k.subscription ORDER BY k.subscription
"""


# These events, with their places in the log; and those of them that some reactor has parked.
_SELECT_EVENTS: Final = """
SELECT l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data,
    e.metadata, e.recorded_at, l.stream_bucket, l.route_bucket
FROM eventstore_event e JOIN eventstore_log l ON l.event_id = e.id WHERE e.event_id = ANY(%s)
"""
_SELECT_PARKED_AT: Final = """
SELECT subscription, position FROM eventstore_parked_event WHERE subscription = ANY(%s) AND position = ANY(%s)
"""
_SELECT_KNOWN: Final = "SELECT event_id FROM eventstore_event WHERE event_id = ANY(%s)"


class _Step(NamedTuple):
    """An event that a saga answers, and what its answer is called."""

    event: RecordedEvent[Any]
    saga: str
    answer_id: UUID
    passed: int | None  # how far the saga has come there; None: nobody follows


class FinalityCheck(StreamCheck):
    """Compares the age of each transfer that runs with a limit.

    The age counts from its release, so that what waits for a person or a date has none.
    """

    name = "finality"
    unit = "transfers that were released"
    proves = (
        "Every transfer that was released is final, or was released only a short time ago; and what is next for it was"
        " lost by no saga."
    )

    def __init__(self, *, limit_seconds: float | None = None) -> None:
        super().__init__()
        seconds = settings.OVERDUE_TRANSFER_SECONDS if limit_seconds is None else limit_seconds
        self._limit = timedelta(seconds=seconds)
        self._scope: Scope | None = None
        self._now: datetime | None = None
        self._sagas: list[str] = []
        self._released_at: datetime | None = None  # of the transfer that is being read
        self._last: Stored | None = None

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers when the check began: whoever ends while it goes on is not late."""
        self._scope = scope
        self._sagas = [found.id for found in scope.subscriptions.all() if isinstance(found, Reactor)]
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_NOW)
            (self._now,) = cursor.fetchone()
        return iter(())

    def read(self, cursor: Any, span: Span, limit: int) -> Found:
        """What the sagas have parked of these streams."""
        cursor.execute(_SELECT_PARKED, [self._sagas, span.after.stream_id, span.until.stream_id])
        parked: dict[UUID, list[str]] = {}
        for key, subscription, position in cursor.fetchall():
            parked.setdefault(key, []).append(f"parked by {subscription} at position {position}")
        return Found(context=parked)

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Every transfer that should have ended long ago."""
        unfinished: list[UUID] = []  # the last event of each
        for segment in chunk.segments:
            if segment.begins:
                self._released_at = self._last = None
            for event in segment.events:
                if event.recorded is not None and isinstance(event.recorded.data, TransferEvent):
                    self._last = event
                    if isinstance(event.recorded.data, MoneyTransferCreated):
                        self._released_at = event.row.recorded_at
            if segment.ends and self._released_at and self._last and self._last.recorded:
                self.examined += 1
                yield from self._judge(segment, self._last, self._released_at, found.context)
                if STATUS_AFTER[type(self._last.recorded.data)] not in FINAL_STATUSES:
                    unfinished.append(self._last.row.event_id)
        if unfinished and self._scope is not None:
            yield from _lost_differences(unfinished, self._scope)

    def _judge(
        self, segment: Segment, last: Stored, released_at: datetime, parked: dict[UUID, list[str]]
    ) -> Iterator[Difference]:
        if last.recorded is None or self._now is None:
            return
        status = STATUS_AFTER[type(last.recorded.data)]
        if status in FINAL_STATUSES:
            return
        self.counts[f"on their way: {status.value}"] += 1
        if self._now - released_at > self._limit:
            reasons = parked.get(segment.stream_id, [])
            yield Difference(
                stream=segment.name,
                version=last.row.version,
                position=last.position,
                field="state",
                expected=f"final within {self._limit.total_seconds():.0f} s of {shown(released_at)}",
                actual=", ".join([status.value, *reasons]),
            )


def _lost_differences(unfinished: list[UUID], scope: Scope) -> Iterator[Difference]:
    """Steps that nobody will take: their saga has passed them, has not parked them, and has answered nothing.

    In one moment, for a saga's answer, its checkpoint and what it parks commit together. A discard answers in the
    saga's place, with the id that its answer would have had.
    """
    with one_moment(using=scope.using) as cursor:
        ranges = ranges_in(cursor)
        steps = _steps(cursor, scope, unfinished, ranges)
        # Where a transfer's step was answered, the account's answer is a step itself.
        steps += _steps(cursor, scope, [step.answer_id for step in steps], ranges)
        cursor.execute(_SELECT_KNOWN, [[step.answer_id for step in steps]])
        known = {event_id for (event_id,) in cursor.fetchall()}
        lost = [step for step in steps if step.answer_id not in known and _has_passed(step)]
        positions = [step.event.position for step in lost]
        cursor.execute(_SELECT_PARKED_AT, [[step.saga for step in lost], positions])
        parked = set(cursor.fetchall())
    for step in lost:
        if (step.saga, step.event.position) not in parked:
            yield Difference(
                stream=f"{step.event.stream_type}/{step.event.stream_id}",
                version=step.event.version,
                position=step.event.position,
                field="next step",
                expected=f"answered or parked by {step.saga}, which stands at {step.passed}",
                actual="neither",
            )


def _steps(cursor: Any, scope: Scope, event_ids: Sequence[UUID], ranges: Ranges) -> list[_Step]:
    """What the sagas have to do about these events, as far as they are in the log and can be read."""
    cursor.execute(_SELECT_EVENTS, [list(event_ids)])
    found = cursor.fetchall()
    decoded = decode_each([EventRow(*row[:10]) for row in found], registry=scope.registry, using=scope.using)
    return [
        _Step(
            event=event,
            saga=saga.id,
            answer_id=derive_id(event.event_id, f"{saga.id}/0", 0),
            passed=passed_by(ranges.get(saga.id, ()), stream_bucket=row[10], route_bucket=row[11]),
        )
        for row, (event, _) in zip(found, decoded, strict=True)
        for saga in scope.subscriptions.all()
        if event is not None and isinstance(saga, Reactor) and type(event.data) in saga.handlers
    ]


def _has_passed(step: _Step) -> bool:
    return step.passed is not None and step.event.position is not None and step.event.position <= step.passed
