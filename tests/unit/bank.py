"""A whole bank in memory, made of the pure parts alone: the domains, the saga's handlers and derived ids.

It stands in for no database: it shows that the rules themselves are sound, in whatever order events are handled and
however often. As in the store, a command is decided first and its event refused when its id is known.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final
from uuid import UUID

import accounts.handlers  # noqa: F401  (importing the two declares the saga's halves)
import transfers.handlers  # noqa: F401
from accounts.domain.account import ACCOUNT, OpenAccount
from accounts.published.events import AccountCredited, AccountDebited, AccountDebitRefunded
from eventstore.aggregates import Aggregate
from eventstore.events import Event, RecordedEvent
from eventstore.ids import derive_id
from eventstore.refusals import Refusal
from eventstore.subscriptions.registry import Execute, Handler, Reactor, subscriptions
from tests.unit.cast import ALICE, CAROL, STORY, recorded
from transfers.domain.transfer import MONEY_TRANSFER, CreateTransfer
from transfers.published.events import TransferDetails


def reactor(id: str) -> Reactor:
    """The declared reactor of that id."""
    found = subscriptions.get(id)
    assert isinstance(found, Reactor), f"{id} is not declared"
    return found


REACTORS: Final = (reactor("accounts.saga"), reactor("transfers.saga"))


class Bank:
    """Accounts and transfers, and what is still to be handled."""

    def __init__(self) -> None:
        self.states: dict[UUID, Any] = {}
        self.streams: dict[UUID, list[RecordedEvent[Any]]] = {}
        self.aggregates: dict[UUID, Aggregate[Any]] = {}
        self.waiting: list[tuple[Reactor, RecordedEvent[Any]]] = []
        self.handled: list[tuple[Reactor, RecordedEvent[Any]]] = []
        self._known: set[UUID] = set()

    # What people do.

    def open(self, account_id: UUID, *, balance: int) -> None:
        """Opens an account with that much in it."""
        command = OpenAccount(
            customer_id=ALICE, number="1000-8", title="Household", currency="EUR", initial_balance=balance
        )
        self.execute(ACCOUNT, account_id, command)

    def transfer(self, *, from_account_id: UUID, to_account_id: UUID, amount: int) -> None:
        """Sends a transfer on its way."""
        details = TransferDetails(
            from_account_id=from_account_id,
            to_account_id=to_account_id,
            amount=amount,
            currency="EUR",
            initiated_by=CAROL,
        )
        transfer_id = derive_id(STORY, "transfer", len(self.streams))
        command = CreateTransfer(details=details, from_currency="EUR", to_currency="EUR")
        self.execute(MONEY_TRANSFER, transfer_id, command)

    def execute(self, aggregate: Aggregate[Any], stream_id: UUID, command: Any) -> bool:
        """Has a person's command decided; answers whether anything was written."""
        state = self.states.get(stream_id, aggregate.initial)
        try:
            (event,) = aggregate.decide(state, command)
        except Refusal:
            return False
        version = len(self.streams.get(stream_id, ())) + 1
        return self._append(aggregate, stream_id, event, derive_id(stream_id, "person", version))

    # What the reactors do.

    def handle(self, index: int) -> None:
        """Handles one of the waiting events."""
        reactor, event = self.waiting.pop(index)
        self._react(reactor, event, reactor.handlers[type(event.data)])
        self.handled.append((reactor, event))

    def handle_again(self, index: int) -> bool:
        """Handles an event once more; answers whether anything was written."""
        reactor, event = self.handled[index]
        return self._react(reactor, event, reactor.handlers[type(event.data)])

    def discard(self, index: int) -> bool:
        """Gives up one of the waiting events, if it has an end; answers whether it had."""
        reactor, event = self.waiting[index]
        ending = reactor.discards.get(type(event.data))
        if ending is None:
            return False
        self.waiting.pop(index)
        assert self._react(reactor, event, ending)
        self.handled.append((reactor, event))
        return True

    def discard_late(self, index: int) -> bool:
        """Gives up an event that was handled; answers whether anything was written."""
        reactor, event = self.handled[index]
        ending = reactor.discards.get(type(event.data))
        return ending is not None and self._react(reactor, event, ending)

    def settle(self) -> None:
        """Handles events until none is left."""
        while self.waiting:
            self.handle(0)

    def _react(self, reactor: Reactor, event: RecordedEvent[Any], handler: Handler) -> bool:
        answer = handler(event)
        assert isinstance(answer, Execute)
        state = self.states[answer.stream_id]
        try:
            (effect,) = answer.aggregate.decide(state, answer.command)
        except Refusal:
            return False
        return self._append(answer.aggregate, answer.stream_id, effect, derive_id(event.event_id, reactor.id))

    def _append(self, aggregate: Aggregate[Any], stream_id: UUID, event: Event, event_id: UUID) -> bool:
        if event_id in self._known:
            return False
        self._known.add(event_id)
        stream = self.streams.setdefault(stream_id, [])
        self.aggregates[stream_id] = aggregate
        self.states[stream_id] = aggregate.evolve(self.states.get(stream_id, aggregate.initial), event)
        stored = recorded(
            event,
            stream_type=aggregate.stream_type,
            stream_id=stream_id,
            version=len(stream) + 1,
            event_id=event_id,
        )
        stream.append(stored)
        self.waiting += [(reactor, stored) for reactor in REACTORS if type(event) in reactor.handlers]
        return True

    # What an auditor counts.

    def events(self, aggregate: Aggregate[Any]) -> list[RecordedEvent[Any]]:
        """All events of that kind of stream."""
        return [event for id, stream in self.streams.items() if self.aggregates[id] is aggregate for event in stream]

    def of_kind(self, aggregate: Aggregate[Any]) -> dict[UUID, Any]:
        """The states of that kind of stream, by id."""
        return {id: state for id, state in self.states.items() if self.aggregates[id] is aggregate}

    def movements(self, transfer_id: UUID) -> Counter[type[Event]]:
        """How often the accounts debited, credited and refunded the transfer."""
        moving = (AccountDebited, AccountCredited, AccountDebitRefunded)
        return Counter(
            type(event.data)
            for event in self.events(ACCOUNT)
            if isinstance(event.data, moving) and event.data.transfer_id == transfer_id
        )
