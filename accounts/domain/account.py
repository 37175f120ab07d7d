"""The account: what it accepts, and what follows. Pure.

Invariant: nothing takes a balance below zero, and after every event the balance carried in it is the one before plus
`balance_change`. An account judges its own stream alone: whether it is frozen, closed or short of money is decided
here, when the debit or the credit comes, and nowhere earlier.

Two kinds of command, two ways to say no. A person's command (cash, freezing, closing) is refused with an error, and
nothing is written. A transfer's command is never refused for a business reason: the account answers with an event, so
that no transfer waits for ever. The services and the handlers of this context import this module, nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, assert_never
from uuid import UUID

from accounts.published.events import (
    AccountClosed,
    AccountCredited,
    AccountCreditRejected,
    AccountDebited,
    AccountDebitFailedDueToInsufficientFunds,
    AccountDebitRefunded,
    AccountDebitRejected,
    AccountEvent,
    AccountFrozen,
    AccountOpened,
    AccountStatus,
    AccountUnfrozen,
    CashDeposited,
    CashEntryKind,
    CashEntryReversed,
    CashWithdrawn,
    RejectionReason,
    balance_change,
)
from accounts.published.money import (
    MAX_AMOUNT_MINOR,
    MAX_BALANCE_MINOR,
    CurrencyMismatch,
    LimitExceeded,
    check_amount,
    decimals_of,
)
from accounts.published.text import (
    MAX_DESCRIPTION_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_TITLE_LENGTH,
    clean_optional,
    clean_text,
)
from eventstore.aggregates import Aggregate, Command, State
from eventstore.events import Event
from eventstore.refusals import EventCannotFollow, Refusal

# States: what a decision needs to know, no more.


class NotOpened(State):
    """Nothing has happened yet."""


class Open(State):
    """The account moves money."""

    status: ClassVar = AccountStatus.OPEN
    balance: int  # minor units
    currency: str


class Frozen(State):
    """The account moves no money until it is unfrozen."""

    status: ClassVar = AccountStatus.FROZEN
    balance: int
    currency: str


class Closed(State):
    """The account is closed. Its balance is zero, or what a refund brought back later."""

    status: ClassVar = AccountStatus.CLOSED
    balance: int
    currency: str


Opened = Open | Frozen | Closed  # at some time
AccountState = NotOpened | Opened


# Commands. Amounts are in minor units of `currency`.


class OpenAccount(Command):
    """Open an account for a customer."""

    customer_id: UUID
    number: str
    title: str
    currency: str
    initial_balance: int = 0
    reference: str | None = None


class Deposit(Command):
    """Pay cash in."""

    amount: int
    currency: str
    description: str = ""


class Withdraw(Command):
    """Pay cash out."""

    amount: int
    currency: str
    description: str = ""


class ReverseCashEntry(Command):
    """Undo a cash entry that was a mistake.

    The account keeps no list of its entries: whoever gives the command has looked the entry up in this account's
    stream, and the reversal's event id is derived from the entry's, so that a second reversal meets the store's
    unique index.
    """

    entry_id: UUID
    entry_kind: CashEntryKind
    amount: int
    reason: str


class DebitAccount(Command):
    """Take the amount of a transfer out."""

    transfer_id: UUID
    amount: int
    currency: str
    counterparty_account_id: UUID
    description: str = ""


class CreditAccount(Command):
    """Put the amount of a transfer in."""

    transfer_id: UUID
    amount: int
    currency: str
    counterparty_account_id: UUID
    description: str = ""


class RefundDebit(Command):
    """Take back the amount of a transfer that the other account refused.

    Always accepted, frozen, closed or full: the money is this account's, and there is nowhere else for it to go. That
    there was a debit, and that this is the only refund, follows from the transfer's stream and the derived event id.
    """

    transfer_id: UUID
    amount: int
    counterparty_account_id: UUID


class FreezeAccount(Command):
    """Stop all movements."""

    reason: str


class UnfreezeAccount(Command):
    """Let money move again."""

    reason: str


class CloseAccount(Command):
    """Close an empty account for good."""

    reason: str


class PayOutClosedAccount(Command):
    """Pay out in cash all that refunds brought back to a closed account."""

    reason: str


AccountCommand = (
    OpenAccount
    | Deposit
    | Withdraw
    | ReverseCashEntry
    | DebitAccount
    | CreditAccount
    | RefundDebit
    | FreezeAccount
    | UnfreezeAccount
    | CloseAccount
    | PayOutClosedAccount
)


# Errors. The first line is what a user reads.


class AccountNotFound(Refusal):
    """There is no such account."""

    code = "account_not_found"


class AccountAlreadyOpened(Refusal):
    """The account has been opened already."""

    code = "invalid_state"


class InsufficientFunds(Refusal):
    """The account does not hold that much."""

    code = "insufficient_funds"


class AccountIsFrozen(Refusal):
    """The account is frozen."""

    code = "account_frozen"


class AccountIsClosed(Refusal):
    """The account is closed."""

    code = "account_closed"


class AccountNotFrozen(Refusal):
    """The account is not frozen."""

    code = "invalid_state"


class AccountNotEmpty(Refusal):
    """The account still holds money; only an empty one can be closed."""

    code = "account_not_empty"


class AccountNotClosed(Refusal):
    """The account is not closed."""

    code = "invalid_state"


class NothingToPayOut(Refusal):
    """The closed account holds no money."""

    code = "invalid_state"


# Decisions.


def decide(state: AccountState, command: AccountCommand) -> Sequence[AccountEvent]:
    """What follows from the command: always one event. Raises `Refusal` when the bank's rules forbid it."""
    match command:
        case DebitAccount() | CreditAccount() | RefundDebit():
            return [_answer_transfer(_opened(state), command)]
        case Deposit() | Withdraw() | ReverseCashEntry():
            return [_move_cash(_usable(state), command)]
        case FreezeAccount() | UnfreezeAccount() | CloseAccount() | PayOutClosedAccount():
            return [_administer(_opened(state), command)]
        case OpenAccount():
            return [_open(state, command)]
        case _:
            assert_never(command)


def _answer_transfer(state: Opened, command: DebitAccount | CreditAccount | RefundDebit) -> AccountEvent:
    match command:
        case DebitAccount():
            return _debit(state, command)
        case CreditAccount():
            return _credit(state, command)
        case RefundDebit():
            return _refund(state, command)
        case _:
            assert_never(command)


def _move_cash(state: Open, command: Deposit | Withdraw | ReverseCashEntry) -> AccountEvent:
    match command:
        case Deposit():
            return _deposit(state, command)
        case Withdraw():
            return _withdraw(state, command)
        case ReverseCashEntry():
            return _reverse_cash_entry(state, command)
        case _:
            assert_never(command)


def _administer(
    state: Opened, command: FreezeAccount | UnfreezeAccount | CloseAccount | PayOutClosedAccount
) -> AccountEvent:
    match command:
        case FreezeAccount():
            return _freeze(_usable(state), command)
        case UnfreezeAccount():
            return _unfreeze(state, command)
        case CloseAccount():
            return _close(_usable(state), command)
        case PayOutClosedAccount():
            return _pay_out(state, command)
        case _:
            assert_never(command)


def _opened(state: AccountState) -> Opened:
    if isinstance(state, NotOpened):
        raise AccountNotFound
    return state


def _usable(state: AccountState) -> Open:
    """The account, if it moves money; what a person asks for needs that."""
    match state:
        case Open():
            return state
        case Frozen():
            raise AccountIsFrozen
        case Closed():
            raise AccountIsClosed
        case NotOpened():
            raise AccountNotFound
        case _:
            assert_never(state)


def _open(state: AccountState, command: OpenAccount) -> AccountOpened:
    if not isinstance(state, NotOpened):
        raise AccountAlreadyOpened
    decimals_of(command.currency)
    if command.initial_balance != 0:
        check_amount(command.initial_balance)
    return AccountOpened(
        customer_id=command.customer_id,
        number=command.number,
        title=clean_text(command.title, field="title", max_length=MAX_TITLE_LENGTH),
        currency=command.currency,
        initial_balance=command.initial_balance,
        balance=command.initial_balance,
        reference=clean_optional(command.reference, field="reference", max_length=MAX_REFERENCE_LENGTH),
    )


def _deposit(state: Open, command: Deposit) -> CashDeposited:
    _check_cash(state, command)
    return CashDeposited(
        amount=command.amount,
        balance=_balance_with(state, command.amount),
        description=_description(command.description),
    )


def _withdraw(state: Open, command: Withdraw) -> CashWithdrawn:
    _check_cash(state, command)
    return CashWithdrawn(
        amount=command.amount,
        balance=_balance_without(state, command.amount),
        description=_description(command.description),
    )


def _reverse_cash_entry(state: Open, command: ReverseCashEntry) -> CashEntryReversed:
    check_amount(command.amount)
    undo = _balance_without if command.entry_kind == CashEntryKind.DEPOSIT else _balance_with
    return CashEntryReversed(
        entry_id=command.entry_id,
        entry_kind=command.entry_kind,
        amount=command.amount,
        balance=undo(state, command.amount),
        reason=_reason(command.reason),
    )


def _debit(
    state: Opened, command: DebitAccount
) -> AccountDebited | AccountDebitRejected | AccountDebitFailedDueToInsufficientFunds:
    reason = _why_not(state, command)
    if reason is not None:
        return AccountDebitRejected(amount=command.amount, transfer_id=command.transfer_id, reason=reason)
    if command.amount > state.balance:
        return AccountDebitFailedDueToInsufficientFunds(
            amount=command.amount, balance=state.balance, transfer_id=command.transfer_id
        )
    return AccountDebited(
        amount=command.amount,
        balance=state.balance - command.amount,
        transfer_id=command.transfer_id,
        counterparty_account_id=command.counterparty_account_id,
        description=command.description,
    )


def _credit(state: Opened, command: CreditAccount) -> AccountCredited | AccountCreditRejected:
    reason = _why_not(state, command)
    if reason is None and state.balance + command.amount > MAX_BALANCE_MINOR:
        reason = RejectionReason.LIMIT_EXCEEDED
    if reason is not None:
        return AccountCreditRejected(amount=command.amount, transfer_id=command.transfer_id, reason=reason)
    return AccountCredited(
        amount=command.amount,
        balance=state.balance + command.amount,
        transfer_id=command.transfer_id,
        counterparty_account_id=command.counterparty_account_id,
        description=command.description,
    )


def _refund(state: Opened, command: RefundDebit) -> AccountDebitRefunded:
    check_amount(command.amount)  # it was debited once, so it passes: anything else is a broken program
    return AccountDebitRefunded(
        amount=command.amount,
        balance=state.balance + command.amount,
        transfer_id=command.transfer_id,
        counterparty_account_id=command.counterparty_account_id,
    )


def _freeze(_: Open, command: FreezeAccount) -> AccountFrozen:
    return AccountFrozen(reason=_reason(command.reason))


def _unfreeze(state: Opened, command: UnfreezeAccount) -> AccountUnfrozen:
    if isinstance(state, Closed):
        raise AccountIsClosed
    if isinstance(state, Open):
        raise AccountNotFrozen
    return AccountUnfrozen(reason=_reason(command.reason))


def _close(state: Open, command: CloseAccount) -> AccountClosed:
    if state.balance != 0:
        raise AccountNotEmpty
    return AccountClosed(reason=_reason(command.reason))


def _pay_out(state: Opened, command: PayOutClosedAccount) -> CashWithdrawn:
    if not isinstance(state, Closed):
        raise AccountNotClosed
    if state.balance == 0:
        raise NothingToPayOut
    reason = clean_text(command.reason, field="reason", max_length=MAX_DESCRIPTION_LENGTH)
    return CashWithdrawn(amount=state.balance, balance=0, description=reason)


def _why_not(state: Opened, command: DebitAccount | CreditAccount) -> RejectionReason | None:
    """Why this account takes no part in the transfer, or None.

    Currency and amount were checked before the transfer was accepted; should that fail, no money moves here either.
    """
    match state:
        case Frozen():
            return RejectionReason.ACCOUNT_FROZEN
        case Closed():
            return RejectionReason.ACCOUNT_CLOSED
        case Open() if command.currency != state.currency:
            return RejectionReason.CURRENCY_MISMATCH
        case Open() if not 0 < command.amount <= MAX_AMOUNT_MINOR:
            return RejectionReason.INVALID_AMOUNT
        case Open():
            return None
        case _:
            assert_never(state)


def _check_cash(state: Open, command: Deposit | Withdraw) -> None:
    if command.currency != state.currency:
        raise CurrencyMismatch
    check_amount(command.amount)


def _balance_with(state: Open, amount: int) -> int:
    if state.balance + amount > MAX_BALANCE_MINOR:
        raise LimitExceeded
    return state.balance + amount


def _balance_without(state: Open, amount: int) -> int:
    if amount > state.balance:
        raise InsufficientFunds
    return state.balance - amount


def _description(text: str) -> str:
    return clean_text(text, field="description", max_length=MAX_DESCRIPTION_LENGTH, required=False)


def _reason(text: str) -> str:
    return clean_text(text, field="reason", max_length=MAX_REASON_LENGTH)


# What follows from events.

# Which events may follow in which status, beside those that change it.
_FOLLOW_ALWAYS: Final[frozenset[type[Event]]] = frozenset(
    {AccountDebitRefunded, AccountDebitRejected, AccountCreditRejected}
)
_FOLLOW_WHEN_OPEN: Final[frozenset[type[Event]]] = frozenset(
    {
        AccountCredited,
        AccountDebited,
        AccountDebitFailedDueToInsufficientFunds,
        CashDeposited,
        CashEntryReversed,
        CashWithdrawn,
    }
)
_FOLLOW_WHEN_CLOSED: Final[frozenset[type[Event]]] = frozenset({CashWithdrawn})  # a supervisor's pay-out
_MAY_FOLLOW: Final[Mapping[type[Opened], frozenset[type[Event]]]] = {
    Open: _FOLLOW_ALWAYS | _FOLLOW_WHEN_OPEN,
    Frozen: _FOLLOW_ALWAYS,
    Closed: _FOLLOW_ALWAYS | _FOLLOW_WHEN_CLOSED,
}


def evolve(state: AccountState, event: AccountEvent) -> AccountState:
    """The state after the event. Raises `EventCannotFollow`, also for a balance that does not add up."""
    match state:
        case NotOpened() if isinstance(event, AccountOpened) and event.balance == event.initial_balance >= 0:
            return Open(balance=event.balance, currency=event.currency)
        case Open() if isinstance(event, AccountFrozen):
            return Frozen(balance=state.balance, currency=state.currency)
        case Frozen() if isinstance(event, AccountUnfrozen):
            return Open(balance=state.balance, currency=state.currency)
        case Open() if isinstance(event, AccountClosed) and state.balance == 0:
            return Closed(balance=0, currency=state.currency)
        case Open() | Frozen() | Closed() if type(event) in _MAY_FOLLOW[type(state)]:
            return _with_balance_after(state, event)
        case _:
            raise EventCannotFollow(state=state, event=event)


def _with_balance_after(state: Opened, event: AccountEvent) -> Opened:
    balance = state.balance + balance_change(event)
    carried = getattr(event, "balance", balance)  # a rejection carries none
    if balance < 0 or balance != carried:
        raise EventCannotFollow(state=state, event=event)
    return type(state)(balance=balance, currency=state.currency)


ACCOUNT: Final = Aggregate[AccountState](
    stream_type="account",
    initial=NotOpened(),
    decide=decide,
    evolve=evolve,
    state_type=AccountState,
)
