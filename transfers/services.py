"""The use cases of transfers: one call each, all or nothing.

A transfer is accepted when both accounts exist and have its currency. Both follow from the first events of the
accounts' streams, which never change, so that no lock and no lagging read model is asked. Everything else (balance,
frozen, closed) each account judges itself when the saga comes to it. Called by the API, by forms and by commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import msgspec

from accounts.published.events import AccountOpened
from accounts.published.money import CurrencyMismatch, parse_amount
from eventstore.context import CommandContext
from eventstore.facts import first_events
from eventstore.ids import new_id
from eventstore.refusals import Refusal
from eventstore.store import Answered, EventStore, Unit
from transfers.domain.transfer import MONEY_TRANSFER, CreateTransfer
from transfers.published.events import TransferDetails, TransferStatus

STORE: Final = EventStore()


class AcceptedTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that was accepted: it will come to an end, whichever that is."""

    transfer_id: UUID
    state: TransferStatus
    version: int


class AccountNotFound(Refusal):
    """There is no such account."""

    code = "account_not_found"


def create_transfer(
    *,
    context: CommandContext,
    from_account_id: UUID,
    to_account_id: UUID,
    amount: str,
    currency: str | None = None,
    description: str = "",
    reference: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Answered[AcceptedTransfer]:
    """Sends a transfer on its way. `amount` is text with the decimals of the accounts' currency.

    Raises `AccountNotFound`, `SameAccount`, `CurrencyMismatch`, `LimitExceeded`, and `InvalidValue` for a field that no
    transfer can have.
    """

    def work(unit: Unit) -> AcceptedTransfer:
        payer, payee = _accounts(from_account_id, to_account_id)
        if currency not in (None, payer.currency):
            raise CurrencyMismatch
        details = TransferDetails(
            from_account_id=from_account_id,
            to_account_id=to_account_id,
            amount=parse_amount(amount, payer.currency),
            currency=payer.currency,
            initiated_by=context.metadata.actor,
            description=description,
            reference=reference,
            metadata=dict(metadata or {}),
        )
        command = CreateTransfer(details=details, from_currency=payer.currency, to_currency=payee.currency)
        created = MONEY_TRANSFER.decide(MONEY_TRANSFER.initial, command)
        made = unit.save(MONEY_TRANSFER, created, stream_id=new_id(), metadata=context.metadata)
        return AcceptedTransfer(transfer_id=made.stream_id, state=TransferStatus.INITIAL, version=made.version)

    return STORE.run_once(context.claim, work, answer_type=AcceptedTransfer)


def transfer_now(*, transfer_id: UUID) -> AcceptedTransfer:
    """Where the transfer stands, from its events. Raises `StreamNotFound`."""
    loaded = STORE.find(MONEY_TRANSFER, transfer_id)
    return AcceptedTransfer(transfer_id=transfer_id, state=loaded.state.status, version=loaded.version)


def _accounts(*account_ids: UUID) -> list[AccountOpened]:
    """What was true of the accounts when they were opened, and is for ever. Raises `AccountNotFound`."""
    first = first_events(account_ids, using=STORE.using)
    found = [first[id].data for id in account_ids if id in first]
    opened = [data for data in found if isinstance(data, AccountOpened)]
    if len(opened) != len(account_ids):
        raise AccountNotFound
    return opened
