"""An account's statement as CSV, by API and from its page: whole, as the JSON has it, and safe in a spreadsheet."""

from __future__ import annotations

import csv
from datetime import datetime
from io import StringIO
from threading import BoundedSemaphore
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, field_errors, problem


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


CSV_HEADER = (
    "recorded_at,kind,amount,balance_after,currency,description,counterparty_number,counterparty_title,"
    "counterparty_customer_name,counterparty_account_id,transfer_id,reverses,entry_id,version"
)


def _csv(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    text = response.getvalue().decode()
    assert text.splitlines()[0] == CSV_HEADER
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(StringIO(text, newline="")))


@pytest.mark.parametrize("how", [{"headers": {"Accept": "text/csv"}}, {"format": "csv"}])
def test_it_gives_the_whole_statement_as_csv_with_the_figures_of_the_json(teller: Counter, how: dict[str, Any]) -> None:
    account_id = teller.account("1.00")
    other = teller.account("0.00")
    for number in range(4):
        teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00", "description": f"No. {number}, “cash”"})
    body = {"from_account_id": account_id, "to_account_id": other, "amount": "2.50", "currency": "EUR"}
    assert teller.post("transfers", body).status_code == 202
    dispatch()
    path = f"accounts/{account_id}/entries"
    lines = teller.get(path).json()["data"]
    with patch("views_readmodel.queries.ROWS_PER_BATCH", 2), patch("eventstore.rest.csv_files.ROWS_PER_CHUNK", 2):
        found = _csv(teller.get(path, **how))
    assert len(lines) == 6
    for line in lines:
        counterparty = line.pop("counterparty") or {}
        line |= {"currency": "EUR"}
        line |= {f"counterparty_{key}": counterparty.get(key) for key in ("account_id", "number", "title")}
        line["counterparty_customer_name"] = counterparty.get("customer_name")
        line["recorded_at"] = datetime.fromisoformat(line["recorded_at"]).isoformat()
    assert found == [{key: "" if value is None else str(value) for key, value in line.items()} for line in lines]
    filtered = _csv(teller.get(path, kind="opening", format="csv"))
    assert [line["version"] for line in filtered] == ["1"]
    assert teller.get(path, format="json", headers={"Accept": "text/csv"}).json()["next_cursor"] is None


def test_no_cell_of_a_csv_is_a_formula(teller: Counter) -> None:
    account_id = teller.account("100.00")
    texts = ["=1+1", "+SUM(A1)", "-2+3", "@now", "\uff1d1", "-12.50", "plain = text", "'quoted"]
    for text in texts:
        teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00", "description": text})
    teller.post(f"accounts/{account_id}/withdrawals", {"amount": "1.00"})
    dispatch()
    found = _csv(teller.get(f"accounts/{account_id}/entries", format="csv"))
    assert found[0]["amount"] == "-1.00"
    told = [line["description"] for line in reversed(found)][1:-1]
    assert told == ["'=1+1", "'+SUM(A1)", "'-2+3", "'@now", "'\uff1d1", "-12.50", "plain = text", "'quoted"]


def test_what_is_wrong_with_a_csv_is_said_as_a_problem(teller: Counter) -> None:
    operator = Counter(Role.OPERATOR)
    account_id = teller.account("1.00")
    dispatch()
    path, accept = f"accounts/{account_id}/entries", {"Accept": "text/csv"}
    assert field_errors(teller.get(path, limit=5, headers=accept)) == {"limit": "exclusive"}
    assert field_errors(teller.get(path, cursor="x", format="csv")) == {"cursor": "exclusive"}
    assert field_errors(teller.get(path, format="xlsx")) == {"format": "invalid_choice"}
    problem(teller.get(f"accounts/{uuid4()}/entries", headers=accept), 404, "not_found")
    problem(operator.get(path, headers=accept), 403, "forbidden")
    problem(teller.get(path, headers={"Accept": "application/xml"}), 406, "not_acceptable")
    problem(teller.get("accounts", headers=accept), 406, "not_acceptable")


def test_only_so_many_download_at_one_time_and_each_gives_its_place_back(teller: Counter) -> None:
    account_id = teller.account("1.00")
    dispatch()
    path = f"accounts/{account_id}/entries"
    places = BoundedSemaphore(1)
    with patch("eventstore.rest.csv_files._places", lambda _most: places):
        for _ in range(2):  # read to the end, then dropped unread
            under_way = teller.get(path, format="csv")
            refused = teller.get(path, format="csv")
            problem(refused, 503, "downloads_busy")
            assert refused.headers["Retry-After"] == "10"
            under_way.close()
        assert teller.get(path).status_code == 200
        assert len(_csv(teller.get(path, format="csv"))) == 1


def test_it_is_read_as_it_is_downloaded_batch_by_batch(teller: Counter) -> None:
    account_id = teller.account("1.00")
    for _ in range(9):
        teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00"})
    dispatch()
    with patch("views_readmodel.queries.ROWS_PER_BATCH", 2), patch("eventstore.rest.csv_files.ROWS_PER_CHUNK", 3):
        chunks = iter(teller.get(f"accounts/{account_id}/entries", format="csv").streaming_content)
        with CaptureQueriesContext(connection) as asked:
            next(chunks)
        assert len(asked) == 1
        assert sum(chunk.count(b"\n") for chunk in chunks) == 8


def test_a_page_of_days_is_downloaded_for_a_spreadsheet(teller: Counter) -> None:
    account_id = teller.account("1.00")
    dispatch()
    browser = Client()
    browser.force_login(teller.member)
    address = f"/accounts/{account_id}/statement"
    assert f"{address}.csv?first=" in browser.get(address).content.decode()
    whole = browser.get(f"{address}.csv")
    number = teller.get(f"accounts/{account_id}").json()["number"]
    assert whole.headers["Content-Disposition"] == f'attachment; filename="statement-{number}.csv"'
    text = whole.getvalue().decode("utf-8-sig")
    assert text.splitlines()[0] == CSV_HEADER
    assert len(text.splitlines()) == 2
    before = browser.get(f"{address}.csv?first=2020-01-01&last=2020-01-31").getvalue()
    assert before == f"\ufeff{CSV_HEADER}\r\n".encode()
    assert browser.get(f"{address}.csv?first=2020-02-01&last=2020-01-31").status_code == 404
    assert browser.get(f"/accounts/{uuid4()}/statement.csv").status_code == 404
    none_left = BoundedSemaphore(1)
    none_left.acquire()
    with patch("eventstore.rest.csv_files._places", lambda _most: none_left):
        assert browser.get(f"{address}.csv").status_code == 429
