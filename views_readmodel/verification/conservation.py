"""Checks that money neither comes from nowhere nor gets lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from accounts.published.events import AccountEvent, AccountOpened
from eventstore.verification.findings import Difference, Scope, shown
from eventstore.verification.walking import Chunk, Found, StreamCheck
from views_readmodel.verification.arithmetic import BROUGHT, Flow, change_of
from views_readmodel.verification.transfers import TransfersCheck


class ConservationCheck(StreamCheck):
    """Adds up all accounts, by currency, up to one position.

    Three things that are known independently of each other must agree: what came in and went out at the counter, by
    the amounts; what the accounts hold, by the last balance that each carries; and what is on its way between two
    accounts, by the transfers. `transfers` must have finished before.
    """

    name = "conservation"
    unit = "accounts"
    proves = (
        "In each currency, what accounts were opened with, plus deposits, minus withdrawals, with reversals, is what"
        " the accounts hold plus what is on its way between them."
    )

    def __init__(self, transfers: TransfersCheck) -> None:
        super().__init__()
        self._transfers = transfers
        self._position = 0
        self._flows: Counter[tuple[str, Flow]] = Counter()  # minor units
        self._held: Counter[str] = Counter()
        self._currency = ""  # of the account that is being read
        self._balance = 0

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers up to where to check."""
        self._position = scope.position
        return iter(())

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Adds up; nothing can be judged yet."""
        for segment in chunk.segments:
            if segment.begins:
                self._currency, self._balance = "", 0
            for event in segment.events:
                if event.recorded is not None and event.position is not None and event.position <= self._position:
                    self._add(event.recorded.data)
            if segment.ends and self._currency:
                self.examined += 1
                self._held[self._currency] += self._balance
        return iter(())

    def finish(self, scope: Scope) -> Iterator[Difference]:
        """Each currency in which the sums differ."""
        if self._transfers.broken_off:
            self.leave_out("all sums: what is on its way is not known, for the check of the transfers was broken off")
            return
        currencies = {currency for currency, _ in self._flows} | self._held.keys() | self._transfers.in_flight.keys()
        for currency in sorted(currencies - {""}):
            brought = {flow: self._flows[currency, flow] for flow in BROUGHT}
            held, in_flight = self._held[currency], self._transfers.in_flight[currency]
            for flow, amount in brought.items():
                self.counts[f"{currency} {flow.value}, in minor units"] = amount
            self.counts[f"{currency} held by accounts, in minor units"] = held
            self.counts[f"{currency} on its way, in minor units"] = in_flight
            if sum(brought.values()) != held + in_flight:
                yield Difference(
                    field=f"{currency} held by accounts and on its way, in minor units",
                    expected=shown(sum(brought.values())),
                    actual=shown(held + in_flight),
                )

    def _add(self, event: object) -> None:
        if isinstance(event, AccountOpened):
            self._currency = event.currency
        if isinstance(event, AccountEvent):
            change = change_of(event)
            self._flows[self._currency, change.flow] += change.amount
            self._balance = getattr(event, "balance", self._balance)
