"""The use cases of accounts and customers: one call each, all or nothing.

A service parses what people write, finds what cannot change (an account's currency, whether a customer exists) from the
first events of streams, has one aggregate decide, and answers with a frozen Struct whose JSON is the API's body.
Amounts come and go as text with the currency's decimals. Called by the API, by forms and by commands.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from accounts.domain.account import (
    ACCOUNT,
    AccountCommand,
    AccountIsClosed,
    CloseAccount,
    Deposit,
    FreezeAccount,
    OpenAccount,
    PayOutClosedAccount,
    ReverseCashEntry,
    UnfreezeAccount,
    Withdraw,
)
from accounts.domain.customer import CUSTOMER, ChangeContact, CustomerNotFound, RegisterCustomer, RenameCustomer
from accounts.numbers import next_number
from accounts.published.events import (
    AccountOpened,
    AccountStatus,
    CashDeposited,
    CashEntryKind,
    CashWithdrawn,
    CustomerContactChanged,
    CustomerRegistered,
    CustomerRenamed,
)
from accounts.published.money import AmountText, CurrencyMismatch, InvalidAmount, format_amount, parse_amount
from eventstore.appending import EventAlreadyRecorded
from eventstore.context import CommandContext
from eventstore.events import RecordedEvent, StreamVersion
from eventstore.facts import events_by_id, first_events, stream_events
from eventstore.ids import new_id
from eventstore.refusals import Refusal
from eventstore.store import Answered, Cause, EventStore, Executed, StreamNotFound, Unit

Moment = Annotated[datetime, msgspec.Meta(tz=True)]

STORE: Final = EventStore()
PAY_OUT_DESCRIPTION: Final = "Paid out after closing"
_REVERSE_ENTRY: Final = "accounts.reverse_entry"  # ids derive from it: it never changes


# Answers.


class RegisteredCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A new customer."""

    customer_id: UUID
    version: int


class ChangedCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer as they are after the change."""

    customer_id: UUID
    name: str
    email: str | None
    phone: str | None
    reference: str | None
    created_at: Moment
    version: int


class OpenedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A new account."""

    account_id: UUID
    number: str
    version: int


class CashEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A new entry in the account's book, and the balance after it."""

    entry_id: UUID
    balance: AmountText
    version: int


class AccountStanding(msgspec.Struct, frozen=True, kw_only=True):
    """Where the account stands now."""

    state: AccountStatus
    version: int


class AccountAsItWas(msgspec.Struct, frozen=True, kw_only=True):
    """An account at a version or a moment of its past."""

    account_id: UUID
    number: str
    title: str
    customer_id: UUID
    currency: str
    balance: int  # minor units
    state: AccountStatus
    reference: str | None
    opened_at: datetime
    changed_at: datetime
    version: int


# Errors beside the domain's.


class NoSuchCustomer(StreamNotFound):
    """There is no such customer."""


class EntryNotFound(Refusal):
    """The account has no such entry."""

    code = "not_found"


class NotACashEntry(Refusal):
    """Only deposits and withdrawals at the counter can be reversed here."""

    code = "invalid_state"


class EntryAlreadyReversed(Refusal):
    """The entry has been reversed already."""

    code = "invalid_state"


class PayOutIsWhole(Refusal):
    """A closed account is paid out whole, and it does not hold this amount."""

    code = "invalid_state"


# Customers.


def register_customer(
    *,
    context: CommandContext,
    name: str,
    email: str | None = None,
    phone: str | None = None,
    reference: str | None = None,
) -> Answered[RegisteredCustomer]:
    """Takes somebody on as a customer. Raises `InvalidValue` for a field that no customer can have."""

    def work(unit: Unit) -> RegisteredCustomer:
        command = RegisterCustomer(name=name, email=email, phone=phone, reference=reference)
        registered = CUSTOMER.decide(CUSTOMER.initial, command)
        made = unit.save(CUSTOMER, registered, metadata=context.metadata)
        return RegisteredCustomer(customer_id=made.stream_id, version=made.version)

    return STORE.run_once(context.claim, work, answer_type=RegisteredCustomer)


def change_customer(
    *,
    context: CommandContext,
    customer_id: UUID,
    expected_version: int | None = None,
    name: str | UnsetType = UNSET,
    email: str | UnsetType | None = UNSET,
    phone: str | UnsetType | None = UNSET,
) -> Answered[ChangedCustomer]:
    """Renames a customer, changes how they are reached, or both; a field that is not given stays as it is.

    Raises `NoSuchCustomer`, `VersionMismatch` when the customer is at another version than was expected, and
    `InvalidValue` for a field that no customer can have, or when nothing is given.
    """
    commands: list[RenameCustomer | ChangeContact] = []
    if name is not UNSET:
        commands.append(RenameCustomer(name=name))
    if not commands or (email, phone) != (UNSET, UNSET):
        commands.append(ChangeContact(email=email, phone=phone))

    def work(unit: Unit) -> StreamVersion:
        expected, version = expected_version, 0
        for command in commands:
            version = unit.execute(
                CUSTOMER, customer_id, command, metadata=context.metadata, expected_version=expected
            ).version
            expected = None  # the stream is ours until the end of the transaction
        return StreamVersion(stream_id=customer_id, version=version)

    # Only the version is kept for a repeat: a kept answer that tells of a person could not be erased with their key.
    try:
        changed = STORE.run_once(context.claim, work, answer_type=StreamVersion)
    except StreamNotFound as error:
        raise NoSuchCustomer from error
    events = stream_events(CUSTOMER.stream_type, customer_id, using=STORE.using)
    return Answered(value=_changed_customer(events[: changed.value.version]), replayed=changed.replayed)


# Accounts.


def open_account(
    *,
    context: CommandContext,
    customer_id: UUID,
    title: str,
    currency: str,
    initial_balance: str | None = None,
    reference: str | None = None,
) -> Answered[OpenedAccount]:
    """Opens an account for a customer, empty or with money in it.

    Raises `CustomerNotFound`, `LimitExceeded`, and `InvalidValue` for a field that no account can have.
    """

    def work(unit: Unit) -> OpenedAccount:
        balance = 0 if initial_balance is None else _initial_balance(initial_balance, currency)
        _check_customer(customer_id)
        number = next_number()
        opened = ACCOUNT.decide(
            ACCOUNT.initial,
            OpenAccount(
                customer_id=customer_id,
                number=number,
                title=title,
                currency=currency,
                initial_balance=balance,
                reference=reference,
            ),
        )
        made = unit.save(ACCOUNT, opened, stream_id=new_id(), metadata=context.metadata)
        return OpenedAccount(account_id=made.stream_id, number=number, version=made.version)

    return STORE.run_once(context.claim, work, answer_type=OpenedAccount)


def deposit(
    *,
    context: CommandContext,
    account_id: UUID,
    amount: str,
    currency: str | None = None,
    description: str = "",
    expected_version: int | None = None,
) -> Answered[CashEntry]:
    """Pays cash in.

    Raises `StreamNotFound`, `VersionMismatch`, `CurrencyMismatch`, `LimitExceeded`, `AccountIsFrozen`,
    `AccountIsClosed`, `InvalidValue`.
    """

    def work(unit: Unit) -> CashEntry:
        account = _account(account_id)
        amount_minor = _amount(amount, currency, account)
        command = Deposit(amount=amount_minor, currency=account.currency, description=description)
        done = unit.execute(ACCOUNT, account_id, command, metadata=context.metadata, expected_version=expected_version)
        return _cash_entry(done, account)

    return STORE.run_once(context.claim, work, answer_type=CashEntry)


def withdraw(
    *,
    context: CommandContext,
    account_id: UUID,
    amount: str,
    currency: str | None = None,
    description: str = "",
    may_pay_out: bool = False,
    expected_version: int | None = None,
) -> Answered[CashEntry]:
    """Pays cash out; from a closed account, for whoever may, all that a refund has brought back to it.

    Raises `StreamNotFound`, `VersionMismatch`, `CurrencyMismatch`, `InsufficientFunds`, `LimitExceeded`,
    `AccountIsFrozen`, `AccountIsClosed`, `InvalidValue`; when paying out a closed account, `NothingToPayOut` and
    `PayOutIsWhole`.
    """

    def work(unit: Unit) -> CashEntry:
        account = _account(account_id)
        amount_minor = _amount(amount, currency, account)
        command = Withdraw(amount=amount_minor, currency=account.currency, description=description)
        try:
            done = unit.execute(
                ACCOUNT, account_id, command, metadata=context.metadata, expected_version=expected_version
            )
        except AccountIsClosed:  # at the version that was expected
            if not may_pay_out:
                raise
            done = _pay_out(unit, context, account_id, amount_minor, description)
        return _cash_entry(done, account)

    return STORE.run_once(context.claim, work, answer_type=CashEntry)


def pay_out(*, context: CommandContext, account_id: UUID, amount: str, description: str = "") -> Answered[CashEntry]:
    """Pays out in cash all that a refund has brought back to a closed account; `amount` is what the payer has seen.

    Raises `StreamNotFound`, `AccountNotClosed`, `NothingToPayOut`, `PayOutIsWhole`, `InvalidValue`.
    """

    def work(unit: Unit) -> CashEntry:
        account = _account(account_id)
        amount_minor = _amount(amount, None, account)
        return _cash_entry(_pay_out(unit, context, account_id, amount_minor, description), account)

    return STORE.run_once(context.claim, work, answer_type=CashEntry)


def reverse_entry(*, context: CommandContext, account_id: UUID, entry_id: UUID, reason: str) -> Answered[CashEntry]:
    """Undoes a deposit or a withdrawal that was a mistake, once. Answers with the entry that undoes it.

    Raises `StreamNotFound`, `EntryNotFound`, `NotACashEntry`, `EntryAlreadyReversed`, and as `withdraw` does.
    """
    cause = Cause(cause_id=entry_id, handler=_REVERSE_ENTRY)

    def work(unit: Unit) -> CashEntry:
        account = _account(account_id)
        command = _reversal(account_id, entry_id, reversal_id=cause.event_id(0), reason=reason)
        done = unit.execute(ACCOUNT, account_id, command, metadata=context.metadata, cause=cause)
        return _cash_entry(done, account)

    try:
        return STORE.run_once(context.claim, work, answer_type=CashEntry)
    except EventAlreadyRecorded as error:  # by somebody who was a moment faster
        raise EntryAlreadyReversed from error


def freeze_account(
    *, context: CommandContext, account_id: UUID, reason: str, expected_version: int | None = None
) -> Answered[AccountStanding]:
    """Stops all movements.

    Raises `StreamNotFound`, `VersionMismatch`, `AccountIsFrozen`, `AccountIsClosed`, `InvalidValue`.
    """
    return _administer(context, account_id, FreezeAccount(reason=reason), expected_version)


def unfreeze_account(
    *, context: CommandContext, account_id: UUID, reason: str, expected_version: int | None = None
) -> Answered[AccountStanding]:
    """Lets money move again.

    Raises `StreamNotFound`, `VersionMismatch`, `AccountNotFrozen`, `AccountIsClosed`, `InvalidValue`.
    """
    return _administer(context, account_id, UnfreezeAccount(reason=reason), expected_version)


def close_account(
    *, context: CommandContext, account_id: UUID, reason: str, expected_version: int | None = None
) -> Answered[AccountStanding]:
    """Closes an empty account for good.

    Raises `StreamNotFound`, `VersionMismatch`, `AccountNotEmpty`, `AccountIsFrozen`, `AccountIsClosed`, `InvalidValue`.
    """
    return _administer(context, account_id, CloseAccount(reason=reason), expected_version)


def account_at(*, account_id: UUID, version: int | None = None, as_of: datetime | None = None) -> AccountAsItWas:
    """The account as it was at a version, or at a moment, from its events. Raises `StreamNotFound`."""
    loaded = STORE.find_at(ACCOUNT, account_id, version=version, as_of=as_of)
    first = first_events([account_id], using=STORE.using)[account_id]
    return AccountAsItWas(
        account_id=account_id,
        number=first.data.number,
        title=first.data.title,
        customer_id=first.data.customer_id,
        currency=first.data.currency,
        balance=loaded.state.balance,
        state=loaded.state.status,
        reference=first.data.reference,
        opened_at=first.recorded_at,
        changed_at=loaded.updated_at or first.recorded_at,
        version=loaded.version,
    )


# Leaves.


def _account(account_id: UUID) -> AccountOpened:
    """What was true of the account when it was opened, and is for ever. Raises `StreamNotFound`."""
    first = first_events([account_id], using=STORE.using).get(account_id)
    if first is None or not isinstance(first.data, AccountOpened):
        raise StreamNotFound(f"account {account_id}")
    return first.data


def _check_customer(customer_id: UUID) -> None:
    first = first_events([customer_id], using=STORE.using).get(customer_id)
    if first is None or not isinstance(first.data, CustomerRegistered):
        raise CustomerNotFound


def _amount(amount: str, currency: str | None, account: AccountOpened) -> int:
    if currency not in (None, account.currency):
        raise CurrencyMismatch
    return parse_amount(amount, account.currency)


def _initial_balance(text: str, currency: str) -> int:
    try:
        return parse_amount(text, currency, zero_allowed=True)
    except InvalidAmount as error:
        raise type(error)(str(error), field="initial_balance") from error


def _cash_entry(done: Executed, account: AccountOpened) -> CashEntry:
    (recorded,) = done.events
    balance = format_amount(recorded.data.balance, account.currency)
    return CashEntry(entry_id=recorded.event_id, balance=balance, version=done.version)


def _pay_out(unit: Unit, context: CommandContext, account_id: UUID, amount_minor: int, description: str) -> Executed:
    command = PayOutClosedAccount(reason=description or PAY_OUT_DESCRIPTION)
    done = unit.execute(ACCOUNT, account_id, command, metadata=context.metadata)
    (recorded,) = done.events
    if recorded.data.amount != amount_minor:  # raised before the commit, so that nothing has happened
        raise PayOutIsWhole
    return done


def _reversal(account_id: UUID, entry_id: UUID, *, reversal_id: UUID, reason: str) -> ReverseCashEntry:
    known = events_by_id([entry_id, reversal_id], using=STORE.using)
    entry = known.get(entry_id)
    if entry is None or entry.stream_id != account_id:
        raise EntryNotFound
    if reversal_id in known:
        raise EntryAlreadyReversed
    match entry.data:
        case CashDeposited():
            kind = CashEntryKind.DEPOSIT
        case CashWithdrawn():
            kind = CashEntryKind.WITHDRAWAL
        case _:
            raise NotACashEntry
    return ReverseCashEntry(entry_id=entry_id, entry_kind=kind, amount=entry.data.amount, reason=reason)


def _administer(
    context: CommandContext, account_id: UUID, command: AccountCommand, expected_version: int | None
) -> Answered[AccountStanding]:
    def work(unit: Unit) -> AccountStanding:
        done = unit.execute(ACCOUNT, account_id, command, metadata=context.metadata, expected_version=expected_version)
        return AccountStanding(state=done.state.status, version=done.version)

    return STORE.run_once(context.claim, work, answer_type=AccountStanding)


def _changed_customer(events: list[RecordedEvent[Any]]) -> ChangedCustomer:
    """The customer from all of their few events: the aggregate's state keeps no personal field."""
    first = events[0]
    known = {"name": first.data.name, "email": first.data.email, "phone": first.data.phone}
    for recorded in events[1:]:
        match recorded.data:
            case CustomerRenamed(name=name):
                known["name"] = name
            case CustomerContactChanged(email=email, phone=phone):
                changed = {"email": email, "phone": phone}
                known |= {field: value for field, value in changed.items() if value is not UNSET}
    return ChangedCustomer(
        customer_id=first.stream_id,
        **known,
        reference=first.data.reference,
        created_at=first.recorded_at,
        version=events[-1].version,
    )
