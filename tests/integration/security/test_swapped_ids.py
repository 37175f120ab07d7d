"""Ids in the place of others: no request reaches what its address does not name, or what is somebody else's."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.bad_input.api import Bank, Operation, operations
from tests.integration.bad_input.written import nothing_is_written
from tests.integration.counter import Counter
from tests.integration.pages.desk import Desk

SESSIONS = "public.django_session"  # where the note is kept that nothing was found


@pytest.fixture
def bank(committed_db: Database) -> Bank:
    """A bank of the test's own."""
    return Bank()


def _kinds(bank: Bank) -> dict[str, str]:
    return {
        "customer_id": bank.customer,
        "account_id": bank.payer,
        "entry_id": bank.entry,
        "transfer_id": bank.transfer,
        "of nothing": str(uuid4()),
    }


@pytest.mark.parametrize(
    "operation", [found for found in operations() if found.parameters_in("path")], ids=lambda found: found.id
)
def test_an_id_of_another_kind_names_nothing(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    for name in operation.parameters_in("path"):
        for kind, id in _kinds(bank).items():
            if kind != name:
                swapped = replace(good, ids={**good.ids, name: id})
                with nothing_is_written():
                    answered = bank.send(swapped)
                assert answered.status_code == 404, (name, kind, answered.content)
                assert answered.json()["code"] == "not_found"


def test_an_entry_is_reversed_on_its_own_account_alone(bank: Bank) -> None:
    supervisor = bank.counters[Role.SUPERVISOR]
    with nothing_is_written():
        for account in (bank.payee, bank.empty, bank.frozen):
            path = f"accounts/{account}/entries/{bank.entry}/reverse"
            assert supervisor.post(path, {"reason": "Mallory"}).status_code == 404
    assert supervisor.post(f"accounts/{bank.payer}/entries/{bank.entry}/reverse", {"reason": "x"}).status_code == 201


def test_a_body_cannot_name_what_it_is_not(bank: Bank) -> None:
    teller = bank.counters[Role.TELLER]
    kinds = [id for kind, id in _kinds(bank).items() if kind != "account_id"]
    with nothing_is_written():
        for payer, payee in [*product(kinds, [bank.payee]), *product([bank.payer], kinds), (bank.payer, bank.payer)]:
            asked = {"from_account_id": payer, "to_account_id": payee, "amount": "1.00"}
            assert teller.post("transfers", asked).status_code in {404, 422}, (payer, payee)
        for customer in (bank.payer, bank.entry, bank.transfer, str(uuid4())):
            asked = {"customer_id": customer, "title": "Mallory", "currency": "EUR"}
            assert teller.post("accounts", asked).status_code in {404, 422}, customer


def test_another_s_key_neither_shows_nor_replays_their_answer(bank: Bank) -> None:
    one, other = Counter(Role.TELLER, name="one-teller"), Counter(Role.TELLER, name="other-teller")
    key, asked = str(uuid4()), {"amount": "1.00"}
    first = one.post(f"accounts/{bank.payer}/deposits", asked, key=key)
    second = other.post(f"accounts/{bank.payer}/deposits", asked, key=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["entry_id"] != second.json()["entry_id"]


def test_the_draft_of_a_transfer_is_its_author_s_alone(bank: Bank) -> None:
    author, other = Desk(Role.TELLER), Desk(Role.SUPERVISOR)
    numbers = [author.get(f"/accounts/{id}").context["account"].number for id in (bank.payer, bank.payee)]
    typed = {"from_account": numbers[0], "to_account": numbers[1], "amount": "1.00", "description": "Rent"}
    review: Any = author.fill_in("/transfers/new", **typed)
    assert review.status_code == 303
    address = review.headers["Location"]
    with nothing_is_written(but=SESSIONS):
        shown = other.get(address)
        assert b"Rent" not in shown.content
        other.send(address, author.form(address))
    assert author.send(address, author.form(address)).status_code == 303
