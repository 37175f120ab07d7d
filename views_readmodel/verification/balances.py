"""Checks the balance that each account event carries."""

from __future__ import annotations

from collections.abc import Iterator

from accounts.published.events import AccountDebitFailedDueToInsufficientFunds, AccountEvent
from eventstore.verification.findings import Difference, shown
from eventstore.verification.walking import Chunk, Found, Segment, Stored, StreamCheck
from views_readmodel.verification.arithmetic import change_of


class BalancesCheck(StreamCheck):
    """Adds up the amounts of each account."""

    name = "balances"
    unit = "events of accounts"
    proves = "The balance that each account event carries is the sum of the amounts up to it, and never below zero."

    def __init__(self) -> None:
        super().__init__()
        self._sum = 0  # of the amounts, minor units
        self._carried = 0  # by the event before

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Everything that differs in this chunk."""
        for segment in chunk.segments:
            if segment.begins:
                self._sum = self._carried = 0
            for event in segment.events:
                if event.recorded is not None and isinstance(event.recorded.data, AccountEvent):
                    self.examined += 1
                    yield from self._add(segment, event, event.recorded.data)

    def _add(self, segment: Segment, event: Stored, data: AccountEvent) -> Iterator[Difference]:
        change = change_of(data).amount
        self._sum += change
        carried = getattr(data, "balance", self._carried + change)
        # Once a sum is wrong, those that follow from the carried balance are wrong by as much: one is named.
        if carried != self._sum and carried != self._carried + change:
            yield _difference(segment, event, "balance", self._sum, carried)
        if carried < 0:
            yield _difference(segment, event, "balance", "0 or more", carried)
        if isinstance(data, AccountDebitFailedDueToInsufficientFunds) and data.amount <= carried:
            yield _difference(segment, event, "amount", f"more than the balance {carried}", data.amount)
        self._carried = carried


def _difference(segment: Segment, event: Stored, field: str, expected: object, actual: object) -> Difference:
    return Difference(
        stream=segment.name,
        version=event.row.version,
        position=event.position,
        field=field,
        expected=shown(expected),
        actual=shown(actual),
    )
