"""Checks each transfer against the events of its two accounts.

What belongs to one transfer lies in three streams, and those of an account lie among those of a hundred thousand other
transfers: it is collected while the streams are walked, sorted by transfer outside of memory, and judged one transfer
at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final
from uuid import UUID

import msgspec

from accounts.published.events import AccountEvent, AccountOpened
from eventstore.events import RecordedEvent
from eventstore.verification.findings import Difference, Scope, shown
from eventstore.verification.sorting import ExternalSort
from eventstore.verification.walking import Chunk, Found, Segment, StreamCheck
from transfers.published.events import STATUS_AFTER, TransferDetails, TransferEvent
from views_readmodel.verification.stories import GIVEN_BY, RECORDED_BY, Answer, Done, Said, Story, judge

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Said | Done)
_POSITION_BYTES: Final = 8
_KEY_BYTES: Final = 16 + _POSITION_BYTES  # transfer, position
_LEAST_POSITION: Final = -(2**63)  # that the column holds: one below zero is wrong, and sorts first
_REPORTED_EVERY: Final = 5_000
_PROGRAM: Final = "system:"
"""How actors begin that are nobody."""


class TransfersCheck(StreamCheck):
    """Brings together what belongs to each transfer."""

    name = "transfers"
    unit = "transfers"
    proves = (
        "A transfer is COMPLETED exactly when one account was debited and the other credited, REFUNDED exactly when the"
        " debit was refunded, and no other final state moved money; amounts, accounts and currencies agree, and what"
        " is not final yet is on a legal way."
    )

    def __init__(self) -> None:
        super().__init__()
        self.in_flight: Counter[str] = Counter()  # by currency, minor units; known when this check has finished
        self._sort = ExternalSort()
        self._position = 0
        self._currency = ""  # of the account that is being read
        self._transfer = _Transfer(UUID(int=0))

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers up to where to check."""
        self._position = scope.position
        return iter(())

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Collects; nothing can be judged yet but what a transfer repeats of itself."""
        for segment in chunk.segments:
            if segment.begins:
                self._currency, self._transfer = "", _Transfer(segment.stream_id)
            for event in segment.events:
                if event.position is None or event.position > self._position:
                    continue
                if event.recorded is None:
                    self._transfer.readable = False
                elif isinstance(event.recorded.data, TransferEvent):
                    yield from self._transfer.take(segment, event.recorded)
                elif isinstance(event.recorded.data, AccountEvent):
                    self._collect(event.recorded, event.position)
            if segment.ends and self._transfer.version:
                self._add(segment.stream_id, 0, self._transfer.said())

    def finish(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        judged = 0
        with self._sort:
            for story in _stories(self._sort.sorted()):
                self._count(story)
                yield from judge(story)
                before, judged = judged, judged + len(story.done) + 1
                if judged // _REPORTED_EVERY > before // _REPORTED_EVERY:
                    scope.progress(self.name, done=judged, total=self._sort.records)

    def _count(self, story: Story) -> None:
        if story.said is None:
            return
        self.examined += 1
        if story.said.status is None:
            self.remark("transfers that could not be judged", f"transfer/{story.transfer_id}")
            return
        self.counts[story.said.status.value] += 1
        self.in_flight[story.said.currency] += story.in_flight

    def _collect(self, recorded: RecordedEvent[AccountEvent], position: int) -> None:
        data: Any = recorded.data
        if isinstance(data, AccountOpened):
            self._currency = data.currency
        answer = GIVEN_BY.get(type(data))
        if answer is not None:
            done = Done(
                transfer_id=data.transfer_id,
                answer=answer,
                account_id=recorded.stream_id,
                version=recorded.version,
                position=position,
                amount=data.amount,
                currency=self._currency,
                counterparty_account_id=getattr(data, "counterparty_account_id", None),
            )
            self._add(data.transfer_id, position, done)

    def _add(self, transfer_id: UUID, position: int, record: Said | Done) -> None:
        place = (position - _LEAST_POSITION).to_bytes(_POSITION_BYTES, "big")
        self._sort.add(transfer_id.bytes + place + _encoder.encode(record))


class _Transfer:
    """A transfer's stream while it is read."""

    def __init__(self, transfer_id: UUID) -> None:
        self.transfer_id = transfer_id
        self.readable = True
        self.version = 0
        self._details: TransferDetails | None = None
        self._recorded: dict[Answer, int] = {}
        self._last: type[Any] | None = None

    def take(self, segment: Segment, recorded: RecordedEvent[TransferEvent]) -> Iterator[Difference]:
        """Takes the next event, whose details must be those of the events before it."""
        data: Any = recorded.data
        self.version, self._last = recorded.version, type(data)
        answer = RECORDED_BY.get(type(data))
        if answer is not None:
            self._recorded[answer] = data.account_version
            if data.account_version == 0 and recorded.metadata.actor.startswith(_PROGRAM):
                yield Difference(
                    stream=segment.name,
                    version=recorded.version,
                    field="actor",
                    expected="an operator, in the account's place",
                    actual=shown(recorded.metadata.actor),
                )
        details = getattr(data, "details", self._details)
        if self._details is not None and details != self._details:
            for field in TransferDetails.__struct_fields__:
                if getattr(details, field) != getattr(self._details, field):
                    yield Difference(
                        stream=segment.name,
                        version=recorded.version,
                        field=f"details.{field}",
                        expected=str(getattr(self._details, field)),
                        actual=str(getattr(details, field)),
                    )
        self._details = self._details or details

    def said(self) -> Said:
        """What the transfer says of itself."""
        if not self.readable or self._details is None or self._last is None:
            return Said(transfer_id=self.transfer_id, version=self.version, status=None)
        return Said(
            transfer_id=self.transfer_id,
            version=self.version,
            status=STATUS_AFTER[self._last],
            from_account_id=self._details.from_account_id,
            to_account_id=self._details.to_account_id,
            amount=self._details.amount,
            currency=self._details.currency,
            recorded=self._recorded,
        )


def _stories(records: Iterable[bytes]) -> Iterator[Story]:
    for key, group in groupby(records, key=lambda record: record[:16]):
        decoded = [_decoder.decode(record[_KEY_BYTES:]) for record in group]
        said = next((found for found in decoded if isinstance(found, Said)), None)
        yield Story(UUID(bytes=key), said, [found for found in decoded if isinstance(found, Done)])
