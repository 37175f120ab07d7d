"""Fixtures of the page tests: people at their desks, and a bank with some history."""

from __future__ import annotations

from uuid import UUID

import pytest

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch
from tests.integration.pages.desk import Desk
from views_readmodel import queries


@pytest.fixture
def teller(committed_db: Database) -> Desk:
    return Desk(Role.TELLER)


@pytest.fixture
def supervisor(committed_db: Database) -> Desk:
    return Desk(Role.SUPERVISOR)


@pytest.fixture
def counter(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


@pytest.fixture
def bank(counter: Counter) -> dict[str, UUID]:
    """Alice with two accounts' worth of history, and a transfer between two accounts."""
    payer, payee = counter.account("500.00"), counter.account("100.00", title="Savings")
    dispatch()
    for _ in range(30):
        counter.post(f"accounts/{payer}/deposits", {"amount": "1.00", "description": "Coins"})
    transfer = counter.transfer(payer, payee, "150.00", description="Rent")
    dispatch()
    customer = queries.account(account_id=payer)
    assert customer is not None
    return {"payer": payer, "payee": payee, "transfer": transfer, "customer": customer.customer_id}
