"""What a page costs and holds, and that whatever stands in an address is taken."""

from __future__ import annotations

import re
from html import unescape
from unittest.mock import Mock, patch
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from config.staff.roles import Role
from eventstore.ids import new_id
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch
from tests.integration.pages.desk import Desk
from views_readmodel import queries
from views_readmodel.counts import Moving, Tally

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
        "/find?q=150",
        "/find?q=1",
        "/customers",
        "/customers?search=alice",
        "/customers/register",
        f"/customers/{customer}",
        f"/customers/{customer}/change",
        f"/customers/{customer}/open-account",
        "/accounts",
        "/accounts?search=alice",
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
        "/transfers?state=COMPLETED&first=2020-01-01&last=2999-12-31",
        "/transfers?state=COMPLETED&first=2020-01-01&last=2999-12-31&amount=1",
        "/transfers?amount=150+EUR",
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
    teller: Desk, counter: Counter, bank: dict[str, UUID]
) -> None:
    counter.transfer(bank["payer"], bank["payee"], "150.00")
    dispatch()
    with patch("views_readmodel.pages.viewing.PAGE_ROWS", 1):
        for address in (
            f"/accounts/{bank['payer']}?kind=deposit",
            "/accounts?search=alice&state=OPEN&currency=EUR",
            "/customers?search=alice",
            "/transfers?state=COMPLETED",
            "/transfers?amount=150+EUR",
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


def test_the_counts_of_today_lead_to_lists_of_as_many_transfers(
    teller: Desk, counter: Counter, bank: dict[str, UUID]
) -> None:
    for _ in range(2):
        refused = counter.transfer(bank["payer"], bank["payee"], "9999.00")
    dispatch()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE readmodel.transfer SET created_at = created_at - interval '3 days' WHERE transfer_id = %s",
            [refused],
        )
    shown = re.findall(
        r'<dt><a href="(/transfers[^"]+)">.*?</a></dt><dd class="figure">(\d+)</dd>', teller.get("/").content.decode()
    )
    assert len(shown) >= 2  # those that were refused, and all told
    for address, count in shown:
        assert len(_followed(teller, unescape(address), r'<tr id="transfer-([^"]+)">')) == int(count), address
    without_days = _followed(teller, "/transfers", r'<tr id="transfer-([^"]+)">')
    assert str(refused) in without_days


def test_the_counts_of_today_are_written_as_all_numbers_are(committed_db: Database) -> None:
    tallies = [Tally("EUR", "COMPLETED", 12_345, 1_00), Tally("EUR", "REFUNDED", 2_345, 1_00)]
    part = Mock(subscription="accounts.saga", status="live", lag_events=5_678, held_reason="")
    parked = {"accounts.saga": Mock(events=4_567, oldest=timezone.now())}
    with (
        patch("views_readmodel.counts.tallies_since", return_value=tallies),
        patch("views_readmodel.counts.moving", return_value=Moving(3_456, None)),
        patch("eventstore.inspection.count_parked", return_value=parked),
        patch("eventstore.inspection.parts", return_value=[part]),
        patch("eventstore.inspection.log_state", return_value=Mock(unsequenced=6_789, position=7_890_123)),
    ):
        pages = [Desk(role).get("/").content.decode() for role in (Role.TELLER, Role.OPERATOR)]
    counts = [re.findall(r'<(?:dd|td) class="figure">([0-9,]+)<', page) for page in pages]
    assert counts == [["12,345", "3,456", "2,345", "14,690"], ["4,567", "5,678", "6,789", "7,890,123"]]


def test_transfers_are_listed_by_the_bank_s_days(teller: Desk, bank: dict[str, UUID]) -> None:
    with connection.cursor() as cursor:
        # Half past midnight at the bank.
        cursor.execute(
            "UPDATE readmodel.transfer SET created_at = '2020-02-01T23:30:00Z' WHERE transfer_id = %s",
            [bank["transfer"]],
        )
    teller.client.cookies["zone"] = "America/New_York"
    on = {
        days: f"transfer-{bank['transfer']}" in teller.get(f"/transfers?{days}").content.decode()
        for days in ("first=2020-02-02&last=2020-02-02", "last=2020-02-01", "first=2020-02-03", "last=2020-02-02")
    }
    assert list(on.values()) == [True, False, False, True]
    page = teller.get("/transfers").content.decode()
    assert "days of the bank, in Europe/Berlin" in page
    assert "days of the bank" not in Desk(Role.AUDITOR).get("/transfers").content.decode()


@pytest.mark.parametrize(
    ("days", "says"),
    [("first=2020-02-02&last=2020-02-01", "before the first day"), ("first=yesterday", "Enter a valid date")],
)
def test_days_that_cannot_be_are_refused_beside_their_field_and_kept(days: str, says: str, teller: Desk) -> None:
    page = teller.get(f"/transfers?{days}").content.decode()
    assert says in page
    assert "transfer-" not in page[page.index('id="rows"') :]
    assert f'value="{days.partition("&")[0].partition("=")[2]}"' in page


def _unheard_of() -> str:
    """A name that no other test has given anybody."""
    return "Wilhelmina " + "".join(chr(ord("a") + int(digit, 16)) for digit in new_id().hex[-10:])


def test_find_leads_to_all_that_it_has_no_room_for(teller: Desk, counter: Counter) -> None:
    name = _unheard_of()
    made = [counter.account("1.00", title="Household", name=name) for _ in range(7)]
    dispatch()
    for fragment in ({}, {"HX-Request": "true"}):
        page = teller.get(f"/find?q={name}", **fragment).content.decode()
        assert len(re.findall(r'href="/accounts/', page)) == len(re.findall(r'href="/customers/', page)) == 6
        lists = [unescape(address) for address in re.findall(r'href="(/\w+\?search=[^"]+)"', page)]
        assert [address.partition("?")[0] for address in lists] == ["/accounts", "/customers"]
    with patch("views_readmodel.pages.viewing.PAGE_ROWS", 3):
        accounts = _followed(teller, lists[0], r'href="/accounts/([^"?]+)">Household')
        customers = _followed(teller, lists[1], r'<th [^>]+><a href="/customers/([^"?]+)"')
    assert accounts == [str(id) for id in reversed(made)]
    assert len(set(customers)) == 7
    assert "Show all" not in teller.get(f"/find?q={made[0]}").content.decode()


def test_find_takes_an_amount_and_leads_to_all_transfers_of_it(
    teller: Desk, counter: Counter, bank: dict[str, UUID]
) -> None:
    made = [counter.transfer(bank["payer"], bank["payee"], "7.13") for _ in range(7)]
    dispatch()
    for asked in ("7.13", "7.13 EUR", "eur 7.13"):
        for fragment in ({}, {"HX-Request": "true"}):
            page = teller.get(f"/find?q={asked}", **fragment).content.decode()
            assert re.findall(r'href="/transfers/([^"]+)"', page[page.index("option") :]) == [
                str(id) for id in reversed(made[1:])
            ]
        (every,) = re.findall(r'href="(/transfers\?amount=[^"]+)"', page)
        with patch("views_readmodel.pages.viewing.PAGE_ROWS", 3):
            listed = _followed(teller, unescape(every), r'<tr id="transfer-([^"]+)">')
        assert listed == [str(id) for id in reversed(made)]
    only = counter.transfer(bank["payer"], bank["payee"], "7.19")
    dispatch()
    page = teller.get("/find?q=7.19").content.decode()
    assert str(only) in page
    assert "Show all transfers" not in page
    for asked in ("7.13 USD", "7.131", "713", "-7.13", "7,13"):
        assert "Nothing found" in teller.get(f"/find?q={asked}").content.decode(), asked


def test_an_amount_of_one_digit_finds_transfers_and_nothing_else(
    teller: Desk, counter: Counter, bank: dict[str, UUID]
) -> None:
    made = counter.transfer(bank["payer"], bank["payee"], "6.00")
    dispatch()
    page = teller.get("/find?q=6").content.decode()
    assert str(made) in page
    assert 'href="/accounts/' not in page
    assert "Two letters of a name" in teller.get("/find?q=a").content.decode()


def test_digits_find_accounts_of_such_a_number_and_transfers_of_such_an_amount(
    teller: Desk, counter: Counter, bank: dict[str, UUID]
) -> None:
    account = queries.account(account_id=bank["payer"])
    assert account is not None
    number = account.number.rstrip("0") or account.number
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE readmodel.transfer SET amount = %s WHERE transfer_id = %s", [int(number) * 100, bank["transfer"]]
        )
    page = teller.get(f"/find?q={number}").content.decode()
    assert f'href="/accounts/{bank["payer"]}"' in page
    assert f'href="/transfers/{bank["transfer"]}"' in page


@pytest.mark.parametrize(
    ("amount", "says"),
    [("1,5", "This is not an amount"), ("-1", "never negative"), ("a lot", "Write it like 1500.00 or 150 EUR")],
)
def test_an_amount_that_is_none_is_refused_beside_its_field_and_kept(amount: str, says: str, teller: Desk) -> None:
    page = teller.get(f"/transfers?amount={amount}").content.decode()
    assert says in page
    assert "transfer-" not in page[page.index('id="rows"') :]
    assert f'value="{amount}"' in page


def test_a_name_that_too_many_have_says_that_not_all_their_accounts_are_listed(teller: Desk, counter: Counter) -> None:
    name = _unheard_of()
    for _ in range(3):
        counter.account("1.00", name=name)
    dispatch()
    assert "Type more of the name" not in teller.get(f"/accounts?search={name}").content.decode()
    with patch("views_readmodel.queries.MOST_CUSTOMERS_OF_A_NAME", 2):
        page = teller.get(f"/accounts?search={name}").content.decode()
    assert "Type more of the name" in page
    with patch("views_readmodel.queries.is_common_name", return_value=True):
        assert "More than 1,000 customers" in teller.get(f"/accounts?search={name}").content.decode()


@pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=OTk5OTk5OTk5OTk5OTk5OTk5", "kind=nonsense", "posting=x"])
def test_a_mangled_address_is_no_error_of_ours(query: str, teller: Desk, bank: dict[str, UUID]) -> None:
    assert teller.get(f"/accounts/{bank['payer']}?{query}").status_code in (200, 404)


@pytest.mark.parametrize("asked", ["%00", "%F0%9F%92%B6", "a' OR 1=1 --", "&|!()*:", "x" * 5000])
def test_a_search_takes_whatever_is_typed(asked: str, teller: Desk) -> None:
    for address in ("/find?q=", "/customers?search=", "/accounts?search=", "/transfers/accounts?from_account="):
        assert teller.get(address + asked).status_code == 200
