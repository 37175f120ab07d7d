"""The transfers' part of the saga: each answer of an account is recorded in the transfer that asked. Pure.

Invariant: one event leads to one command for one transfer. The transfer is the key: when one of its answers cannot be
recorded, only its own later answers wait behind it.

**What an operator may discard.** A transfer must end, and its end must agree with what the accounts did. So only the
two questions to an account may be given up, as long as the account has not answered: an unasked debit ends as a
rejected one, an unasked credit is paid back. Three things keep that true. An event is parked only when its handling was
rolled back, so the account did nothing. The parked key is locked, so no retry runs beside the discard. And what the
discard records has the id that the account's answer would have had, so that if there were an answer after all, the
store would refuse the discard. An account's answer itself (it is history) and a refund (the payer's money) have no such
end: they can only be retried, once what is broken has been mended.
"""

from __future__ import annotations

from uuid import UUID

from accounts.published.events import (
    AccountCredited,
    AccountCreditRejected,
    AccountDebited,
    AccountDebitFailedDueToInsufficientFunds,
    AccountDebitRefunded,
    AccountDebitRejected,
)
from eventstore.events import RecordedEvent
from eventstore.subscriptions.registry import Execute, Follows, discards, handles, subscriber
from transfers.domain.transfer import (
    MONEY_TRANSFER,
    RecordCredit,
    RecordCreditRejection,
    RecordDebit,
    RecordDebitRejection,
    RecordFailedDebit,
    RecordRefund,
    TransferStep,
)
from transfers.published.events import DISCARDED_BY_OPERATOR, DebitRecorded, MoneyTransferCreated

Answer = (
    AccountDebited
    | AccountDebitFailedDueToInsufficientFunds
    | AccountDebitRejected
    | AccountCredited
    | AccountCreditRejected
    | AccountDebitRefunded
)


def _transfer(event: Answer) -> UUID:
    return event.transfer_id


def _transfer_of(recorded: RecordedEvent[Answer]) -> UUID:
    return _transfer(recorded.data)


def _record(recorded: RecordedEvent[Answer], step: TransferStep) -> Execute:
    return Execute(aggregate=MONEY_TRANSFER, stream_id=_transfer_of(recorded), command=step)


@subscriber(id="transfers.saga", follows=Follows.ROUTE, key=_transfer_of)
class TransfersSaga:
    """What a transfer makes of the accounts' answers."""

    @handles(AccountDebited, route=_transfer)
    def record_debit(self, recorded: RecordedEvent[AccountDebited]) -> Execute:
        """The paying account gave the amount."""
        return _record(recorded, RecordDebit(account_version=recorded.version))

    @handles(AccountDebitFailedDueToInsufficientFunds, route=_transfer)
    def record_failed_debit(self, recorded: RecordedEvent[AccountDebitFailedDueToInsufficientFunds]) -> Execute:
        """The paying account does not hold the amount."""
        return _record(recorded, RecordFailedDebit(account_version=recorded.version))

    @handles(AccountDebitRejected, route=_transfer)
    def record_debit_rejection(self, recorded: RecordedEvent[AccountDebitRejected]) -> Execute:
        """The paying account refused."""
        step = RecordDebitRejection(reason=recorded.data.reason, account_version=recorded.version)
        return _record(recorded, step)

    @handles(AccountCredited, route=_transfer)
    def record_credit(self, recorded: RecordedEvent[AccountCredited]) -> Execute:
        """The receiving account has the amount."""
        return _record(recorded, RecordCredit(account_version=recorded.version))

    @handles(AccountCreditRejected, route=_transfer)
    def record_credit_rejection(self, recorded: RecordedEvent[AccountCreditRejected]) -> Execute:
        """The receiving account refused."""
        step = RecordCreditRejection(reason=recorded.data.reason, account_version=recorded.version)
        return _record(recorded, step)

    @handles(AccountDebitRefunded, route=_transfer)
    def record_refund(self, recorded: RecordedEvent[AccountDebitRefunded]) -> Execute:
        """The paying account has the amount back."""
        return _record(recorded, RecordRefund(account_version=recorded.version))

    @discards(MoneyTransferCreated, of="accounts.saga")
    def end_without_debit(self, recorded: RecordedEvent[MoneyTransferCreated]) -> Execute:
        """The paying account could not be asked: the transfer ends as if it had refused."""
        step = RecordDebitRejection(reason=DISCARDED_BY_OPERATOR, account_version=0)
        return Execute(aggregate=MONEY_TRANSFER, stream_id=recorded.stream_id, command=step)

    @discards(DebitRecorded, of="accounts.saga")
    def end_without_credit(self, recorded: RecordedEvent[DebitRecorded]) -> Execute:
        """The receiving account could not be asked: the payer gets the amount back."""
        step = RecordCreditRejection(reason=DISCARDED_BY_OPERATOR, account_version=0)
        return Execute(aggregate=MONEY_TRANSFER, stream_id=recorded.stream_id, command=step)
