"""A small healthy ledger with one of everything that can happen at the bank, made by the bank itself.

Services, saga, projections, snapshots, an erased person, transfers that an operator has ended, and some that are still
on their way: what the checks of a ledger must find nothing in, and what tests then break in one place.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import connection
from msgspec.structs import replace

from accounts import services as accounts
from eventstore import sequencer
from eventstore.context import CommandContext
from eventstore.dispatch import drain
from eventstore.ids import derive_id, new_id
from eventstore.metadata import Metadata
from eventstore.sealing import erase
from eventstore.seals import sealer
from eventstore.seals.hashing import MOST_ENTRIES
from eventstore.store import EventStore
from eventstore.subscriptions import checkpoints, parking
from eventstore.subscriptions.registry import Reactor, Subscription, subscriptions
from eventstore.subscriptions.runner import advance
from transfers import services as transfers
from transfers.published.events import TransferStatus

CAROL: Final = "staff:carol"
STORE: Final = EventStore()
BUSY_DEPOSITS: Final = 120  # enough for a snapshot
SEALED_AT_ONCE: Final = 50  # so that there are some seals

_SELECT_CHECKPOINT = "SELECT id FROM eventstore_checkpoint WHERE subscription = %s"
_SELECT_LAST_ID = "SELECT event_id FROM eventstore_event WHERE stream_id = %s ORDER BY version DESC LIMIT 1"
_SELECT_PARKED = "SELECT id FROM eventstore_parked_key WHERE subscription = %s AND key = %s"


class Ledger:
    """The streams of the ledger, by what they stand for."""

    def __init__(self) -> None:
        self.transfers: list[UUID] = []
        self.alice = self._customer("Alice Andersson", email="alice@example.com", reference="crm-1")
        self.bob = self._customer("Bob Brückner", phone="+49 30 1234")
        self.erik = self._customer("Erik Erased", email="erik@example.com")
        accounts.change_customer(context=context(), customer_id=self.alice, name="Alice Brückner")
        accounts.change_customer(context=context(), customer_id=self.bob, email="bob@example.com")
        erase(self.erik)
        self.household = self._account(self.alice, "500.00", title="Household", reference="core-1")
        self.shop = self._account(self.bob, "100.00", title="Shop")
        self.frozen = self._account(self.bob, "50.00", title="Frozen")
        self.closed = self._account(self.bob, None, title="Old shop")
        self.yen = self._account(self.alice, "9000", title="Tokyo", currency="JPY")
        self.travel = self._account(self.alice, None, title="Travel", currency="JPY")
        self._cash()
        self.completed = self.transfer(
            self.household, self.shop, "150.00", reference="rent-1", metadata={"month": "11"}, description="Rent"
        )
        self.in_yen = self.transfer(self.yen, self.travel, "700")
        self.failed = self.transfer(self.household, self.shop, "9999.00")
        self.rejected = self.transfer(self.frozen, self.shop, "1.00")
        self.refunded = self.transfer(self.household, self.closed, "3.00")
        self.dispatch()
        self.given_up = self.transfer(self.household, self.shop, "4.00")
        self._give_up(self.given_up)
        self.dispatch()
        self.paid_back = self.transfer(self.household, self.shop, "5.00")
        self.step("accounts.saga")
        self.step("transfers.saga")
        self._give_up(self.paid_back)
        self.dispatch()
        self.refunding = self.transfer(self.household, self.closed, "8.00")
        self.step("accounts.saga")
        self.step("transfers.saga")
        self.debited = self.transfer(self.household, self.shop, "6.00")
        self.step("accounts.saga")
        self.step("transfers.saga")
        self.initial = self.transfer(self.household, self.shop, "7.00")
        self.debit_id, self.credit_id = self._answer_id(self.initial), self._answer_id(self.debited)
        self._sequence()
        for projection in subscriptions.projections():
            self.advance(projection)
        self.seal(most=SEALED_AT_ONCE)

    def transfer(self, payer: UUID, payee: UUID, amount: str, **details: Any) -> UUID:
        """Sends a transfer on its way."""
        accepted = transfers.create_transfer(
            context=context(), from_account_id=payer, to_account_id=payee, amount=amount, **details
        )
        self.transfers.append(accepted.value.transfer_id)
        return accepted.value.transfer_id

    def dispatch(self) -> None:
        """Does all that there is to do."""
        assert drain(store=STORE, budget_seconds=60), "there is something left"

    def seal(self, *, most: int = MOST_ENTRIES) -> None:
        """Seals all of the log, so many entries at a time."""
        while sealer.seal_next(age_seconds=0, most=most) is sealer.Outcome.SEALED:
            pass

    def state_of(self, transfer_id: UUID) -> TransferStatus:
        """Where a transfer stands."""
        return transfers.transfer_now(transfer_id=transfer_id).state

    def _customer(self, name: str, **fields: Any) -> UUID:
        return accounts.register_customer(context=context(), name=name, **fields).value.customer_id

    def _account(self, customer_id: UUID, balance: str | None, *, currency: str = "EUR", **fields: Any) -> UUID:
        opened = accounts.open_account(
            context=context(), customer_id=customer_id, currency=currency, initial_balance=balance, **fields
        )
        return opened.value.account_id

    def _cash(self) -> None:
        wrong = accounts.deposit(context=context(), account_id=self.household, amount="20.00").value
        accounts.reverse_entry(
            context=context(), account_id=self.household, entry_id=wrong.entry_id, reason="Counted twice"
        )
        gone = accounts.withdraw(context=context(), account_id=self.shop, amount="5.00", description="Change").value
        accounts.reverse_entry(
            context=context(), account_id=self.shop, entry_id=gone.entry_id, reason="Never handed out"
        )
        accounts.withdraw(context=context(), account_id=self.yen, amount="100")
        self.reversed = wrong.entry_id
        for _ in range(BUSY_DEPOSITS):
            accounts.deposit(context=context(), account_id=self.shop, amount="0.01", description="Coins")
        accounts.freeze_account(context=context(), account_id=self.household, reason="Asked for")
        accounts.unfreeze_account(context=context(), account_id=self.household, reason="Settled")
        accounts.freeze_account(context=context(), account_id=self.frozen, reason="Court order")
        accounts.close_account(context=context(), account_id=self.closed, reason="Moved away")

    def _give_up(self, transfer_id: UUID) -> None:
        """An operator ends the step that the accounts could not take."""
        self._sequence()
        subscription = subscriptions.get("accounts.saga")
        assert isinstance(subscription, Reactor)
        refuse = dict.fromkeys(subscription.handlers, _refuse)
        self.advance(replace(subscription, handlers=refuse))
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_PARKED, [subscription.id, transfer_id])
            (key_id,) = cursor.fetchone()
        parking.discard(key_id, subscription, actor="staff:olga", reason="Unreachable", store=STORE)

    def _answer_id(self, transfer_id: UUID) -> UUID:
        """The id that the accounts' answer to the last event of a transfer will have."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_LAST_ID, [transfer_id])
            (last_id,) = cursor.fetchone()
        return derive_id(last_id, "accounts.saga/0")

    def step(self, subscription_id: str) -> None:
        """One subscription goes on, and what it has written is sequenced."""
        self._sequence()
        subscription = subscriptions.get(subscription_id)
        assert subscription is not None
        self.advance(subscription)
        self._sequence()

    def advance(self, subscription: Subscription) -> None:
        """One subscription goes on as far as it can."""
        checkpoints.ensure(subscriptions, using=STORE.using)
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_CHECKPOINT, [subscription.id])
            ids = [id for (id,) in cursor.fetchall()]
        for checkpoint_id in ids:
            advance(checkpoint_id, subscription, store=STORE, batch_size=10_000)

    def _sequence(self) -> None:
        while sequencer.sequence(using=STORE.using) is sequencer.Outcome.MOVED:
            pass


def context() -> CommandContext:
    """Carol at the counter."""
    return CommandContext(metadata=Metadata(actor=CAROL, correlation_id=new_id(), origin="tests"))


def _refuse(recorded: object) -> None:
    raise RuntimeError("the account cannot be reached")
