"""Pages over a large book: 100,000 entries and more."""

from __future__ import annotations

from time import perf_counter
from uuid import UUID

import pytest
from django.db import connection

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch
from tests.integration.multiplied import multiply
from tests.integration.pages.desk import Desk
from tests.integration.pages.test_shape import addresses
from views_readmodel import queries

ENTRIES = 100_000
MOST_SECONDS = 0.2
ROUNDS = 5


@pytest.fixture
def large_book(fresh_database: Database) -> dict[str, UUID]:
    """A busy account among many."""
    teller = Counter(Role.TELLER)
    payer, payee = teller.account("500000.00"), teller.account("100.00", title="Savings")
    dispatch()
    for _ in range(40):
        teller.post(f"accounts/{payer}/deposits", {"amount": "1.00", "description": "Coins"})
        transfer = teller.transfer(payer, payee, "1.00", description="Rent")
    dispatch()
    multiply(fresh_database, copies=ENTRIES // 100)
    account = queries.account(account_id=payer)
    assert account is not None
    return {"payer": payer, "payee": payee, "transfer": transfer, "customer": account.customer_id}


def test_every_page_is_made_in_time(large_book: dict[str, UUID]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM readmodel.entry")
        assert cursor.fetchone()[0] >= ENTRIES
    desk = Desk(Role.SUPERVISOR)
    took: dict[str, float] = {}
    for address in addresses(large_book):
        rounds = []
        for _ in range(ROUNDS):
            began = perf_counter()
            assert desk.client.get(address).status_code == 200
            rounds.append(perf_counter() - began)
        took[address] = min(rounds)
    assert max(took.values()) < MOST_SECONDS, took
