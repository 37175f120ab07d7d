"""Checks that no transfer is stuck: one that was released comes to an end soon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from eventstore.subscriptions.registry import Reactor
from eventstore.verification.findings import Difference, Scope, shown
from eventstore.verification.reading import one_moment
from eventstore.verification.walking import Chunk, Found, Segment, Span, Stored, StreamCheck
from transfers.published.events import FINAL_STATUSES, STATUS_AFTER, MoneyTransferCreated, TransferEvent

_SELECT_NOW = "SELECT clock_timestamp()"

# Which of these keys a saga has parked, and behind which position.
_SELECT_PARKED: Final = """
SELECT k.key, k.subscription, min(e.position)
FROM eventstore_parked_key k LEFT JOIN eventstore_parked_event e ON e.parked_key_id = k.id
WHERE k.subscription = ANY(%s) AND k.key BETWEEN %s AND %s
GROUP BY k.key, k.subscription ORDER BY k.subscription
"""


class FinalityCheck(StreamCheck):
    """Compares the age of each transfer that runs with a limit.

    The age counts from its release, so that what waits for a person or a date has none.
    """

    name = "finality"
    unit = "transfers that were released"
    proves = "Every transfer that was released is final, or was released only a short time ago."

    def __init__(self, *, limit_seconds: float | None = None) -> None:
        super().__init__()
        seconds = settings.OVERDUE_TRANSFER_SECONDS if limit_seconds is None else limit_seconds
        self._limit = timedelta(seconds=seconds)
        self._now: datetime | None = None
        self._sagas: list[str] = []
        self._released_at: datetime | None = None  # of the transfer that is being read
        self._last: Stored | None = None

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers when the check began: whoever ends while it goes on is not late."""
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
        for segment in chunk.segments:
            if segment.begins:
                self._released_at = self._last = None
            for event in segment.events:
                if event.recorded is not None and isinstance(event.recorded.data, TransferEvent):
                    self._last = event
                    if isinstance(event.recorded.data, MoneyTransferCreated):
                        self._released_at = event.row.recorded_at
            if segment.ends and self._released_at is not None and self._last is not None:
                self.examined += 1
                yield from self._judge(segment, self._last, self._released_at, found.context)

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
