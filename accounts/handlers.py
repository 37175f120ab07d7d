"""The accounts' part of a transfer's saga: each step of a transfer that asks an account for something. Pure.

Invariant: one event leads to one command for one account, and the account always answers with an event. Who asks is
the transfer, so its id is the key: when one of its steps fails, only its own later steps wait behind it.

An operator may discard what this reactor cannot handle; what ends the transfer then is decided where transfers are
(`transfers.handlers`). `CreditRejectionRecorded` has no such end: the payer must have the money back, so that a refund
can only be retried.
"""

from __future__ import annotations

from uuid import UUID

from accounts.domain.account import ACCOUNT, CreditAccount, DebitAccount, RefundDebit
from eventstore.events import RecordedEvent
from eventstore.subscriptions.registry import Execute, Follows, handles, subscriber
from transfers.published.events import CreditRejectionRecorded, DebitRecorded, MoneyTransferCreated


def _transfer(recorded: RecordedEvent[MoneyTransferCreated | DebitRecorded | CreditRejectionRecorded]) -> UUID:
    return recorded.stream_id


def _paying_account(event: MoneyTransferCreated | CreditRejectionRecorded) -> UUID:
    return event.details.from_account_id


def _receiving_account(event: DebitRecorded) -> UUID:
    return event.details.to_account_id


@subscriber(id="accounts.saga", follows=Follows.ROUTE, key=_transfer)
class AccountsSaga:
    """What the accounts do about a transfer."""

    @handles(MoneyTransferCreated, route=_paying_account)
    def debit(self, recorded: RecordedEvent[MoneyTransferCreated]) -> Execute:
        """The transfer was released: take its amount from the paying account."""
        details = recorded.data.details
        return Execute(
            aggregate=ACCOUNT,
            stream_id=details.from_account_id,
            command=DebitAccount(
                transfer_id=recorded.stream_id,
                amount=details.amount,
                currency=details.currency,
                counterparty_account_id=details.to_account_id,
                description=details.description,
            ),
        )

    @handles(DebitRecorded, route=_receiving_account)
    def credit(self, recorded: RecordedEvent[DebitRecorded]) -> Execute:
        """The paying account gave the amount: put it into the receiving one."""
        details = recorded.data.details
        return Execute(
            aggregate=ACCOUNT,
            stream_id=details.to_account_id,
            command=CreditAccount(
                transfer_id=recorded.stream_id,
                amount=details.amount,
                currency=details.currency,
                counterparty_account_id=details.from_account_id,
                description=details.description,
            ),
        )

    @handles(CreditRejectionRecorded, route=_paying_account)
    def refund(self, recorded: RecordedEvent[CreditRejectionRecorded]) -> Execute:
        """The receiving account refused: give the amount back to the paying one."""
        details = recorded.data.details
        return Execute(
            aggregate=ACCOUNT,
            stream_id=details.from_account_id,
            command=RefundDebit(
                transfer_id=recorded.stream_id,
                amount=details.amount,
                counterparty_account_id=details.to_account_id,
            ),
        )
