"""What a transfer says of itself, held against what the accounts say they did for it. Pure.

The accounts' events are what happened to the money; the transfer only records it. At any position of the log the
accounts may be one answer ahead of the transfer, never behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from accounts.published.events import (
    AccountCredited,
    AccountCreditRejected,
    AccountDebited,
    AccountDebitFailedDueToInsufficientFunds,
    AccountDebitRefunded,
    AccountDebitRejected,
)
from eventstore.events import Event
from eventstore.verification.findings import Difference, shown
from transfers.published.events import (
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    RefundRecorded,
    TransferStatus,
)


class Answer(StrEnum):
    """What an account may do for a transfer."""

    DEBIT = "debit"
    FAILED_DEBIT = "failed debit"
    REJECTED_DEBIT = "rejected debit"
    CREDIT = "credit"
    REJECTED_CREDIT = "rejected credit"
    REFUND = "refund"


GIVEN_BY: Final[Mapping[type[Event], Answer]] = MappingProxyType(
    {
        AccountDebited: Answer.DEBIT,
        AccountDebitFailedDueToInsufficientFunds: Answer.FAILED_DEBIT,
        AccountDebitRejected: Answer.REJECTED_DEBIT,
        AccountCredited: Answer.CREDIT,
        AccountCreditRejected: Answer.REJECTED_CREDIT,
        AccountDebitRefunded: Answer.REFUND,
    }
)
"""The account events of a transfer."""

RECORDED_BY: Final[Mapping[type[Event], Answer]] = MappingProxyType(
    {
        DebitRecorded: Answer.DEBIT,
        FailedDebitRecorded: Answer.FAILED_DEBIT,
        DebitRejectionRecorded: Answer.REJECTED_DEBIT,
        CreditRecorded: Answer.CREDIT,
        CreditRejectionRecorded: Answer.REJECTED_CREDIT,
        RefundRecorded: Answer.REFUND,
    }
)
"""The transfer's events that record them."""

_DEBITED: Final = (Answer.DEBIT,)
_CREDITED: Final = (Answer.DEBIT, Answer.CREDIT)
_REFUSED: Final = (Answer.DEBIT, Answer.REJECTED_CREDIT)
_REFUNDED: Final = (Answer.DEBIT, Answer.REJECTED_CREDIT, Answer.REFUND)
_FAILED: Final = (Answer.FAILED_DEBIT,)
_REJECTED: Final = (Answer.REJECTED_DEBIT,)

LEGAL: Final[Mapping[TransferStatus, Sequence[Sequence[Answer]]]] = MappingProxyType(
    {
        TransferStatus.INITIAL: ((), _DEBITED, _FAILED, _REJECTED),
        TransferStatus.DEBITED: (_DEBITED, _CREDITED, _REFUSED),
        TransferStatus.REFUNDING: (_REFUSED, _REFUNDED),
        TransferStatus.COMPLETED: (_CREDITED,),
        TransferStatus.REFUNDED: (_REFUNDED,),
        TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS: (_FAILED,),
        TransferStatus.REJECTED: (_REJECTED,),
    }
)
"""What the accounts may have answered, in this order, when a transfer is in a status."""

_OF_THE_RECEIVER: Final = frozenset({Answer.CREDIT, Answer.REJECTED_CREDIT})
_MOVING: Final = frozenset({Answer.DEBIT, Answer.CREDIT, Answer.REFUND})
_GIVEN_BY_OPERATORS: Final = frozenset({Answer.REJECTED_DEBIT, Answer.REJECTED_CREDIT})


class Said(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """What a transfer says of itself, up to the position that is checked."""

    transfer_id: UUID
    version: int
    status: TransferStatus | None  # None: it cannot be read, and nothing follows
    from_account_id: UUID | None = None
    to_account_id: UUID | None = None
    amount: int = 0  # minor units
    currency: str = ""
    recorded: dict[Answer, int] = {}  # the account's version at each answer; 0 where an operator answered instead


class Done(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """What an account did for a transfer."""

    transfer_id: UUID
    answer: Answer
    account_id: UUID
    version: int
    position: int
    amount: int  # minor units
    currency: str  # of the account; empty when its first event cannot be read
    counterparty_account_id: UUID | None

    @property
    def stream(self) -> str:
        """How a difference names the account."""
        return f"account/{self.account_id}"


class Story(NamedTuple):
    """All there is of one transfer; what was done is in the order of the log."""

    transfer_id: UUID
    said: Said | None
    done: Sequence[Done]

    @property
    def in_flight(self) -> int:
        """What was taken from one account and is in no other, in minor units, by the transfer's own word."""
        answers = {done.answer for done in self.done}
        debited = Answer.DEBIT in answers and answers.isdisjoint({Answer.CREDIT, Answer.REFUND})
        return self.said.amount if debited and self.said is not None else 0


def judge(story: Story) -> Iterator[Difference]:
    """Everything in which a transfer and its accounts contradict each other."""
    said = story.said
    if said is None:
        for done in story.done:
            yield _about(done, "transfer_id", "a transfer that exists", done.transfer_id)
        return
    if said.status is None:
        return
    legal = [_without(answers, said) for answers in LEGAL[said.status]]
    actual = tuple(done.answer for done in story.done)
    if actual not in legal:
        yield Difference(
            stream=f"transfer/{said.transfer_id}",
            version=said.version,
            field=f"account events of a transfer that is {said.status.value}",
            expected=" or ".join(map(_in_words, legal)),
            actual="; ".join(_located(done) for done in story.done) or _in_words(()),
        )
    for done in story.done:
        yield from _contradictions(said, done)


def _without(answers: Sequence[Answer], said: Said) -> tuple[Answer, ...]:
    """The answers but for those that an operator gave in the account's place."""
    given = {answer for answer in _GIVEN_BY_OPERATORS if said.recorded.get(answer) == 0}
    return tuple(answer for answer in answers if answer not in given)


def _contradictions(said: Said, done: Done) -> Iterator[Difference]:
    accounts = (said.from_account_id, said.to_account_id)
    account_id, counterparty_id = reversed(accounts) if done.answer in _OF_THE_RECEIVER else accounts
    if done.account_id != account_id:
        yield _about(done, f"account of the {done.answer.value}", account_id, done.account_id)
    if done.counterparty_account_id not in (None, counterparty_id):
        yield _about(done, "counterparty_account_id", counterparty_id, done.counterparty_account_id)
    if done.amount != said.amount:
        yield _about(done, "amount", said.amount, done.amount)
    if done.answer in _MOVING and done.currency != said.currency:
        yield _about(done, "currency", said.currency, done.currency)
    version = said.recorded.get(done.answer, done.version)
    if version != done.version:
        yield Difference(
            stream=f"transfer/{said.transfer_id}",
            field=f"account_version of the {done.answer.value}",
            expected=shown(done.version),
            actual=shown(version),
        )


def _about(done: Done, field: str, expected: object, actual: object) -> Difference:
    return Difference(
        stream=done.stream,
        version=done.version,
        position=done.position,
        field=field,
        expected=shown(expected),
        actual=shown(actual),
    )


def _in_words(answers: Sequence[Answer]) -> str:
    return ", ".join(answer.value for answer in answers) or "nothing"


def _located(done: Done) -> str:
    return f"{done.answer.value} at {done.stream} version {done.version}"
