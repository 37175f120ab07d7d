"""What each page costs over a large book, for each role: how many queries. How long that takes, `make bench` says."""

from __future__ import annotations

import pytest

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.pages.desk import Desk
from tests.integration.pages.large_book import BUSY_ENTRIES, COPIES, admin_addresses, count_entries, large_book
from tests.integration.pages.test_shape import MOST_QUERIES, addresses

ROLES = (Role.TELLER, Role.SUPERVISOR, Role.AUDITOR, Role.OPERATOR)
SHOWN = {Role.TELLER: 20, Role.SUPERVISOR: 25, Role.AUDITOR: 15, Role.OPERATOR: 10}
"""How many pages a role sees, at least: the others are refused to it."""


@pytest.fixture
def book(fresh_database: Database) -> dict[str, list[str]]:
    """The addresses of all pages, of the staff and of the admin, over a large book."""
    made = large_book(fresh_database)
    assert count_entries() > BUSY_ENTRIES * COPIES
    return {"pages": addresses(made), "admin": admin_addresses(made)}


def test_no_page_of_a_large_book_takes_more_queries_than_it_may(book: dict[str, list[str]]) -> None:
    too_many: dict[str, int] = {}
    for role in ROLES:
        desk, shown = Desk(role), 0
        for address in book["pages"] + book["admin"]:
            status = desk.get(address).status_code
            assert status in (200, 302, 403, 409), (role, address)
            shown += status == 200
            if desk.queries > MOST_QUERIES:
                too_many[f"{address} as {role}"] = desk.queries
        assert shown >= SHOWN[role], role
    assert too_many == {}
