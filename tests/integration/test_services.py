"""The services: what they cost, and what holds however they are called."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from stdnum import damm

from accounts import services as accounts
from accounts.domain.account import InsufficientFunds
from accounts.numbers import is_number, next_number
from accounts.services import EntryAlreadyReversed
from eventstore import facts
from eventstore.context import CommandContext
from eventstore.facts import events_by_id, first_events
from eventstore.idempotency import Claim, recorded_answer
from eventstore.metadata import Metadata
from tests.conftest import Database
from transfers import services as transfers


def _context(*, claimed: bool = False) -> CommandContext:
    metadata = Metadata(actor="staff:carol", correlation_id=uuid4(), causation_id=uuid4(), origin="command")
    claim = Claim(principal="staff:carol", key=str(uuid4()), fingerprint=b"x")
    return CommandContext(metadata=metadata, claim=claim if claimed else None)


def _customer() -> UUID:
    return accounts.register_customer(context=_context(), name="Alice Abel").value.customer_id


def _account(balance: str = "0.00", *, customer_id: UUID | None = None) -> UUID:
    return accounts.open_account(
        context=_context(),
        customer_id=customer_id or _customer(),
        title="Household",
        currency="EUR",
        initial_balance=balance,
    ).value.account_id


def _statements(work: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        work()
    return [query["sql"] for query in captured]


def test_a_transfer_is_accepted_with_four_statements_and_its_transaction(committed_db: Database) -> None:
    payer, payee = _account("500.00"), _account()

    def transfer() -> None:
        transfers.create_transfer(
            context=_context(claimed=True), from_account_id=payer, to_account_id=payee, amount="1.00"
        )

    transfer()  # now the accounts' first events are known
    statements = [statement.split()[0] for statement in _statements(transfer)]
    assert len(statements) == 6, statements
    assert (statements[0], statements[-1]) == ("BEGIN", "COMMIT")


def test_a_deposit_costs_no_more_statements_as_the_account_grows(committed_db: Database) -> None:
    account_id = _account()

    def deposit() -> None:
        accounts.deposit(context=_context(claimed=True), account_id=account_id, amount="1.00")

    deposit()
    costs = {len(_statements(deposit)) for _ in range(5)}
    assert costs == {8}


def test_it_records_who_did_it_in_which_story(committed_db: Database) -> None:
    context = _context()
    entry = accounts.deposit(context=context, account_id=_account(), amount="1.00").value
    assert events_by_id([entry.entry_id])[entry.entry_id].metadata == context.metadata


def test_it_reverses_an_entry_once_though_two_ask_at_once(committed_db: Database) -> None:
    account_id = _account("5.00")
    entry = accounts.deposit(context=_context(), account_id=account_id, amount="1.00").value
    outcomes: list[Any] = []
    together = Barrier(2)

    def reverse() -> None:
        try:
            together.wait()
            outcomes.append(
                accounts.reverse_entry(
                    context=_context(), account_id=account_id, entry_id=entry.entry_id, reason="x"
                ).value.balance
            )
        except EntryAlreadyReversed as error:
            outcomes.append(type(error))
        finally:
            connections.close_all()

    threads = [Thread(target=reverse) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(["5.00", str(EntryAlreadyReversed)])


def test_it_takes_cash_back_only_while_it_is_there(committed_db: Database) -> None:
    account_id = _account()
    entry = accounts.deposit(context=_context(), account_id=account_id, amount="5.00").value
    accounts.withdraw(context=_context(), account_id=account_id, amount="0.01")
    with pytest.raises(InsufficientFunds):
        accounts.reverse_entry(context=_context(), account_id=account_id, entry_id=entry.entry_id, reason="Wrong till")


@pytest.mark.django_db
def test_no_two_numbers_are_the_same_and_each_catches_a_slip() -> None:
    numbers = [next_number() for _ in range(50)]
    assert len(set(numbers)) == 50
    for number in numbers:
        assert damm.is_valid(number)
        assert is_number(number)
        slipped = str((int(number[0]) + 1) % 10) + number[1:]
        assert not is_number(slipped)
        swapped = number[:6] + number[7] + number[6]
        assert swapped == number or not is_number(swapped)
    assert not is_number("")
    assert not is_number("1000-8")
    assert not is_number("\u0661")


# --- The facts that services rest on --------------------------------------------------------------------------


def test_it_asks_for_a_stream_s_first_event_once(committed_db: Database) -> None:
    account_id = _account()
    assert len(_statements(lambda: first_events([account_id]))) == 1
    assert _statements(lambda: first_events([account_id])) == []
    unknown = uuid4()
    assert first_events([account_id, unknown]).keys() == {account_id}
    assert len(_statements(lambda: first_events([unknown]))) == 1  # it may begin at any time


def test_it_keeps_no_fact_that_holds_a_person_s_name(committed_db: Database) -> None:
    customer_id = _customer()
    first_events([customer_id])
    assert len(_statements(lambda: first_events([customer_id]))) > 0


def test_it_forgets_the_facts_that_were_used_least(committed_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_first_events", facts._FactCache(limit=2))
    customer_id = _customer()
    ids = [_account(customer_id=customer_id) for _ in range(3)]
    first_events(ids[:2])
    first_events([ids[0]])
    first_events([ids[2]])
    assert _statements(lambda: first_events([ids[0], ids[2]])) == []
    assert len(_statements(lambda: first_events([ids[1]]))) == 1


def test_a_repeated_change_of_a_customer_changes_nothing_and_keeps_nothing_personal(committed_db: Database) -> None:
    customer_id, context = _customer(), _context(claimed=True)
    first = accounts.change_customer(context=context, customer_id=customer_id, name="Alice Berg")
    accounts.change_customer(context=_context(), customer_id=customer_id, name="Alice Cole")
    repeated = accounts.change_customer(context=context, customer_id=customer_id, name="Alice Berg")
    assert (repeated.value, repeated.replayed) == (first.value, True)
    assert len(facts.stream_events("customer", customer_id)) == 3
    assert context.claim is not None
    with transaction.atomic():
        kept = recorded_answer(context.claim, using="default")
    assert kept is not None
    assert "Alice" not in kept
