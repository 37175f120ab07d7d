"""A bank's past, written straight into the store: what projections and replays are tested on, without any saga.

The events are such as the domains would have decided, with balances that add up. Many at a time, for the sake of
tests that need tens of thousands.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import transaction

from accounts.published.events import (
    AccountClosed,
    AccountCredited,
    AccountCreditRejected,
    AccountDebited,
    AccountDebitFailedDueToInsufficientFunds,
    AccountDebitRefunded,
    AccountDebitRejected,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    CashDeposited,
    CashEntryKind,
    CashEntryReversed,
    CashWithdrawn,
    CustomerContactChanged,
    CustomerRegistered,
    CustomerRenamed,
)
from eventstore import sequencer
from eventstore.appending import NewEvent, append
from eventstore.dispatch import drain
from eventstore.events import Event
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.store import EventStore
from eventstore.subscriptions.registry import Projection, SubscriptionRegistry, subscriptions
from transfers.published.events import (
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferDetails,
    TransferStatus,
)

CAROL: Final = "staff:carol"
_EVENTS_PER_STATEMENT: Final = 1_000


def registry_of(*projections: Projection) -> SubscriptionRegistry:
    """A registry of these projections and nothing else."""
    registry = SubscriptionRegistry()
    for projection in projections:
        registry._add(projection)
    return registry


def store_of(*projections: Projection) -> EventStore:
    """A store whose only subscriptions are these projections; by default all of the read side's."""
    return EventStore(subscriptions=registry_of(*(projections or subscriptions.projections())))


def sequence() -> None:
    """Gives every committed event its position."""
    while sequencer.sequence() is sequencer.Outcome.MOVED:
        pass


def dispatch(*projections: Projection, batch_size: int | None = None) -> None:
    """Has the live projections, or these, handle everything that was written."""
    assert drain(store=store_of(*projections), batch_size=batch_size, budget_seconds=60)


class History:
    """What happened at the bank. Call `write` to have it in the store."""

    def __init__(self) -> None:
        self.versions: dict[UUID, int] = {}
        self.balances: dict[UUID, int] = {}
        self.customers: list[UUID] = []
        self.accounts: list[UUID] = []
        self.transfers: list[UUID] = []
        self._waiting: list[NewEvent] = []

    # Customers.

    def customer(self, name: str, *, customer_id: UUID | None = None, **personal: Any) -> UUID:
        """Registers a customer, under this id or a new one."""
        chosen = customer_id or new_id()
        self.customers.append(chosen)
        self._add("customer", chosen, CustomerRegistered(name=name, **personal))
        return chosen

    def rename(self, customer_id: UUID, name: str) -> None:
        """Gives a customer another name."""
        self._add("customer", customer_id, CustomerRenamed(name=name))

    def change_contact(self, customer_id: UUID, **changed: Any) -> None:
        """Changes how a customer is reached."""
        self._add("customer", customer_id, CustomerContactChanged(**changed))

    # Accounts.

    def account(
        self, customer_id: UUID, *, balance: int = 500_00, number: str = "1000-8", title: str = "Household"
    ) -> UUID:
        """Opens an account with that much in it, in minor units."""
        account_id = new_id()
        self.accounts.append(account_id)
        self.balances[account_id] = balance
        opened = AccountOpened(
            customer_id=customer_id,
            number=number,
            title=title,
            currency="EUR",
            initial_balance=balance,
            balance=balance,
        )
        self._add("account", account_id, opened)
        return account_id

    def deposit(self, account_id: UUID, amount: int) -> UUID:
        """Pays cash in; answers with the entry's id."""
        balance = self._move(account_id, amount)
        return self._add("account", account_id, CashDeposited(amount=amount, balance=balance, description="Cash"))

    def withdraw(self, account_id: UUID, amount: int) -> UUID:
        """Pays cash out; answers with the entry's id."""
        balance = self._move(account_id, -amount)
        return self._add("account", account_id, CashWithdrawn(amount=amount, balance=balance, description="Cash"))

    def reverse_deposit(self, account_id: UUID, entry_id: UUID, amount: int) -> UUID:
        """Takes a deposit out again."""
        reversed_ = CashEntryReversed(
            entry_id=entry_id,
            entry_kind=CashEntryKind.DEPOSIT,
            amount=amount,
            balance=self._move(account_id, -amount),
            reason="Counted twice",
        )
        return self._add("account", account_id, reversed_)

    def freeze(self, account_id: UUID) -> None:
        """Freezes an account."""
        self._add("account", account_id, AccountFrozen(reason="Asked for"))

    def unfreeze(self, account_id: UUID) -> None:
        """Unfreezes it."""
        self._add("account", account_id, AccountUnfrozen(reason="Settled"))

    def close(self, account_id: UUID) -> None:
        """Closes an account."""
        self._add("account", account_id, AccountClosed(reason="Moved away"))

    # Transfers.

    def transfer(
        self,
        payer: UUID,
        payee: UUID,
        amount: int,
        *,
        end: TransferStatus = TransferStatus.COMPLETED,
        **details: Any,
    ) -> UUID:
        """A transfer that comes as far as `end`."""
        transfer_id = new_id()
        self.transfers.append(transfer_id)
        about = TransferDetails(
            from_account_id=payer,
            to_account_id=payee,
            amount=amount,
            currency="EUR",
            initiated_by=CAROL,
            description="Rent",
            **details,
        )
        self._add("transfer", transfer_id, MoneyTransferCreated(details=about))
        if end is TransferStatus.REJECTED:
            self._reject_debit(transfer_id, about)
        elif end is TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS:
            self._fail_debit(transfer_id, about)
        elif end is not TransferStatus.INITIAL:
            self._debit(transfer_id, about)
            if end is TransferStatus.COMPLETED:
                self._credit(transfer_id, about)
            elif end is TransferStatus.REFUNDED:
                self._refund(transfer_id, about)
        return transfer_id

    def _debit(self, transfer_id: UUID, about: TransferDetails) -> None:
        debited = AccountDebited(
            amount=about.amount,
            balance=self._move(about.from_account_id, -about.amount),
            transfer_id=transfer_id,
            counterparty_account_id=about.to_account_id,
            description=about.description,
        )
        self._add("account", about.from_account_id, debited)
        version = self.versions[about.from_account_id]
        self._add("transfer", transfer_id, DebitRecorded(details=about, account_version=version))

    def _fail_debit(self, transfer_id: UUID, about: TransferDetails) -> None:
        balance = self.balances[about.from_account_id]
        failed = AccountDebitFailedDueToInsufficientFunds(amount=about.amount, balance=balance, transfer_id=transfer_id)
        self._add("account", about.from_account_id, failed)
        version = self.versions[about.from_account_id]
        self._add("transfer", transfer_id, FailedDebitRecorded(account_version=version))

    def _reject_debit(self, transfer_id: UUID, about: TransferDetails) -> None:
        rejected = AccountDebitRejected(amount=about.amount, transfer_id=transfer_id, reason="account_frozen")
        self._add("account", about.from_account_id, rejected)
        version = self.versions[about.from_account_id]
        recorded = DebitRejectionRecorded(reason="account_frozen", account_version=version)
        self._add("transfer", transfer_id, recorded)

    def _credit(self, transfer_id: UUID, about: TransferDetails) -> None:
        credited = AccountCredited(
            amount=about.amount,
            balance=self._move(about.to_account_id, about.amount),
            transfer_id=transfer_id,
            counterparty_account_id=about.from_account_id,
            description=about.description,
        )
        self._add("account", about.to_account_id, credited)
        version = self.versions[about.to_account_id]
        self._add("transfer", transfer_id, CreditRecorded(account_version=version))

    def _refund(self, transfer_id: UUID, about: TransferDetails) -> None:
        rejected = AccountCreditRejected(amount=about.amount, transfer_id=transfer_id, reason="account_closed")
        self._add("account", about.to_account_id, rejected)
        version = self.versions[about.to_account_id]
        recorded = CreditRejectionRecorded(details=about, reason="account_closed", account_version=version)
        self._add("transfer", transfer_id, recorded)
        refunded = AccountDebitRefunded(
            amount=about.amount,
            balance=self._move(about.from_account_id, about.amount),
            transfer_id=transfer_id,
            counterparty_account_id=about.to_account_id,
        )
        self._add("account", about.from_account_id, refunded)
        version = self.versions[about.from_account_id]
        self._add("transfer", transfer_id, RefundRecorded(account_version=version))

    # All of it.

    def everything(self) -> History:
        """One of each kind of event at least."""
        alice = self.customer("Alice Andersson", email="alice@example.com", reference="crm-1")
        bob = self.customer("Bob Brückner", phone="+49 30 1234")
        self.rename(alice, "Alice Brückner")
        self.change_contact(bob, email="bob@example.com", phone=None)
        household = self.account(alice, balance=500_00, number="1000-8")
        shop = self.account(bob, balance=100_00, number="1001-6", title="Shop")
        empty = self.account(bob, balance=0, number="1002-4", title="Old shop")
        self.close(empty)
        entry = self.deposit(household, 20_00)
        self.reverse_deposit(household, entry, 20_00)
        self.withdraw(shop, 5_00)
        self.freeze(shop)
        self.unfreeze(shop)
        self.transfer(household, shop, 150_00, reference="rent-1", metadata={"month": "11"})
        self.transfer(household, shop, 9_999_00, end=TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS)
        self.transfer(shop, household, 1_00, end=TransferStatus.REJECTED)
        self.transfer(household, empty, 1_00, end=TransferStatus.REFUNDED)
        self.transfer(household, shop, 2_00, end=TransferStatus.INITIAL)
        self.transfer(household, shop, 2_00, end=TransferStatus.DEBITED)
        return self

    def busy(self, *, accounts: int, transfers: int) -> History:
        """Many completed transfers, five events each, between so many accounts in turn."""
        alice = self.customer("Alice Andersson")
        opened = [self.account(alice, balance=10_000_00, number=f"{2000 + nth}") for nth in range(accounts)]
        for nth in range(transfers):
            payer = opened[nth % accounts]
            payee = opened[(nth * 7 + 1) % accounts]
            if payer == payee:
                payee = opened[(nth + 1) % accounts]
            self.transfer(payer, payee, 1)
        return self

    def write(self, *, store: EventStore | None = None, sequenced: bool = True) -> History:
        """Writes what has happened since the last time, and gives it its positions."""
        chosen = store or store_of()
        while self._waiting:
            batch = self._waiting[:_EVENTS_PER_STATEMENT]
            del self._waiting[:_EVENTS_PER_STATEMENT]
            with transaction.atomic(durable=True):
                append(batch, registry=chosen.registry, subscriptions=chosen.subscriptions, using=chosen.using)
        if sequenced:
            sequence()
        return self

    def _move(self, account_id: UUID, change: int) -> int:
        self.balances[account_id] += change
        return self.balances[account_id]

    def _add(self, stream_type: str, stream_id: UUID, event: Event) -> UUID:
        event_id = new_id()
        self.versions[stream_id] = version = self.versions.get(stream_id, 0) + 1
        self._waiting.append(
            NewEvent(
                event_id=event_id,
                stream_type=stream_type,
                stream_id=stream_id,
                version=version,
                data=event,
                metadata=Metadata(actor=CAROL, correlation_id=event_id),
            )
        )
        return event_id
