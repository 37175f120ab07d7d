"""How a transfer went, told from its steps: what was done, what is being done, what is to come, and why not. Pure.

Invariant: what is told follows from the transfer's own steps and state, never from a clock. Imported by the page of a
transfer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from transfers.published.events import (
    FINAL_STATUSES,
    CreditRecorded,
    CreditRejectionRecorded,
    DebitRecorded,
    DebitRejectionRecorded,
    FailedDebitRecorded,
    MoneyTransferCreated,
    RefundRecorded,
    TransferStatus,
)
from views_readmodel.pages.tags import money
from views_readmodel.pages.wording import what_to_do, why_refused
from views_readmodel.projections.transfers import StepRow
from views_readmodel.queries import AccountView, TransferView


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step, as the stepper shows it."""

    name: str
    status: str  # done, refused, now or to-come
    at: datetime | None = None
    actor: str = ""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    steps: list[Step]
    sentence: str  # what came of it, or where it stands
    advice: str  # what to do about it, or nothing
    is_final: bool
    was_refused: bool


_DONE: Final[Mapping[str, str]] = {
    MoneyTransferCreated.__name__: "Created",
    DebitRecorded.__name__: "Debited",
    CreditRecorded.__name__: "Credited",
    RefundRecorded.__name__: "Refunded",
}
_REFUSED: Final[Mapping[str, str]] = {
    FailedDebitRecorded.__name__: "Not debited",
    DebitRejectionRecorded.__name__: "Not debited",
    CreditRejectionRecorded.__name__: "Not credited",
}
_STILL: Final[Mapping[str, tuple[str, ...]]] = {
    TransferStatus.INITIAL.value: ("Debiting", "Credited"),
    TransferStatus.DEBITED.value: ("Crediting",),
    TransferStatus.REFUNDING.value: ("Refunding",),
}
_FINAL: Final = frozenset(status.value for status in FINAL_STATUSES)


def story_of(transfer: TransferView, *, payer: AccountView | None, payee: AccountView | None) -> Story:
    """The story of a transfer so far."""
    return Story(
        steps=[*map(_step, transfer.steps), *_still(transfer.state)],
        sentence=_sentence(transfer, payer=payer, payee=payee),
        advice=_advice(transfer),
        is_final=transfer.state in _FINAL,
        was_refused=transfer.state in _FINAL and transfer.state != TransferStatus.COMPLETED,
    )


def _step(step: StepRow) -> Step:
    refused = step.event_type in _REFUSED
    name = _REFUSED.get(step.event_type) or _DONE.get(step.event_type) or step.event_type
    return Step(name=name, status="refused" if refused else "done", at=step.recorded_at, actor=step.actor)


def _still(state: str) -> list[Step]:
    names = _STILL.get(state, ())
    return [Step(name=name, status="to-come" if index else "now") for index, name in enumerate(names)]


def _sentence(transfer: TransferView, *, payer: AccountView | None, payee: AccountView | None) -> str:
    amount = f"{money(transfer.amount, transfer.currency)} {transfer.currency}"
    why = why_refused(transfer.failure_reason or "")
    match transfer.state:
        case TransferStatus.INITIAL:
            return f"{amount} is about to leave {_name(payer, 'the paying account')}."
        case TransferStatus.DEBITED:
            return f"{amount} has left {_name(payer, 'the paying account')} and is on its way."
        case TransferStatus.REFUNDING:
            return f"{_name(payee, 'The receiving account')} {why}, so the {amount} is on its way back."
        case TransferStatus.COMPLETED:
            return f"{amount} moved from {_name(payer, 'the paying account')} to {_name(payee, 'the other one')}."
        case TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS:
            return f"Nothing moved: {_name(payer, 'the paying account')} did not hold {amount}."
        case TransferStatus.REJECTED:
            return f"Nothing moved: {_name(payer, 'the paying account')} {why}."
        case TransferStatus.REFUNDED:
            back = f"so the {amount} went back to {_name(payer, 'the paying account')}"
            return f"{_name(payee, 'The receiving account')} {why}, {back}."
        case _:
            return f"{amount}: {transfer.state.replace('_', ' ').lower()}."


def _advice(transfer: TransferView) -> str:
    if transfer.state == TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS:
        return "Move a smaller amount, or deposit first and make the transfer again."
    return what_to_do(transfer.failure_reason or "")


def _name(account: AccountView | None, otherwise: str) -> str:
    if account is None:
        return otherwise
    return f"{account.title} of {account.customer_name}" if account.customer_name else account.title
