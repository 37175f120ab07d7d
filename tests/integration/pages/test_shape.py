"""What a page costs and holds, and that whatever stands in an address is taken."""

from __future__ import annotations

import re
from html import unescape
from unittest.mock import patch
from uuid import UUID

import pytest

from config.staff.roles import Role
from tests.integration.pages.desk import Desk
from views_readmodel import queries

MOST_QUERIES = 12
INLINE = re.compile(r"<[^>]+\s(style|on[a-z]+)\s*=|<style|<script(?![^>]*\ssrc=)|javascript:", re.IGNORECASE)


def addresses(bank: dict[str, UUID]) -> list[str]:
    """Every page that is looked at, in one form or another."""
    payer, customer = bank["payer"], bank["customer"]
    newest = queries.entries(account_id=payer, limit=100)
    cash = next(entry for entry in newest if entry.kind == "deposit")
    return [
        "/",
        "/password",
        "/find",
        "/find?q=Alice",
        f"/find?q={bank['transfer']}",
        "/customers",
        "/customers?search=alice",
        "/customers/register",
        f"/customers/{customer}",
        f"/customers/{customer}/change",
        f"/customers/{customer}/open-account",
        "/accounts",
        "/accounts?search=household&state=OPEN&currency=EUR",
        f"/accounts/{payer}",
        f"/accounts/{payer}?kind=debit",
        f"/accounts/{payer}/statement",
        f"/accounts/{payer}/deposit",
        f"/accounts/{payer}/withdraw",
        f"/accounts/{payer}/freeze",
        f"/accounts/{payer}/close",
        f"/accounts/{payer}/entries/{cash.version}/reverse",
        "/transfers",
        "/transfers?state=COMPLETED",
        "/transfers/new",
        f"/transfers/new?from={payer}",
        "/transfers/accounts?from_account=alice&list=payers",
        f"/transfers/{bank['transfer']}",
    ]


def test_no_page_takes_more_queries_than_it_may(supervisor: Desk, bank: dict[str, UUID]) -> None:
    taken = {}
    for address in addresses(bank):
        assert supervisor.get(address).status_code == (409 if address.endswith("/close") else 200), address
        taken[address] = supervisor.queries
    assert max(taken.values()) <= MOST_QUERIES, taken


def test_nobody_s_home_takes_more_queries_than_it_may(bank: dict[str, UUID]) -> None:
    for role in (Role.TELLER, Role.AUDITOR, Role.OPERATOR):
        desk = Desk(role)
        assert desk.get("/").status_code == 200
        assert desk.queries <= MOST_QUERIES, role


def test_no_page_holds_script_or_style_of_its_own(supervisor: Desk, bank: dict[str, UUID]) -> None:
    for address in [*addresses(bank), "/nowhere"]:
        response = supervisor.get(address)
        assert not INLINE.search(response.content.decode()), address
        policy = response.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "script-src 'self'" in policy
        assert "style-src 'self'" in policy


def test_nothing_that_was_shown_is_kept(supervisor: Desk, bank: dict[str, UUID]) -> None:
    for address in addresses(bank):
        assert "no-store" in supervisor.get(address).headers["Cache-Control"], address


def test_lists_go_on_where_they_stopped(teller: Desk, bank: dict[str, UUID]) -> None:
    address = f"/accounts/{bank['payer']}"
    seen = [int(version) for version in _followed(teller, address, r'id="entry-(\d+)"')]
    assert seen == list(range(len(seen), 0, -1))
    assert len(seen) == 32  # the opening, thirty deposits, the transfer


def test_the_way_back_to_the_newest_keeps_what_was_filtered_and_searched_for(
    teller: Desk, bank: dict[str, UUID]
) -> None:
    with patch("views_readmodel.pages.viewing.PAGE_ROWS", 1):
        for address in (
            f"/accounts/{bank['payer']}?kind=deposit",
            "/accounts?search=alice&state=OPEN&currency=EUR",
            "/customers?search=alice",
            "/transfers?state=COMPLETED",
        ):
            older = f"{address}&cursor={_cursor(teller.get(address).content.decode())}"
            page = teller.get(older).content.decode()
            (newest,) = re.findall(r'href="([^"]+)"><svg[^>]*><use[^>]*></use></svg>Newest', page)
            assert newest.replace("&amp;", "&") == address


def _cursor(page: str) -> str:
    """Where the list on a page goes on."""
    found = re.search(r'[?&;]cursor=([^"&]+)" rel="next"', page)
    assert found
    return found[1]


def _followed(teller: Desk, address: str, pattern: str) -> list[str]:
    """What is found on the pages of a list, from the first to the last."""
    found: list[str] = []
    while address:
        page = teller.get(address).content.decode()
        found += re.findall(pattern, page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(older[1]) if older else ""
    return found


@pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=OTk5OTk5OTk5OTk5OTk5OTk5", "kind=nonsense", "posting=x"])
def test_a_mangled_address_is_no_error_of_ours(query: str, teller: Desk, bank: dict[str, UUID]) -> None:
    assert teller.get(f"/accounts/{bank['payer']}?{query}").status_code in (200, 404)


@pytest.mark.parametrize("asked", ["%00", "%F0%9F%92%B6", "a' OR 1=1 --", "&|!()*:", "x" * 5000])
def test_a_search_takes_whatever_is_typed(asked: str, teller: Desk) -> None:
    for address in ("/find?q=", "/customers?search=", "/accounts?search=", "/transfers/accounts?from_account="):
        assert teller.get(address + asked).status_code == 200
