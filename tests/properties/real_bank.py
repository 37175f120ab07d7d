"""Drives the real bank, on a real database: commands, single steps of dispatching, and everything that can be read.

It decides nothing; what must come of a command is said in `expected_bank`. Imported by this package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection

from accounts import services as accounts
from accounts.domain.account import ACCOUNT
from accounts.published.money import format_amount
from eventstore import loading, sequencer
from eventstore.context import CommandContext
from eventstore.dispatch import drain
from eventstore.events import RecordedEvent
from eventstore.idempotency import Claim
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.registry import events as event_registry
from eventstore.rows import EventRow, decode_rows
from eventstore.snapshots import Loaded
from eventstore.store import Answered, EventStore
from eventstore.subscriptions import checkpoints
from eventstore.subscriptions.registry import subscriptions
from eventstore.subscriptions.runner import Progress, advance
from tests.properties.expected_bank import TITLE
from transfers import services as transfers
from transfers.published.events import TransferDetails

ACTOR: Final = "staff:carol"

Ask = Callable[[CommandContext], Answered[Any]]

# What was recorded after an event, in the order of insertion: here one process writes, so it is that of the commits.
_SELECT_EVENTS_AFTER = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event WHERE id > %s ORDER BY id
"""
_SELECT_LAST_ID = "SELECT coalesce(max(id), 0) FROM eventstore_event"

# Every row that a refused command could have touched, byte by byte.
_SELECT_CONTENT = """
SELECT
    (SELECT md5(string_agg(e::text, '' ORDER BY e.id)) FROM eventstore_event e WHERE e.id > %s),
    (SELECT md5(string_agg(o::text, '' ORDER BY o.event_id)) FROM eventstore_outbox o),
    (SELECT md5(string_agg(s::text, '' ORDER BY s.id)) FROM eventstore_snapshot s),
    (SELECT md5(string_agg(i::text, '' ORDER BY i.id)) FROM eventstore_idempotency_record i),
    (SELECT count(*) FROM eventstore_log),
    (SELECT count(*) FROM eventstore_subject_key)
"""

# As if all there is had been handled, where it cannot be: a broken bank's example leaves nothing to the next.
_FORGET_PARKED = "DELETE FROM eventstore_parked_event"
_FORGET_PARKED_KEYS = "DELETE FROM eventstore_parked_key"
_MOVE_TO_HEAD = """
UPDATE eventstore_checkpoint
SET position = (SELECT position FROM eventstore_sequencer), attempts = 0, careful_until = NULL, held_until = NULL
"""

# As if the last handlings had been forgotten, though not their effects.
_SET_BACK = """
UPDATE eventstore_checkpoint SET position = GREATEST(position - %s, %s) WHERE subscription = %s
"""

_SELECT_TROUBLE = """
SELECT subscription, error FROM eventstore_parked_key
UNION ALL
SELECT subscription, held_reason FROM eventstore_checkpoint WHERE held_reason <> ''
"""

_SELECT_ACCOUNTS = """
SELECT account_id, balance, state, version FROM readmodel.account WHERE account_id = ANY(%s)
"""
_SELECT_ENTRIES = """
SELECT account_id, version, amount, balance_after FROM readmodel.entry WHERE account_id = ANY(%s) ORDER BY version
"""
_SELECT_TRANSFERS = """
SELECT transfer_id, state, version FROM readmodel.transfer WHERE transfer_id = ANY(%s)
"""
_SELECT_STEPS = """
SELECT transfer_id, event_id FROM readmodel.transfer_step WHERE transfer_id = ANY(%s) ORDER BY version
"""


class Request(NamedTuple):
    """What was asked, under which key, and what was answered."""

    claim: Claim
    ask: Ask
    answer: Any

    def repeat(self, *, fingerprint: bytes | None = None) -> Answered[Any]:
        """Asks again with the same key; with a fingerprint, as if for something else."""
        claim = self.claim if fingerprint is None else msgspec.structs.replace(self.claim, fingerprint=fingerprint)
        return self.ask(_context(claim))


class AccountShown(NamedTuple):
    """An account and its entries as the read models show them."""

    balance: int
    state: str
    version: int
    entries: list[tuple[int, int, int]]  # version, amount, balance after


class TransferShown(NamedTuple):
    """A transfer and its steps as the read models show them."""

    state: str
    version: int
    steps: list[UUID]


class RealBank:
    """The bank under test, from a point in its history on that counts as its beginning."""

    def __init__(self) -> None:
        self.store = EventStore()
        self.requests: list[Request] = []
        self.customer_id = accounts.register_customer(context=_context(), name="Alice").value.customer_id
        checkpoints.ensure(subscriptions, using=self.store.using)
        drain(store=self.store)
        with connection.cursor() as cursor:
            for statement in (_FORGET_PARKED, _FORGET_PARKED_KEYS, _MOVE_TO_HEAD):
                cursor.execute(statement)
            cursor.execute(_SELECT_LAST_ID)
            self.first_id = self._seen_id = cursor.fetchone()[0]
            cursor.execute("SELECT position FROM eventstore_sequencer")
            self._first_position = cursor.fetchone()[0]
        loading.cache.clear()

    # --- Requests: each raises what the bank refuses with -----------------------------------------------------

    def open_account(self, currency: str, initial_balance: int) -> UUID:
        """Opens an account."""
        opened = self._request(
            lambda context: accounts.open_account(
                context=context,
                customer_id=self.customer_id,
                title=TITLE,
                currency=currency,
                initial_balance=format_amount(initial_balance, currency),
            )
        )
        account_id: UUID = opened.account_id
        return account_id

    def deposit(self, account_id: UUID, amount: int, currency: str) -> None:
        """Pays cash in."""
        text = format_amount(amount, currency)
        self._request(
            lambda context: accounts.deposit(context=context, account_id=account_id, amount=text, currency=currency)
        )

    def withdraw(self, account_id: UUID, amount: int, currency: str, *, may_pay_out: bool = False) -> None:
        """Pays cash out."""
        text = format_amount(amount, currency)
        self._request(
            lambda context: accounts.withdraw(
                context=context, account_id=account_id, amount=text, currency=currency, may_pay_out=may_pay_out
            )
        )

    def reverse(self, account_id: UUID, entry_id: UUID, reason: str) -> None:
        """Undoes a cash entry."""
        self._request(
            lambda context: accounts.reverse_entry(
                context=context, account_id=account_id, entry_id=entry_id, reason=reason
            )
        )

    def freeze(self, account_id: UUID, reason: str) -> None:
        """Freezes an account."""
        self._request(lambda context: accounts.freeze_account(context=context, account_id=account_id, reason=reason))

    def unfreeze(self, account_id: UUID, reason: str) -> None:
        """Unfreezes an account."""
        self._request(lambda context: accounts.unfreeze_account(context=context, account_id=account_id, reason=reason))

    def close(self, account_id: UUID, reason: str) -> None:
        """Closes an account."""
        self._request(lambda context: accounts.close_account(context=context, account_id=account_id, reason=reason))

    def transfer(self, details: TransferDetails) -> None:
        """Sends a transfer on its way."""
        self._request(
            lambda context: transfers.create_transfer(
                context=context,
                from_account_id=details.from_account_id,
                to_account_id=details.to_account_id,
                amount=format_amount(details.amount, details.currency),
                currency=details.currency,
                description=details.description,
            )
        )

    def _request(self, ask: Ask) -> Any:
        """Asks once, with a key of its own; keeps what was asked and answered, so that it can be asked again."""
        claim = Claim(principal=ACTOR, key=str(len(self.requests)) + str(new_id()), fingerprint=b"this")
        answered = ask(_context(claim))
        assert not answered.replayed
        self.requests.append(Request(claim=claim, ask=ask, answer=answered.value))
        return answered.value

    # --- Dispatching, in pieces -------------------------------------------------------------------------------

    def sequence(self, *, limit: int) -> None:
        """Gives some of the committed events their positions."""
        sequencer.sequence(using=self.store.using, limit=limit)

    def advance(self, subscription_id: str, *, batch_size: int) -> bool:
        """Advances one subscription by one batch; answers whether it moved."""
        moved = False
        for due in checkpoints.due([subscription_id], using=self.store.using):
            subscription = subscriptions.get(due.subscription)
            if subscription is None:
                raise LookupError(due.subscription)
            progress = advance(due.id, subscription, store=self.store, batch_size=batch_size)
            moved |= progress in (Progress.MOVED, Progress.FULL)
        return moved

    def drain(self, *, batch_size: int | None = None) -> None:
        """Dispatches until nothing is left."""
        assert drain(store=self.store, batch_size=batch_size), "there is something left"

    def set_back(self, subscription_id: str, *, by: int) -> None:
        """Has a subscription handle its last events again."""
        with connection.cursor() as cursor:
            cursor.execute(_SET_BACK, [by, self._first_position, subscription_id])

    def forget_states(self) -> None:
        """What another process would know: nothing."""
        loading.cache.clear()

    # --- What can be read -------------------------------------------------------------------------------------

    def news(self) -> list[RecordedEvent[Any]]:
        """What was recorded since the last time this was asked."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_EVENTS_AFTER, [self._seen_id])
            rows = [EventRow(*row) for row in cursor]
            cursor.execute(_SELECT_LAST_ID)
            self._seen_id = cursor.fetchone()[0]
        return decode_rows(rows, registry=event_registry, using=self.store.using)

    def content(self) -> tuple[Any, ...]:
        """A digest of everything that a command can write."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_CONTENT, [self.first_id])
            found: tuple[Any, ...] = cursor.fetchone()
            return found

    def states(self, account_ids: Collection[UUID]) -> dict[UUID, Loaded]:
        """The accounts as a command would find them now."""
        return self.store.load_many(dict.fromkeys(account_ids, ACCOUNT))

    def state_at(self, account_id: UUID, version: int) -> Any:
        """An account as it was."""
        return self.store.find_at(ACCOUNT, account_id, version=version).state

    def trouble(self) -> list[tuple[str, str]]:
        """What is parked or held, and why."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_TROUBLE)
            return list(cursor.fetchall())

    def accounts_shown(self, account_ids: Collection[UUID]) -> dict[UUID, AccountShown]:
        """The accounts that the read models have so far."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_ACCOUNTS, [list(account_ids)])
            shown = {id: AccountShown(balance, state, version, []) for id, balance, state, version in cursor}
            cursor.execute(_SELECT_ENTRIES, [list(account_ids)])
            for account_id, version, amount, balance_after in cursor:
                assert account_id in shown, f"entries are shown of account {account_id}, which is not"
                shown[account_id].entries.append((version, amount, balance_after))
        return shown

    def transfers_shown(self, transfer_ids: Collection[UUID]) -> dict[UUID, TransferShown]:
        """The transfers that the read models have so far."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_TRANSFERS, [list(transfer_ids)])
            shown = {id: TransferShown(state, version, []) for id, state, version in cursor}
            cursor.execute(_SELECT_STEPS, [list(transfer_ids)])
            for transfer_id, event_id in cursor:
                assert transfer_id in shown, f"steps are shown of transfer {transfer_id}, which is not"
                shown[transfer_id].steps.append(event_id)
        return shown


def _context(claim: Claim | None = None) -> CommandContext:
    metadata = Metadata(actor=ACTOR, correlation_id=new_id(), origin="tests")
    return CommandContext(metadata=metadata, claim=claim)
