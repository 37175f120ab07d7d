"""What the bank must do, said a second time and independently: the model that the real one is held against.

It keeps balances and transfers in plain dictionaries and knows nothing of aggregates, stores or handlers. Given a
command it says which event or which refusal must come of it; given the bank as it stands it says, field by field,
which event must come next in each transfer. What it cannot know is *when* a transfer's next step is dispatched.
Imported by this package.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

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
)
from eventstore.events import Event, RecordedEvent
from transfers.published.events import (
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferDetails,
)

ANY_NUMBER: Final = ""
"""Account numbers come from a sequence, which the model does not have."""
TITLE: Final = "Household"
PAY_OUT_DESCRIPTION: Final = "Paid out after closing"

IN_FLIGHT: Final = (AccountDebited, DebitRecorded, AccountCreditRejected, CreditRejectionRecorded)
"""After these the amount of a transfer is in neither account."""

STATUS_AFTER: Final[dict[type[Event], str]] = {
    MoneyTransferCreated: "INITIAL",
    DebitRecorded: "DEBITED",
    CreditRejectionRecorded: "REFUNDING",
    CreditRecorded: "COMPLETED",
    FailedDebitRecorded: "FAILED_DUE_TO_INSUFFICIENT_FUNDS",
    DebitRejectionRecorded: "REJECTED",
    RefundRecorded: "REFUNDED",
}

ACCOUNT_EVENTS_BY_END: Final[dict[str, list[type[Event]]]] = {
    "COMPLETED": [AccountDebited, AccountCredited],
    "FAILED_DUE_TO_INSUFFICIENT_FUNDS": [AccountDebitFailedDueToInsufficientFunds],
    "REJECTED": [AccountDebitRejected],
    "REFUNDED": [AccountDebited, AccountCreditRejected, AccountDebitRefunded],
}
"""What the two accounts must have said for a transfer to end so, in order. There is no other end."""


class Discrepancy(AssertionError):
    """The real bank did something else than the model."""


class Moment(NamedTuple):
    """An account as it must have stood after one of its events."""

    amount: int  # minor units that the event moved, negative when they left
    balance: int
    status: str


@dataclass
class ExpectedAccount:
    """An account as it must stand, and as it must have stood."""

    currency: str
    balance: int  # minor units
    status: str = "OPEN"
    history: list[Moment] = field(default_factory=list)  # by version, from 1

    @property
    def version(self) -> int:
        """Of its stream."""
        return len(self.history)

    def remember(self, *, balance_before: int) -> None:
        """Keeps how it stands now as its next moment."""
        self.history.append(Moment(self.balance - balance_before, self.balance, self.status))


@dataclass
class ExpectedTransfer:
    """A transfer and everything that has happened to it, in both accounts and in its own stream."""

    details: TransferDetails
    story: list[RecordedEvent[Any]]

    @property
    def last(self) -> RecordedEvent[Any]:
        """What happened last."""
        return self.story[-1]

    @property
    def status(self) -> str:
        """What its own stream says."""
        return STATUS_AFTER[type(self.own_events()[-1].data)]

    def own_events(self) -> list[RecordedEvent[Any]]:
        """What is in its own stream."""
        return [event for event in self.story if event.stream_type == "transfer"]

    def account_events(self) -> list[type[Event]]:
        """What the accounts said, in order."""
        return [type(event.data) for event in self.story if event.stream_type == "account"]


class ExpectedBank:
    """The whole bank as it must stand."""

    def __init__(self, *, max_amount: int, max_balance: int) -> None:
        self.accounts: dict[UUID, ExpectedAccount] = {}
        self.transfers: dict[UUID, ExpectedTransfer] = {}
        self.cash: Counter[str] = Counter()  # paid in less paid out, by currency
        self.account_events: dict[UUID, list[RecordedEvent[Any]]] = {}
        self._reversed: set[UUID] = set()
        self._max_amount = max_amount
        self._max_balance = max_balance

    # --- What a person asks for: the event that must come of it, or the code of the refusal -------------------

    def open_account(self, customer_id: UUID, currency: str, initial_balance: int) -> Event | str:
        """Zero is allowed here."""
        refusal = None if initial_balance == 0 else self._amount_refusal(initial_balance)
        return refusal or AccountOpened(
            customer_id=customer_id,
            number=ANY_NUMBER,
            title=TITLE,
            currency=currency,
            initial_balance=initial_balance,
            balance=initial_balance,
        )

    def deposit(self, account_id: UUID, amount: int, currency: str) -> Event | str:
        """Cash in."""
        refusal = self._cash_refusal(account_id, amount, currency) or self._status_refusal(account_id)
        if refusal:
            return refusal
        balance = self.accounts[account_id].balance + amount
        if balance > self._max_balance:
            return "limit_exceeded"
        return CashDeposited(amount=amount, balance=balance, description="")

    def withdraw(self, account_id: UUID, amount: int, currency: str) -> Event | str:
        """Cash out."""
        refusal = self._cash_refusal(account_id, amount, currency) or self._status_refusal(account_id)
        if refusal:
            return refusal
        balance = self.accounts[account_id].balance - amount
        return "insufficient_funds" if balance < 0 else CashWithdrawn(amount=amount, balance=balance, description="")

    def pay_out(self, account_id: UUID, amount: int, currency: str) -> Event | str:
        """Cash out by a supervisor, who may empty a closed account."""
        due = self.withdraw(account_id, amount, currency)
        if due != "account_closed":
            return due
        balance = self.accounts[account_id].balance
        if balance == 0 or balance != amount:
            return "invalid_state"
        return CashWithdrawn(amount=amount, balance=0, description=PAY_OUT_DESCRIPTION)

    def reverse(self, account_id: UUID, entry: RecordedEvent[Any], reason: str) -> Event | str:
        """Undo a cash entry, once. `entry` is any event of any account."""
        if account_id not in self.accounts or entry.stream_id != account_id:
            return "not_found"
        if entry.event_id in self._reversed or not isinstance(entry.data, CashDeposited | CashWithdrawn):
            return "invalid_state"
        refusal = self._status_refusal(account_id)
        if refusal:
            return refusal
        deposited = isinstance(entry.data, CashDeposited)
        balance = self.accounts[account_id].balance + (-entry.data.amount if deposited else entry.data.amount)
        if balance < 0 or balance > self._max_balance:
            return "insufficient_funds" if balance < 0 else "limit_exceeded"
        return CashEntryReversed(
            entry_id=entry.event_id,
            entry_kind=CashEntryKind.DEPOSIT if deposited else CashEntryKind.WITHDRAWAL,
            amount=entry.data.amount,
            balance=balance,
            reason=reason,
        )

    def freeze(self, account_id: UUID, reason: str) -> Event | str:
        """Only an open account can be frozen."""
        return self._known(account_id) or self._status_refusal(account_id) or AccountFrozen(reason=reason)

    def unfreeze(self, account_id: UUID, reason: str) -> Event | str:
        """Only a frozen account can be unfrozen."""
        refusal = self._known(account_id) or self._status_refusal(account_id) or "invalid_state"
        return AccountUnfrozen(reason=reason) if refusal == "account_frozen" else refusal

    def close(self, account_id: UUID, reason: str) -> Event | str:
        """Only an open and empty account can be closed."""
        refusal = self._known(account_id) or self._status_refusal(account_id)
        if refusal:
            return refusal
        return "account_not_empty" if self.accounts[account_id].balance else AccountClosed(reason=reason)

    def transfer(self, details: TransferDetails) -> Event | str:
        """Balance and status of the accounts are none of its business: they are asked later."""
        payer, payee = (self.accounts.get(id) for id in (details.from_account_id, details.to_account_id))
        if payer is None or payee is None:
            return "account_not_found"
        if payer.currency != details.currency:
            return "currency_mismatch"
        refusal = self._amount_refusal(details.amount)
        if refusal:
            return refusal
        if payer is payee:
            return "same_account"
        return "currency_mismatch" if payee.currency != details.currency else MoneyTransferCreated(details=details)

    def _cash_refusal(self, account_id: UUID, amount: int, currency: str) -> str | None:
        refusal = self._known(account_id)
        if refusal:
            return refusal
        mismatch = self.accounts[account_id].currency != currency
        return "currency_mismatch" if mismatch else self._amount_refusal(amount)

    def _known(self, account_id: UUID) -> str | None:
        return None if account_id in self.accounts else "not_found"

    def _status_refusal(self, account_id: UUID) -> str | None:
        status = self.accounts[account_id].status
        return {"OPEN": None, "FROZEN": "account_frozen", "CLOSED": "account_closed"}[status]

    def _amount_refusal(self, amount: int) -> str | None:
        if amount <= 0:  # a minus sign is no part of an amount
            return "invalid_amount" if amount else "amount_not_positive"
        return "limit_exceeded" if amount > self._max_amount else None

    # --- What must follow by itself ----------------------------------------------------------------------------

    def next_event(self, transfer_id: UUID) -> tuple[UUID, Event] | None:
        """The stream and the event that must come next in a transfer's story; None when it has ended."""
        transfer = self.transfers[transfer_id]
        details, last = transfer.details, transfer.last.data
        match last:
            case MoneyTransferCreated():
                return details.from_account_id, self._debit_answer(transfer_id, details)
            case DebitRecorded():
                return details.to_account_id, self._credit_answer(transfer_id, details)
            case CreditRejectionRecorded():
                return details.from_account_id, AccountDebitRefunded(
                    amount=details.amount,
                    balance=self.accounts[details.from_account_id].balance + details.amount,
                    transfer_id=transfer_id,
                    counterparty_account_id=details.to_account_id,
                )
            case _ if transfer.last.stream_type == "account":
                return transfer_id, _record_of(last, details, account_version=transfer.last.version)
        return None

    def _debit_answer(self, transfer_id: UUID, details: TransferDetails) -> Event:
        account = self.accounts[details.from_account_id]
        if account.status != "OPEN":
            return AccountDebitRejected(
                amount=details.amount, transfer_id=transfer_id, reason=f"account_{account.status.lower()}"
            )
        if account.balance < details.amount:
            return AccountDebitFailedDueToInsufficientFunds(
                amount=details.amount, balance=account.balance, transfer_id=transfer_id
            )
        return AccountDebited(
            amount=details.amount,
            balance=account.balance - details.amount,
            transfer_id=transfer_id,
            counterparty_account_id=details.to_account_id,
            description=details.description,
        )

    def _credit_answer(self, transfer_id: UUID, details: TransferDetails) -> Event:
        account = self.accounts[details.to_account_id]
        balance = account.balance + details.amount
        reason = None if account.status == "OPEN" else f"account_{account.status.lower()}"
        if reason is None and balance > self._max_balance:
            reason = "limit_exceeded"
        if reason is not None:
            return AccountCreditRejected(amount=details.amount, transfer_id=transfer_id, reason=reason)
        return AccountCredited(
            amount=details.amount,
            balance=balance,
            transfer_id=transfer_id,
            counterparty_account_id=details.from_account_id,
            description=details.description,
        )

    # --- What has happened -------------------------------------------------------------------------------------

    def observe(self, recorded: RecordedEvent[Any]) -> None:
        """Takes in the next event of the store. Raises `Discrepancy` when it is not one that could be next."""
        transfer_id = getattr(recorded.data, "transfer_id", recorded.stream_id)
        if isinstance(recorded.data, MoneyTransferCreated):
            self._observe_new_transfer(recorded)
        elif transfer_id in self.transfers:
            self._observe_step(transfer_id, recorded)
        if recorded.stream_type == "account":
            self._observe_on_account(recorded)

    def _observe_new_transfer(self, recorded: RecordedEvent[Any]) -> None:
        if recorded.stream_id in self.transfers:
            raise Discrepancy(f"transfer {recorded.stream_id} was created twice")
        self.transfers[recorded.stream_id] = ExpectedTransfer(details=recorded.data.details, story=[recorded])

    def _observe_step(self, transfer_id: UUID, recorded: RecordedEvent[Any]) -> None:
        transfer = self.transfers[transfer_id]
        due = self.next_event(transfer_id)
        if due != (recorded.stream_id, recorded.data):
            raise Discrepancy(f"in transfer {transfer_id}\n  due was {due}\n  came    {recorded}")
        metadata, last = recorded.metadata, transfer.last
        if metadata.causation_id != last.event_id or metadata.correlation_id != last.metadata.correlation_id:
            raise Discrepancy(f"{recorded} does not name {last} as its cause")
        transfer.story.append(recorded)
        if recorded.stream_id == transfer_id and recorded.version != len(transfer.own_events()):
            raise Discrepancy(f"{recorded} should have version {len(transfer.own_events())}")

    def _observe_on_account(self, recorded: RecordedEvent[Any]) -> None:
        event = recorded.data
        self.account_events.setdefault(recorded.stream_id, []).append(recorded)
        if isinstance(event, AccountOpened):
            if recorded.stream_id in self.accounts or recorded.version != 1:
                raise Discrepancy(f"account {recorded.stream_id} was opened twice")
            account = self.accounts[recorded.stream_id] = ExpectedAccount(event.currency, event.balance)
            account.remember(balance_before=0)
            self.cash[event.currency] += event.balance
            return
        account = self.accounts[recorded.stream_id]
        balance_before = account.balance
        self._apply(account, event)
        account.remember(balance_before=balance_before)
        if recorded.version != account.version:
            raise Discrepancy(f"{recorded} should have version {account.version}")
        carried = getattr(event, "balance", account.balance)
        if carried != account.balance or account.balance < 0:
            raise Discrepancy(f"{recorded} should carry balance {account.balance}")

    def _apply(self, account: ExpectedAccount, event: Event) -> None:
        match event:
            case CashDeposited():
                account.balance += event.amount
                self.cash[account.currency] += event.amount
            case CashWithdrawn():
                account.balance -= event.amount
                self.cash[account.currency] -= event.amount
            case CashEntryReversed():
                undone = event.amount if event.entry_kind == CashEntryKind.WITHDRAWAL else -event.amount
                account.balance += undone
                self.cash[account.currency] += undone
                self._reversed.add(event.entry_id)
            case AccountDebited():
                account.balance -= event.amount
            case AccountCredited() | AccountDebitRefunded():
                account.balance += event.amount
            case AccountFrozen():
                account.status = "FROZEN"
            case AccountUnfrozen():
                account.status = "OPEN"
            case AccountClosed():
                account.status = "CLOSED"

    def in_flight(self) -> Counter[str]:
        """Money that has left one account and has not reached another, by currency."""
        amounts: Counter[str] = Counter()
        for transfer in self.transfers.values():
            if isinstance(transfer.last.data, IN_FLIGHT):
                amounts[transfer.details.currency] += transfer.details.amount
        return amounts


def _record_of(answer: Event, details: TransferDetails, *, account_version: int) -> Event:
    """What the transfer must make of an account's answer."""
    match answer:
        case AccountDebited():
            return DebitRecorded(details=details, account_version=account_version)
        case AccountDebitFailedDueToInsufficientFunds():
            return FailedDebitRecorded(account_version=account_version)
        case AccountDebitRejected():
            return DebitRejectionRecorded(reason=answer.reason, account_version=account_version)
        case AccountCredited():
            return CreditRecorded(account_version=account_version)
        case AccountCreditRejected():
            return CreditRejectionRecorded(details=details, reason=answer.reason, account_version=account_version)
        case AccountDebitRefunded():
            return RefundRecorded(account_version=account_version)
    raise Discrepancy(f"nothing follows {answer}")
