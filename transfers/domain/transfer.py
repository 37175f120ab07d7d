"""The money transfer: the state of its saga. Pure.

Invariant: a transfer moves forward only, and each account's answer is recorded at most once. The transfer decides
nothing about balances; it records what the two accounts answered, and its events tell the accounts what comes next:

    Initial ─ debit ─▶ Debited ─ credit ─▶ Completed
       │                  └─ credit rejected ─▶ Refunding ─ refund ─▶ Refunded
       ├─ failed debit ─▶ FailedDueToInsufficientFunds
       └─ debit rejected ─▶ Rejected

The services and the handlers of this context import this module, nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, assert_never

import msgspec

from accounts.published.money import CurrencyMismatch, check_amount, decimals_of
from accounts.published.text import (
    MAX_DESCRIPTION_LENGTH,
    MAX_REFERENCE_LENGTH,
    TextMissing,
    check_text,
    clean_optional,
    clean_text,
)
from eventstore.aggregates import Aggregate, Command, State
from eventstore.refusals import EventCannotFollow, InvalidValue, Refusal
from transfers.published.events import (
    MAX_METADATA_ENTRIES,
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferDetails,
    TransferEvent,
    TransferStatus,
)

MAX_METADATA_KEY_LENGTH: Final = 40
MAX_METADATA_VALUE_LENGTH: Final = 500

# States. Details are kept as long as a later event carries them.


class NotCreated(State):
    """Nothing has happened yet."""


class Initial(State):
    """The paying account is being asked."""

    status: ClassVar = TransferStatus.INITIAL
    details: TransferDetails


class Debited(State):
    """The paying account gave the amount; the receiving one is being asked."""

    status: ClassVar = TransferStatus.DEBITED
    details: TransferDetails


class Refunding(State):
    """The receiving account refused; the amount is on its way back."""

    status: ClassVar = TransferStatus.REFUNDING


class Completed(State):
    """The receiving account has the amount."""

    status: ClassVar = TransferStatus.COMPLETED


class FailedDueToInsufficientFunds(State):
    """The paying account did not hold the amount."""

    status: ClassVar = TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS


class Rejected(State):
    """The paying account refused."""

    status: ClassVar = TransferStatus.REJECTED


class Refunded(State):
    """The paying account has the amount back."""

    status: ClassVar = TransferStatus.REFUNDED


Created = Initial | Debited | Refunding | Completed | FailedDueToInsufficientFunds | Rejected | Refunded
TransferState = NotCreated | Created


# Commands.


class CreateTransfer(Command):
    """Send a transfer on its way.

    The two currencies are those of the accounts' first events. Those never change, so that checking them here takes
    no lock on either account; frozen, closed and short of money are the accounts' own to judge when they are asked.
    """

    details: TransferDetails
    from_currency: str
    to_currency: str


class RecordDebit(Command):
    """The paying account was debited."""

    account_version: int


class RecordFailedDebit(Command):
    """The paying account does not hold the amount."""

    account_version: int


class RecordDebitRejection(Command):
    """The paying account refused."""

    reason: str
    account_version: int


class RecordCredit(Command):
    """The receiving account was credited."""

    account_version: int


class RecordCreditRejection(Command):
    """The receiving account refused."""

    reason: str
    account_version: int


class RecordRefund(Command):
    """The paying account has the amount back."""

    account_version: int


DebitAnswer = RecordDebit | RecordFailedDebit | RecordDebitRejection
CreditAnswer = RecordCredit | RecordCreditRejection
TransferStep = DebitAnswer | CreditAnswer | RecordRefund
TransferCommand = CreateTransfer | TransferStep


# Errors. The first line is what a user reads.


class TransferNotFound(Refusal):
    """There is no such transfer."""

    code = "transfer_not_found"


class TransferAlreadyCreated(Refusal):
    """The transfer has been created already."""

    code = "invalid_state"


class SameAccount(Refusal):
    """A transfer needs two different accounts."""

    code = "same_account"


class InvalidMetadata(InvalidValue):
    """The metadata must be at most 20 short texts by name."""

    code = "invalid_metadata"


class StepAlreadyRecorded(Refusal):
    """This step of the transfer has been recorded already."""

    code = "invalid_state"


class StepOutOfOrder(Refusal):
    """This step cannot follow where the transfer stands."""

    code = "invalid_state"


# Decisions.


def decide(state: TransferState, command: TransferCommand) -> Sequence[TransferEvent]:
    """What follows from the command: always one event. Raises `Refusal`."""
    if isinstance(command, CreateTransfer):
        return [_create(state, command)]
    match state:
        case Initial() if isinstance(command, DebitAnswer):
            return [_record_debit_answer(state, command)]
        case Debited() if isinstance(command, CreditAnswer):
            return [_record_credit_answer(state, command)]
        case Refunding() if isinstance(command, RecordRefund):
            return [RefundRecorded(account_version=command.account_version)]
        case NotCreated():
            raise TransferNotFound
        case _:
            raise StepAlreadyRecorded if type(command) in _RECORDED[type(state)] else StepOutOfOrder


def _create(state: TransferState, command: CreateTransfer) -> MoneyTransferCreated:
    if not isinstance(state, NotCreated):
        raise TransferAlreadyCreated
    details = command.details
    if details.from_account_id == details.to_account_id:
        raise SameAccount
    decimals_of(details.currency)
    if not details.currency == command.from_currency == command.to_currency:
        raise CurrencyMismatch
    check_amount(details.amount)
    return MoneyTransferCreated(details=_with_clean_texts(details))


def _with_clean_texts(details: TransferDetails) -> TransferDetails:
    _check_metadata(details.metadata)
    return msgspec.structs.replace(
        details,
        description=clean_text(
            details.description, field="description", max_length=MAX_DESCRIPTION_LENGTH, required=False
        ),
        reference=clean_optional(details.reference, field="reference", max_length=MAX_REFERENCE_LENGTH),
    )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    """The client's notes come back as they were given, so they are checked and never trimmed."""
    if len(metadata) > MAX_METADATA_ENTRIES:
        raise InvalidMetadata(field="metadata")
    for key, value in metadata.items():
        if not key.strip():
            raise TextMissing(field="metadata")
        check_text(key, field="metadata", max_length=MAX_METADATA_KEY_LENGTH)
        check_text(value, field="metadata", max_length=MAX_METADATA_VALUE_LENGTH)


def _record_debit_answer(state: Initial, answer: DebitAnswer) -> TransferEvent:
    match answer:
        case RecordDebit():
            return DebitRecorded(details=state.details, account_version=answer.account_version)
        case RecordFailedDebit():
            return FailedDebitRecorded(account_version=answer.account_version)
        case RecordDebitRejection():
            return DebitRejectionRecorded(reason=answer.reason, account_version=answer.account_version)
        case _:
            assert_never(answer)


def _record_credit_answer(state: Debited, answer: CreditAnswer) -> TransferEvent:
    match answer:
        case RecordCredit():
            return CreditRecorded(account_version=answer.account_version)
        case RecordCreditRejection():
            return CreditRejectionRecorded(
                details=state.details, reason=answer.reason, account_version=answer.account_version
            )
        case _:
            assert_never(answer)


# Which answers a transfer in this state has recorded: a repeat of one is told from an answer that cannot be.
_RECORDED: Final[Mapping[type[Created], frozenset[type[Command]]]] = {
    Initial: frozenset(),
    Debited: frozenset({RecordDebit}),
    Refunding: frozenset({RecordDebit, RecordCreditRejection}),
    Completed: frozenset({RecordDebit, RecordCredit}),
    FailedDueToInsufficientFunds: frozenset({RecordFailedDebit}),
    Rejected: frozenset({RecordDebitRejection}),
    Refunded: frozenset({RecordDebit, RecordCreditRejection, RecordRefund}),
}


# What follows from events.


def evolve(state: TransferState, event: TransferEvent) -> TransferState:
    """The state after the event. Raises `EventCannotFollow`."""
    match state, event:
        case NotCreated(), MoneyTransferCreated():
            return Initial(details=event.details)
        case Initial(), DebitRecorded():
            return Debited(details=state.details)
        case Initial(), FailedDebitRecorded():
            return FailedDueToInsufficientFunds()
        case Initial(), DebitRejectionRecorded():
            return Rejected()
        case Debited(), CreditRecorded():
            return Completed()
        case Debited(), CreditRejectionRecorded():
            return Refunding()
        case Refunding(), RefundRecorded():
            return Refunded()
        case _:
            raise EventCannotFollow(state=state, event=event)


MONEY_TRANSFER: Final = Aggregate[TransferState](
    stream_type="transfer",
    initial=NotCreated(),
    decide=decide,
    evolve=evolve,
    state_type=None,  # a transfer has a handful of events: no snapshots
)
