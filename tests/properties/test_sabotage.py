"""The properties have teeth: a bank with one deliberate defect is found out.

Each saboteur breaks one rule that the bank rests on, in this process only; the state machine must notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from accounts.domain import account
from accounts.published.events import (
    AccountDebited,
    AccountDebitRefunded,
    CashWithdrawn,
    RejectionReason,
    balance_change,
)
from eventstore import sequencer, snapshots
from eventstore.ids import new_id
from eventstore.refusals import EventCannotFollow
from eventstore.store import Cause
from eventstore.subscriptions import checkpoints, handling
from eventstore.subscriptions.registry import Reactor, subscriptions
from tests.properties.profile import THOROUGH, examples
from tests.properties.test_money import Bank
from transfers.published.events import CreditRejectionRecorded
from views_readmodel.projections import accounts as projection

Saboteur = Callable[[pytest.MonkeyPatch], None]


def events_get_new_ids(patch: pytest.MonkeyPatch) -> None:
    """A handler's events no longer derive their ids from the cause: a second delivery moves money again."""
    patch.setattr(Cause, "event_id", lambda *_: new_id())


def known_effects_are_not_skipped(patch: pytest.MonkeyPatch) -> None:
    """A second delivery is refused by the unique index, and parked instead of passed over."""
    patch.setattr(handling, "_without_known", lambda executions, **_: executions)


def refunds_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A refused credit is never paid back."""
    saga = subscriptions.get("accounts.saga")
    assert isinstance(saga, Reactor)
    handlers: Any = saga.handlers
    patch.setitem(handlers, CreditRejectionRecorded, lambda _: None)


def overdrafts_of_one_are_granted_to_transfers(patch: pytest.MonkeyPatch) -> None:
    """An account may go below zero by one minor unit, for a transfer."""
    honest = account._debit

    def debit(state: Any, command: Any) -> Any:
        if isinstance(state, account.Open) and command.amount == state.balance + 1:
            return AccountDebited(
                amount=command.amount,
                balance=-1,
                transfer_id=command.transfer_id,
                counterparty_account_id=command.counterparty_account_id,
                description=command.description,
            )
        return honest(state, command)

    _let_balances_go_below_zero(patch)
    patch.setattr(account, "_debit", debit)


def overdrafts_of_one_are_granted_at_the_counter(patch: pytest.MonkeyPatch) -> None:
    """An account may go below zero by one minor unit, in cash."""

    def withdraw(state: Any, command: Any) -> CashWithdrawn:
        if command.amount > state.balance + 1:
            raise account.InsufficientFunds
        return CashWithdrawn(
            amount=command.amount, balance=state.balance - command.amount, description=command.description
        )

    _let_balances_go_below_zero(patch)
    patch.setattr(account, "_withdraw", withdraw)


def _let_balances_go_below_zero(patch: pytest.MonkeyPatch) -> None:
    def with_balance_after(state: Any, event: Any) -> Any:
        return type(state)(balance=state.balance + balance_change(event), currency=state.currency)

    patch.setattr(account, "_with_balance_after", with_balance_after)


def frozen_accounts_take_credits(patch: pytest.MonkeyPatch) -> None:
    """A frozen account moves money."""
    honest = account._why_not

    def why_not(state: Any, command: Any) -> Any:
        reason = honest(state, command)
        return None if reason == RejectionReason.ACCOUNT_FROZEN else reason

    follow = {**account._MAY_FOLLOW, account.Frozen: account._MAY_FOLLOW[account.Open]}
    patch.setattr(account, "_why_not", why_not)
    patch.setattr(account, "_MAY_FOLLOW", follow)


def repeats_are_done_again(patch: pytest.MonkeyPatch) -> None:
    """The answer to a request is not kept."""
    patch.setattr("eventstore.store.record_answer", lambda *_, **__: None)


def checkpoints_skip_an_event(patch: pytest.MonkeyPatch) -> None:
    """A subscription moves one position too far, now and then."""
    honest = checkpoints.move

    def move(cursor: Any, checkpoint: Any, position: int) -> None:
        honest(cursor, checkpoint, position + (position % 5 == 0))

    patch.setattr(checkpoints, "move", move)


def the_log_is_out_of_order(patch: pytest.MonkeyPatch) -> None:
    """Positions are given in the wrong order."""
    newest_first = sequencer._READ_OUTBOX.replace("ORDER BY event_id", "ORDER BY event_id DESC")
    patch.setattr(sequencer, "_READ_OUTBOX", newest_first)


def projections_add_up(patch: pytest.MonkeyPatch) -> None:
    """A balance is added up from events instead of set by them, those that were handled before included."""
    honest = projection.evolve_account

    def evolve(row: Any, recorded: Any) -> Any:
        after = honest(row, recorded)
        if row is None:
            return after
        # A row is only ever replaced by one of a later version, which would hide the defect.
        version = max(after.version, row.version + 1)
        return replace(after, balance=row.balance + balance_change(recorded.data), version=version)

    patch.setattr(projection, "evolve_account", evolve)


def refunds_are_not_shown(patch: pytest.MonkeyPatch) -> None:
    """A projection forgets one of the events that change a balance."""
    honest = projection.evolve_account

    def evolve(row: Any, recorded: Any) -> Any:
        after = honest(row, recorded)
        return replace(after, balance=row.balance) if isinstance(recorded.data, AccountDebitRefunded) else after

    patch.setattr(projection, "evolve_account", evolve)


def snapshots_are_late(patch: pytest.MonkeyPatch) -> None:
    """A snapshot says that it is one version older than it is."""
    honest = snapshots.take

    def take(taken: Any, *, using: str) -> None:
        honest([(aggregate, replace(loaded, version=loaded.version - 1)) for aggregate, loaded in taken], using=using)

    patch.setattr(snapshots, "take", take)


SABOTEURS: Final[list[Saboteur]] = [
    events_get_new_ids,
    refunds_are_forgotten,
    overdrafts_of_one_are_granted_to_transfers,
    repeats_are_done_again,
    the_log_is_out_of_order,
    projections_add_up,
    snapshots_are_late,
]
MORE_SABOTEURS: Final[list[Saboteur]] = [
    known_effects_are_not_skipped,
    overdrafts_of_one_are_granted_at_the_counter,
    frozen_accounts_take_credits,
    checkpoints_skip_an_event,
    refunds_are_not_shown,
]
"""Found out as well, when there is the time."""


@pytest.mark.parametrize(
    "sabotage", SABOTEURS + (MORE_SABOTEURS if THOROUGH else []), ids=lambda saboteur: saboteur.__name__
)
def test_it_is_found_out_when(sabotage: Saboteur, small_bank: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, EventCannotFollow)):
        run_state_machine_as_test(Bank, settings=settings(examples(60, steps=30), phases=[Phase.generate]))
