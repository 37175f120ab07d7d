"""Whatever people ask for, and however the rest is dispatched, the bank does what the model says and no money is lost.

Hypothesis makes up the commands and the dispatching: which subscription advances, in what batches, what is forgotten
and handled again. After each step the auditor goes through what was recorded.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from accounts.published.events import AccountOpened
from accounts.published.money import MAX_AMOUNT_MINOR
from eventstore.events import Event, RecordedEvent
from eventstore.idempotency import IdempotencyKeyReused
from eventstore.replay import rebuild
from eventstore.store import EventStore
from eventstore.subscriptions.registry import subscriptions
from eventstore.verification.running import verify
from tests.properties.expected_bank import ACCOUNT_EVENTS_BY_END, ANY_NUMBER, STATUS_AFTER, ExpectedBank
from tests.properties.profile import examples
from tests.properties.real_bank import ACTOR, RealBank
from transfers.published.events import TransferDetails
from views_readmodel.verification.checks import AGGREGATES, ledger_checks

MAX_BALANCE = 1_000
"""Lowered for the test, so that accounts fill up."""
EVERYTHING = 1_000_000
MANY_ACCOUNTS = 7
REASON = "Court order"
NOBODY = UUID("01990000-0000-7000-8000-00000000dead")

CURRENCIES = st.sampled_from(["EUR", "EUR", "EUR", "JPY"])
AMOUNTS = st.one_of(st.integers(1, 400), st.integers(1, 400), st.sampled_from([0, -1, MAX_AMOUNT_MINOR + 1]))
BATCH_SIZES = st.sampled_from([2, 3, 500, 1])
SUBSCRIPTIONS = st.deferred(lambda: st.sampled_from([found.id for found in subscriptions.all()]))
WISHES = st.tuples(st.integers(0, 5), st.sampled_from([1, 10, 20, 40, 99, 100]))  # for whom, how many percent
MEANWHILE = st.sampled_from(["nothing", "freeze", "unfreeze", "fill", "nothing", "unfreeze", "close", "pay out"])
ACCOUNTS: Bundle[UUID] = Bundle("accounts")
ANYBODY = st.one_of(ACCOUNTS, ACCOUNTS, ACCOUNTS, st.just(NOBODY))


class Bank(RuleBasedStateMachine):
    """The real bank beside the expected one."""

    accounts = ACCOUNTS

    def __init__(self) -> None:
        super().__init__()
        self.real = RealBank()
        self.expected = ExpectedBank(max_amount=MAX_AMOUNT_MINOR, max_balance=MAX_BALANCE)
        self._handled_before = sys.exc_info()[1]

    @initialize(target=accounts, balances=st.tuples(*[st.integers(100, 600)] * 4))
    def begin(self, balances: tuple[int, ...]) -> Any:
        """Three who can pay each other, and one in another currency."""
        currencies = ("EUR", "EUR", "EUR", "JPY")
        return multiple(*[self.open(*first) for first in zip(currencies, balances, strict=True)])

    # --- What people ask for ----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.expected.accounts) < MANY_ACCOUNTS)
    @rule(target=accounts, currency=CURRENCIES, initial_balance=st.one_of(st.just(0), AMOUNTS))
    def open_another(self, currency: str, initial_balance: int) -> Any:
        """Opens an account."""
        opened = self.open(currency, initial_balance)
        return multiple() if opened is None else opened

    @rule(payer=accounts, wishes=st.lists(WISHES, min_size=1, max_size=6), meanwhile=MEANWHILE, at_payer=st.booleans())
    def transfer(self, payer: UUID, wishes: list[tuple[int, int]], meanwhile: str, *, at_payer: bool) -> None:
        """Sends parts, in percent, of what an account holds to others; before the money moves, something else comes."""
        account = self.expected.accounts[payer]
        payees = [
            id for id, other in self.expected.accounts.items() if id != payer and other.currency == account.currency
        ]
        for choice, percent in wishes if payees else []:
            payee = payees[choice % len(payees)]
            self.send(payer, payee, account.balance * percent // 100 + 1, account.currency)
            self.administer(payer if at_payer else payee, meanwhile)

    @rule(account=accounts, amount=st.integers(1, 400), paid_in=st.booleans())
    def move_cash(self, account: UUID, amount: int, *, paid_in: bool) -> None:
        """Pays cash in or out."""
        currency = self.expected.accounts[account].currency
        (self.deposit if paid_in else self.withdraw)(account, amount, currency)

    @rule(account=accounts, action=MEANWHILE)
    def administer(self, account: UUID, action: str) -> None:
        """Changes what an account can do."""
        expected = self.expected.accounts[account]
        match action:
            case "freeze":
                self.freeze(account)
            case "unfreeze":
                self.unfreeze(account)
            case "fill":
                self.deposit(account, max(1, MAX_BALANCE - expected.balance), expected.currency)
            case "close":
                self.withdraw(account, max(1, expected.balance), expected.currency)
                self.close(account)
            case "pay out":
                self.pay_out(account, max(1, expected.balance), expected.currency)

    @rule(account=accounts, other=accounts, back=st.integers(1, 4))
    def reverse_an_entry(self, account: UUID, other: UUID, back: int) -> None:
        """Undoes one of the last entries of an account, or tries to with what is no entry of that account."""
        history = self.expected.account_events[other]
        entry = history[-min(back, len(history))]
        due = self.expected.reverse(account, entry, REASON)
        self.command(due, lambda: self.real.reverse(account, entry.event_id, REASON))

    @rule(one=ANYBODY, other=ANYBODY, amount=AMOUNTS, currency=CURRENCIES, kind=st.integers(0, 7))
    def ask_for_anything(self, one: UUID, other: UUID, amount: int, currency: str, kind: int) -> None:
        """A command that may be wrong in any way, or in several."""
        match kind:
            case 0:
                self.deposit(one, amount, currency)
            case 1:
                self.withdraw(one, amount, currency)
            case 2:
                self.freeze(one)
            case 3:
                self.unfreeze(one)
            case 4:
                self.close(one)
            case 5:
                self.pay_out(one, amount, currency)
            case _:
                self.send(one, other, amount, currency)

    @rule(account=accounts)
    def withdraw_one_too_much(self, account: UUID) -> None:
        """Pays out one minor unit more than there is."""
        expected = self.expected.accounts[account]
        self.withdraw(account, expected.balance + 1, expected.currency)

    @precondition(lambda self: self.real.requests)
    @rule(back=st.integers(1, 10))
    def repeat_a_request(self, back: int) -> None:
        """A client that has not heard the answer asks again: it hears the first answer, and nothing happens."""
        request = self.real.requests[-min(back, len(self.real.requests))]
        before = self.real.content()
        again = request.repeat()
        assert (again.replayed, again.value) == (True, request.answer)
        with pytest.raises(IdempotencyKeyReused):
            request.repeat(fingerprint=b"something else")
        assert self.real.content() == before

    def open(self, currency: str, initial_balance: int) -> UUID | None:
        """Opens an account; None when that was refused."""
        due = self.expected.open_account(self.real.customer_id, currency, initial_balance)
        opened: UUID | None = self.command(due, lambda: self.real.open_account(currency, initial_balance))
        return opened

    def deposit(self, account: UUID, amount: int, currency: str) -> None:
        """Pays cash in."""
        due = self.expected.deposit(account, amount, currency)
        self.command(due, lambda: self.real.deposit(account, amount, currency))

    def withdraw(self, account: UUID, amount: int, currency: str) -> None:
        """Pays cash out."""
        due = self.expected.withdraw(account, amount, currency)
        self.command(due, lambda: self.real.withdraw(account, amount, currency))

    def pay_out(self, account: UUID, amount: int, currency: str) -> None:
        """Pays cash out, of a closed account too."""
        due = self.expected.pay_out(account, amount, currency)
        self.command(due, lambda: self.real.withdraw(account, amount, currency, may_pay_out=True))

    def freeze(self, account: UUID) -> None:
        """Stops an account."""
        self.command(self.expected.freeze(account, REASON), lambda: self.real.freeze(account, REASON))

    def unfreeze(self, account: UUID) -> None:
        """Lets an account move money again."""
        self.command(self.expected.unfreeze(account, REASON), lambda: self.real.unfreeze(account, REASON))

    def close(self, account: UUID) -> None:
        """Closes an account."""
        self.command(self.expected.close(account, REASON), lambda: self.real.close(account, REASON))

    def send(self, payer: UUID, payee: UUID, amount: int, currency: str) -> None:
        """Sends money."""
        details = TransferDetails(
            from_account_id=payer,
            to_account_id=payee,
            amount=amount,
            currency=currency,
            description="Rent",
            initiated_by=ACTOR,
        )
        self.command(self.expected.transfer(details), lambda: self.real.transfer(details))

    def command(self, due: Event | str, execute: Callable[[], Any]) -> Any:
        """Executes a command. The event that is due comes of it; or the refusal that is due, and it leaves no trace."""
        self.audit()
        before = self.real.content()
        try:
            answer = execute()
        except Exception as refusal:
            if getattr(refusal, "code", None) != due:
                raise
            assert self.real.content() == before, f"refused ({due}), and yet something was written"
            return None
        assert [_comparable(recorded.data) for recorded in self.audit()] == [due]
        return answer

    # --- How the rest is dispatched ---------------------------------------------------------------------------

    @rule(limit=st.sampled_from([1, 2, 5_000]))
    def sequence(self, limit: int) -> None:
        """Some events get their positions."""
        self.real.sequence(limit=limit)

    @rule(subscription=SUBSCRIPTIONS, batch_size=BATCH_SIZES, rounds=st.integers(1, 3))
    def advance(self, subscription: str, batch_size: int, rounds: int) -> None:
        """One subscription gets its turn, the others do not."""
        self.real.sequence(limit=5_000)
        for _ in range(rounds):
            self.real.advance(subscription, batch_size=batch_size)

    @rule(batch_size=BATCH_SIZES)
    def drain(self, batch_size: int) -> None:
        """Everything is dispatched."""
        self.real.drain(batch_size=batch_size)

    @rule(subscription=SUBSCRIPTIONS, by=st.integers(1, 50))
    def deliver_twice(self, subscription: str, by: int) -> None:
        """A subscription is set back: what it handled comes again."""
        self.real.set_back(subscription, by=by)

    @rule()
    def forget_states(self) -> None:
        """The next command meets a process that has just started."""
        self.real.forget_states()

    # --- What holds after each step ---------------------------------------------------------------------------

    def audit(self) -> list[RecordedEvent[Any]]:
        """Holds each new event against the one that was due."""
        news = self.real.news()
        for recorded in news:
            self.expected.observe(recorded)
        return news

    @invariant()
    def only_what_was_due_is_recorded(self) -> None:
        """Whatever was dispatched, each event in the store is the model's next."""
        self.audit()

    @invariant()
    def money_is_conserved(self) -> None:
        """What the accounts hold and what is between them is what was paid in and not out, and nobody owes."""
        self.audit()
        held: Counter[str] = Counter()
        for account_id, loaded in self.real.states(self.expected.accounts).items():
            expected = self.expected.accounts[account_id]
            found = (loaded.state.balance, loaded.state.status.value, loaded.version)
            assert found == (expected.balance, expected.status, expected.version)
            assert loaded.state.balance >= 0
            held[loaded.state.currency] += loaded.state.balance
        held.update(self.expected.in_flight())
        assert held == self.expected.cash

    @invariant()
    def nothing_is_parked_or_held(self) -> None:
        """No event was too much for a handler, not even one that came twice."""
        assert self.real.trouble() == []

    @invariant()
    def read_models_show_what_was(self) -> None:
        """However late a row is, it shows the bank as it stood at the version that the row names."""
        for account_id, account in self.real.accounts_shown(self.expected.accounts).items():
            history = self.expected.accounts[account_id].history[: account.version]
            assert (account.balance, account.state) == history[-1][1:]
            entries = [(version, *moment[:2]) for version, moment in enumerate(history, 1) if moment.amount]
            assert account.entries == entries
        for transfer_id, transfer in self.real.transfers_shown(self.expected.transfers).items():
            steps = self.expected.transfers[transfer_id].own_events()[: transfer.version]
            assert transfer.steps == [step.event_id for step in steps]
            assert transfer.state == STATUS_AFTER[type(steps[-1].data)]

    # --- What holds in the end --------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Lets everything come to its end, unless a step has failed already."""
        if sys.exc_info()[1] is self._handled_before:
            self.everything_ends()
            self.a_second_delivery_of_everything_changes_nothing()
            self.history_can_be_read_at_every_version()

    def everything_ends(self) -> None:
        """Dispatched to the end: transfers are final, accounts agree with them, read models have caught up."""
        self.real.drain()
        self.only_what_was_due_is_recorded()
        self.nothing_is_parked_or_held()
        self.money_is_conserved()
        for transfer in self.expected.transfers.values():
            assert transfer.status in ACCOUNT_EVENTS_BY_END, f"not final: {transfer.status}"
            assert transfer.account_events() == ACCOUNT_EVENTS_BY_END[transfer.status]
        self.read_models_show_what_was()
        accounts = self.real.accounts_shown(self.expected.accounts)
        assert {id: shown.version for id, shown in accounts.items()} == {
            id: account.version for id, account in self.expected.accounts.items()
        }
        transfers = self.real.transfers_shown(self.expected.transfers)
        assert {id: shown.version for id, shown in transfers.items()} == {
            id: len(transfer.own_events()) for id, transfer in self.expected.transfers.items()
        }

    def a_second_delivery_of_everything_changes_nothing(self) -> None:
        """Every subscription handles the whole story once more."""
        before = self.real.content(), self.real.accounts_shown(self.expected.accounts)
        for subscription in subscriptions.all():
            self.real.set_back(subscription.id, by=EVERYTHING)
        self.real.forget_states()
        self.real.drain(batch_size=7)
        assert (self.real.content(), self.real.accounts_shown(self.expected.accounts)) == before
        self.nothing_is_parked_or_held()
        self.read_models_show_what_was()

    def history_can_be_read_at_every_version(self) -> None:
        """Folded from snapshots or from the beginning, an account is at each version what it was then."""
        for account_id, account in self.expected.accounts.items():
            for version, moment in enumerate(account.history, 1):
                state = self.real.state_at(account_id, version)
                assert (state.balance, state.status.value) == moment[1:]


def _comparable(event: Event) -> Event:
    """The event as far as the model can know it."""
    return msgspec.structs.replace(event, number=ANY_NUMBER) if isinstance(event, AccountOpened) else event


def test_it_does_what_the_model_says_whatever_happens(small_bank: None) -> None:
    run_state_machine_as_test(Bank, settings=examples(20, steps=30))
    # What is left behind is one long history, for whoever looks at all of it at once.
    report = verify(ledger_checks(), aggregates=AGGREGATES, chunk_events=100)
    assert report.clean, [finding for finding in report.findings if finding.differences]
    assert report.complete, [finding for finding in report.findings if finding.not_compared]
    live = _read_models()
    for projection in subscriptions.projections():
        rebuild(projection, store=EventStore(), batch=50)
    assert _read_models() == live


def _read_models() -> list[tuple[str, str]]:
    """Every row of every read model."""
    with connection.cursor() as cursor:
        return [
            (table, shown)
            for projection in subscriptions.projections()
            for table in projection.tables
            for (shown,) in _rows(cursor, projection.schema, table)
        ]


def _rows(cursor: Any, schema: str, table: str) -> list[tuple[str]]:
    name = sql.Identifier(schema, table)
    cursor.execute(sql.SQL("SELECT shown::text FROM {} AS shown ORDER BY 1").format(name))
    rows: list[tuple[str]] = cursor.fetchall()
    return rows
