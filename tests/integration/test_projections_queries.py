"""What is answered from the read models: content, order, pages, searches, waiting, and the cost of each query."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unicodedata import normalize
from unittest.mock import patch
from uuid import UUID

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from eventstore.ids import new_id
from eventstore.rest.freshness import NotYetVisible
from eventstore.subscriptions.registry import subscriptions
from tests.conftest import Database
from tests.integration.history import History, dispatch
from tests.integration.pages.large_book import ADD_CUSTOMERS
from transfers.published.events import TransferStatus
from views_readmodel import queries
from views_readmodel.pages.forms.finding import amounts_in
from views_readmodel.queries import Subject

NOBODY = UUID(int=1)
NUMBER = "12345671"
OTHER_NUMBER = "76543216"


@pytest.fixture
def history(fresh_database: Database) -> History:
    """A small bank that the read models show."""
    written = History().everything().write()
    dispatch()
    return written


def test_it_answers_with_an_account_and_its_customer_s_name_of_today(history: History) -> None:
    household = history.accounts[0]
    found = queries.account(account_id=household)
    assert found is not None
    assert (found.balance, found.version, found.state, found.customer_name) == (
        history.balances[household],
        history.versions[household],
        "OPEN",
        "Alice Brückner",
    )
    assert queries.account(account_id=NOBODY) is None


def test_it_lists_accounts_newest_first_page_by_page(history: History) -> None:
    expected = list(reversed(history.accounts))
    assert [found.account_id for found in queries.accounts(limit=10)] == expected
    first = queries.accounts(limit=1)[0]
    rest = queries.accounts(limit=10, after=(first.opened_at, first.account_id))
    assert [found.account_id for found in rest] == expected[1:]


@pytest.mark.parametrize(
    ("search", "places"),
    [
        ("house", [0]),
        ("1000-8", [0]),
        ("10008", [0]),
        ("1001", [1]),
        ("shop", [2, 1]),
        ("shop old", [2]),
        ("old !!", [2]),
        ("none of them", []),
        ("'", []),
        ("&|!:*", []),
    ],
)
def test_it_finds_accounts_by_the_beginnings_of_words(history: History, search: str, places: list[int]) -> None:
    found = queries.accounts(search=search, limit=10)
    assert [account.account_id for account in found] == [history.accounts[place] for place in places]


def test_it_filters_accounts(history: History) -> None:
    _, shop, empty = history.accounts
    bob = history.customers[1]
    assert [found.account_id for found in queries.accounts(customer_id=bob, limit=10)] == [empty, shop]
    assert [found.account_id for found in queries.accounts(state="CLOSED", limit=10)] == [empty]
    assert queries.accounts(currency="USD", limit=10) == []
    opened_at = queries.accounts(state="CLOSED", limit=1)[0].opened_at
    assert empty not in [found.account_id for found in queries.accounts(created_to=opened_at, limit=10)]
    assert empty in [found.account_id for found in queries.accounts(created_from=opened_at, limit=10)]


def test_it_shows_a_statement_newest_first_with_a_running_balance(history: History) -> None:
    household = history.accounts[0]
    lines = queries.entries(account_id=household, limit=100)
    assert [line.kind for line in reversed(lines)] == [
        "opening",
        "deposit",
        "reversal",
        "debit",
        "debit",
        "refund",
        "debit",
    ]
    balance = 0
    for line in reversed(lines):
        balance += line.amount
        assert line.balance_after == balance
    assert balance == history.balances[household]
    assert (lines[0].counterparty_number, lines[0].counterparty_name) == ("1001-6", "Bob Brückner")
    assert lines[-3].reverses == lines[-2].entry_id


def test_it_pages_through_a_statement(history: History) -> None:
    household = history.accounts[0]
    whole = queries.entries(account_id=household, limit=100)
    pages, after = [], None
    while page := queries.entries(account_id=household, limit=2, after=after):
        pages += page
        after = page[-1].version
    assert pages == whole


def test_it_cuts_a_statement_by_time(history: History) -> None:
    household = history.accounts[0]
    whole = queries.entries(account_id=household, limit=100)
    moment = whole[2].recorded_at
    later = queries.entries(account_id=household, created_from=moment, limit=100)
    earlier = queries.entries(account_id=household, created_to=moment, limit=100)
    assert later + earlier == whole
    assert all(line.recorded_at >= moment for line in later)
    long_ago = moment - timedelta(days=1)
    assert queries.entries(account_id=household, created_to=long_ago, limit=100) == []
    assert queries.entries(account_id=household, created_from=moment + timedelta(days=1), limit=100) == []


def test_it_answers_with_a_transfer_and_its_steps(history: History) -> None:
    found = queries.transfer(transfer_id=history.transfers[0])
    assert found is not None
    assert found.state == "COMPLETED"
    assert found.metadata == {"month": "11"}
    assert [step.event_type for step in found.steps] == ["MoneyTransferCreated", "DebitRecorded", "CreditRecorded"]
    assert found.completed_at == found.steps[-1].recorded_at
    assert found.created_at == found.steps[0].recorded_at
    assert queries.transfer(transfer_id=NOBODY) is None


@pytest.mark.parametrize(
    ("place", "state", "reason"),
    [
        (1, "FAILED_DUE_TO_INSUFFICIENT_FUNDS", "insufficient_funds"),
        (2, "REJECTED", "account_frozen"),
        (3, "REFUNDED", "account_closed"),
        (4, "INITIAL", None),
        (5, "DEBITED", None),
    ],
)
def test_it_says_how_each_transfer_ended_and_why(history: History, place: int, state: str, reason: str | None) -> None:
    found = queries.transfer(transfer_id=history.transfers[place])
    assert found is not None
    assert (found.state, found.failure_reason) == (state, reason)
    assert (found.completed_at is None) == (reason is None)


def test_it_lists_and_filters_transfers(history: History) -> None:
    household, shop, empty = history.accounts
    everything = [found.transfer_id for found in queries.transfers(limit=100)]
    assert everything == list(reversed(history.transfers))
    assert [found.transfer_id for found in queries.transfers(account_id=household, limit=100)] == everything
    assert [found.transfer_id for found in queries.transfers(account_id=empty, limit=100)] == [history.transfers[3]]
    assert [found.transfer_id for found in queries.transfers(reference="rent-1", limit=9)] == [history.transfers[0]]
    refunded = queries.transfers(account_id=household, state="REFUNDED", limit=9)
    assert [found.transfer_id for found in refunded] == [history.transfers[3]]
    assert queries.transfers(account_id=shop, state="REFUNDED", limit=9) == []
    pages, after = [], None
    while page := queries.transfers(account_id=household, limit=2, after=after):
        pages += [found.transfer_id for found in page]
        after = (page[-1].created_at, page[-1].transfer_id)
    assert pages == everything


@pytest.mark.parametrize(
    ("search", "places"),
    [
        ("BRÜCK", [1, 0]),
        ("bruck", [1, 0]),
        ("Bru\u0308ck", [1, 0]),
        ("alice b", [0]),
        ("crm-1", [0]),
        ("andersson", []),
        ("", [1, 0]),
    ],
)
def test_it_finds_customers_by_the_beginnings_of_words(history: History, search: str, places: list[int]) -> None:
    found = queries.customers(search=search, limit=10)
    assert [customer.customer_id for customer in found] == [history.customers[place] for place in places]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Jürgen Müller", "jurgen muller"),
        ("Åsa Ångström", "ASA ANGSTROM"),
        ("Ágnes Szűcs", "agnes szucs"),
        ("Franz Straßer", "strasser"),
        ("Νίκος Παπαδόπουλος", "νικος παπαδοπουλος"),
        ("Сергей Йович", "сергеи иович"),
        ("한글 김", "한글"),
    ],
)
def test_it_finds_a_name_with_and_without_its_accents(history: History, name: str, plain: str) -> None:
    customer_id = history.customer(name)
    account_id = history.account(customer_id, number="1009-1", title=name)
    history.write()
    dispatch()
    for search in (name, normalize("NFD", name), plain):
        assert [found.customer_id for found in queries.customers(search=search, limit=10)] == [customer_id], search
        assert [found.account_id for found in queries.accounts(search=search, limit=10)] == [account_id], search
        assert [found.account_id for found in queries.find_accounts(search=search, limit=10)] == [account_id], search


def test_it_finds_accounts_by_their_words_and_their_customer_s_name_page_by_page(history: History) -> None:
    household, shop, empty = history.accounts
    found = [account.account_id for account in queries.find_accounts(search="bruckner", limit=10)]
    assert found == [empty, shop, household]
    pages, after = [], None
    while page := queries.find_accounts(search="bruckner", limit=1, after=after):
        pages += [account.account_id for account in page]
        after = (page[-1].opened_at, page[-1].account_id)
    assert pages == found
    assert [account.account_id for account in queries.find_accounts(search="shop", limit=10)] == [empty, shop]
    closed = queries.find_accounts(search="bruckner", state="CLOSED", currency="EUR", limit=10)
    assert [account.account_id for account in closed] == [empty]
    assert queries.find_accounts(search="bruckner", currency="USD", limit=10) == []


def test_it_says_when_more_customers_have_a_name_than_are_looked_through(history: History) -> None:
    assert not queries.is_common_name(search="bruckner")
    with patch.object(queries, "MOST_CUSTOMERS_OF_A_NAME", 1):
        assert queries.is_common_name(search="bruckner")
        assert len(queries.find_accounts(search="bruckner", limit=10)) == 2


def test_it_lists_the_transfers_of_an_amount_newest_first_page_by_page(history: History) -> None:
    household, shop, _ = history.accounts
    more = []
    for _ in range(2):
        more.append(history.transfer(household, shop, 2_00))
        history.write()
    dispatch()
    expected = [more[1], more[0], history.transfers[5], history.transfers[4]]  # in three states
    amounts = {"JPY": 2, "EUR": 2_00, "KWD": 2_000}
    assert [found.transfer_id for found in queries.transfers_of_amounts(amounts=amounts, limit=10)] == expected
    pages, after = [], None
    while page := queries.transfers_of_amounts(amounts=amounts, limit=1, after=after):
        pages += page
        after = (page[-1].created_at, page[-1].transfer_id)
    assert [found.transfer_id for found in pages] == expected
    between = {"created_from": pages[1].created_at, "created_to": pages[0].created_at}

    def found(**narrowed: Any) -> list[UUID]:
        return [row.transfer_id for row in queries.transfers_of_amounts(amounts=amounts, limit=10, **narrowed)]

    assert found(**between) == expected[1:2]
    assert found(created_to=pages[0].created_at) == expected[1:]
    assert found(created_to=pages[0].created_at, after=(pages[2].created_at, pages[2].transfer_id)) == expected[3:]
    assert found(state="COMPLETED") == expected[:2]
    assert queries.transfers_of_amounts(amounts={"JPY": 2_00, "EUR": 3_00}, limit=10) == []


def test_no_amount_or_state_is_so_common_that_more_is_read_than_shown(fresh_database: Database) -> None:
    History().busy(accounts=4, transfers=2_000).write()
    dispatch()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE readmodel.transfer")
        for state in (None, "REFUNDED"):
            with CaptureQueriesContext(connection) as captured:
                queries.transfers_of_amounts(amounts=amounts_in("0.01"), state=state, limit=10)
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {captured[0]['sql']}")
            plan = cursor.fetchone()[0][0]["Plan"]
            read = [node for node in _nodes(plan) if node.get("Relation Name") == "transfer"]
            assert [node["Index Name"] for node in read] == ["transfer_of_amount"]
            assert all(node["Actual Rows"] * node["Actual Loops"] <= 11 for node in read), plan
            assert not any(node.get("Rows Removed by Filter") for node in read), plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from _nodes(inner)


def test_it_answers_with_a_customer_as_they_are_today(history: History) -> None:
    bob = queries.customer(customer_id=history.customers[1])
    assert bob is not None
    assert (bob.name, bob.email, bob.phone, bob.version) == ("Bob Brückner", "bob@example.com", None, 2)


def test_it_waits_until_a_version_is_shown(history: History) -> None:
    household = history.accounts[0]
    history.deposit(household, 1_00)
    history.write()
    version = history.versions[household]
    waiting = threading.Thread(target=_dispatch_elsewhere)
    waiting.start()
    queries.wait_for_version(subject=Subject.ACCOUNT, id=household, version=version)
    waiting.join()
    found = queries.account(account_id=household)
    assert found is not None
    assert found.balance == history.balances[household]


def _dispatch_elsewhere() -> None:
    try:
        dispatch()
    finally:
        connections.close_all()


@pytest.mark.parametrize("subject", Subject)
def test_it_gives_up_waiting_for_what_does_not_come(history: History, subject: Subject) -> None:
    with pytest.raises(NotYetVisible):
        queries.wait_for_version(subject=subject, id=new_id(), version=1, seconds=0.01)


def test_it_waits_for_a_transfer_until_both_accounts_show_it(history: History) -> None:
    household, shop, _ = history.accounts
    transfer_id = history.transfer(household, shop, 1_00)
    history.write()
    dispatch_only("views.transfers")
    assert not queries.wait_for_transfer(transfer_id=transfer_id, seconds=0.01)
    dispatch()
    assert queries.wait_for_transfer(transfer_id=transfer_id, seconds=1)


def test_it_does_not_wait_for_a_transfer_on_its_way_for_ever(history: History) -> None:
    household, shop, _ = history.accounts
    transfer_id = history.transfer(household, shop, 1_00, end=TransferStatus.DEBITED)
    history.write()
    dispatch()
    assert not queries.wait_for_transfer(transfer_id=transfer_id, seconds=0.01)
    assert not queries.wait_for_transfer(transfer_id=NOBODY, seconds=0.01)


def dispatch_only(*ids: str) -> None:
    dispatch(*(found for found in subscriptions.projections() if found.id in ids))


def test_an_account_is_found_by_its_number_from_an_index_however_many_there_are(fresh_database: Database) -> None:
    history = History()
    account_id = history.account(history.customer("Alice Abel"), number=NUMBER)
    history.write()
    dispatch()
    with connection.cursor() as cursor:
        cursor.execute(ADD_CUSTOMERS, [5_000])
        cursor.execute("ANALYZE readmodel.account")
    with CaptureQueriesContext(connection) as captured:
        for written in (NUMBER, f" {NUMBER[:4]} {NUMBER[4:]} "):
            found = queries.account_of_number(number=written)
            assert found is not None
            assert found.account_id == account_id
        for none in (OTHER_NUMBER, NUMBER[:-1] + "0", "", "Household", "\N{ARABIC-INDIC DIGIT ONE}", "\0"):
            assert queries.account_of_number(number=none) is None, none
    assert len(captured) == 3, "what can be no number is not looked for"
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {captured[0]['sql']}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan on account" not in plan, plan


READS: dict[str, Callable[[History], Any]] = {
    "account": lambda history: queries.account(account_id=history.accounts[0]),
    "accounts": lambda _: queries.accounts(search="household", limit=50),
    "statement": lambda history: queries.entries(account_id=history.accounts[0], limit=50),
    "transfer": lambda history: queries.transfer(transfer_id=history.transfers[0]),
    "transfers": lambda _: queries.transfers(limit=50),
    "transfers of an amount": lambda _: queries.transfers_of_amounts(amounts={"EUR": 150_00, "JPY": 150}, limit=50),
    "transfers of an account": lambda history: queries.transfers(account_id=history.accounts[0], limit=50),
    "customer": lambda history: queries.customer(customer_id=history.customers[0]),
    "customers": lambda _: queries.customers(search="alice", limit=50),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_it_reads_with_one_query(history: History, read: Callable[[History], Any]) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert read(history)
    assert len(captured) == 1


def test_every_list_is_read_from_an_index_however_long_it_is(fresh_database: Database) -> None:
    history = History().busy(accounts=40, transfers=1_000).write()
    dispatch()
    hot = history.accounts[0]
    middle = queries.transfers(limit=500)[-1]
    newest = (middle.created_at, middle.transfer_id)
    line = queries.entries(account_id=hot, limit=20)[-1]
    reads: list[Callable[[], Any]] = [
        lambda: queries.transfers(limit=10, after=newest),
        lambda: queries.transfers(limit=10, created_to=middle.created_at),
        lambda: queries.transfers(account_id=hot, limit=10, after=newest),
        lambda: queries.transfers(state="REFUNDED", limit=10),
        lambda: queries.transfers(
            state="COMPLETED", created_from=line.recorded_at, created_to=middle.created_at, after=newest, limit=10
        ),
        lambda: queries.transfers(reference="none", limit=10),
        lambda: queries.transfers_of_amounts(amounts=amounts_in("0.01"), limit=10),
        lambda: queries.transfers_of_amounts(amounts={"EUR": 1}, limit=10, after=newest, created_to=line.recorded_at),
        lambda: queries.transfers_of_amounts(amounts={"EUR": 1}, state="REFUNDED", limit=10),
        lambda: queries.entries(account_id=hot, limit=10, after=line.version),
        lambda: queries.entries(account_id=hot, limit=10, created_to=line.recorded_at),
        lambda: queries.transfer(transfer_id=history.transfers[0]),
    ]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE readmodel.transfer, readmodel.entry, readmodel.transfer_step, readmodel.account")
    for read in reads:
        with CaptureQueriesContext(connection) as captured:
            read()
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {captured[0]['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Seq Scan on transfer" not in plan, plan
        assert "Seq Scan on entry" not in plan, plan
