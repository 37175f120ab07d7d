"""Accounts by API: money at the counter, statements, refusals that write nothing, and the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from stdnum import damm

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, field_errors, problem, refund, written_rows
from views_readmodel import queries


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


@pytest.fixture
def supervisor(committed_db: Database) -> Counter:
    return Counter(Role.SUPERVISOR)


def _open_body(customer_id: UUID, **fields: Any) -> dict[str, Any]:
    return {"customer_id": str(customer_id), "title": "Household", "currency": "EUR", **fields}


def test_it_opens_an_account_with_a_number_whose_check_digit_agrees(teller: Counter) -> None:
    answered = teller.post("accounts", _open_body(teller.customer(), initial_balance="500.00"))
    body = answered.json()
    assert answered.status_code == 201
    assert answered.headers["Location"] == f"/api/v1/accounts/{body['account_id']}"
    assert body["version"] == 1
    assert len(body["number"]) == 8
    assert damm.is_valid(body["number"])


def test_it_shows_the_account_once_it_is_visible(teller: Counter) -> None:
    customer_id = teller.customer("Bob Brown")
    made = teller.post(
        "accounts", _open_body(customer_id, initial_balance="500.00", title=" Rent ", reference="R-1")
    ).json()
    dispatch()
    shown = teller.get(f"accounts/{made['account_id']}").json()
    assert datetime.fromisoformat(shown.pop("opened_at")).tzinfo is not None
    assert shown == {
        "account_id": made["account_id"],
        "number": made["number"],
        "title": "Rent",
        "customer_id": str(customer_id),
        "customer_name": "Bob Brown",
        "currency": "EUR",
        "balance": "500.00",
        "state": "OPEN",
        "reference": "R-1",
        "version": 1,
    }


def test_it_answers_cash_with_the_entry_and_the_balance_after_it(teller: Counter) -> None:
    account_id = teller.account("10.00")
    deposited = teller.post(f"accounts/{account_id}/deposits", {"amount": "150.00", "description": "Till 3"})
    assert deposited.status_code == 201
    assert {key: deposited.json()[key] for key in ("balance", "version")} == {
        "balance": "160.00",
        "version": 2,
    }
    withdrawn = teller.post(f"accounts/{account_id}/withdrawals", {"amount": "0.01", "currency": "EUR"})
    assert withdrawn.json()["balance"] == "159.99"
    dispatch()
    lines = teller.get(f"accounts/{account_id}/entries").json()["data"]
    assert [(line["kind"], line["amount"], line["balance_after"], line["description"]) for line in lines] == [
        ("withdrawal", "-0.01", "159.99", ""),
        ("deposit", "150.00", "160.00", "Till 3"),
        ("opening", "10.00", "10.00", ""),
    ]
    assert lines[0]["entry_id"] == withdrawn.json()["entry_id"]


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "150"), ("KWD", "1.500"), ("CLF", "0.0001")])
def test_it_takes_each_currency_with_its_own_decimals(teller: Counter, currency: str, amount: str) -> None:
    zero = {"JPY": "0", "KWD": "0.000", "CLF": "0.0000"}[currency]
    account_id = teller.account(zero, currency=currency)
    assert teller.post(f"accounts/{account_id}/deposits", {"amount": amount}).json()["balance"] == amount


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (150, "number"),
        (150.0, "number"),
        ("150", "invalid_amount"),
        ("150.0", "invalid_amount"),
        ("150.000", "invalid_amount"),
        ("+150.00", "invalid_amount"),
        ("-150.00", "invalid_amount"),
        ("1e3", "invalid_amount"),
        ("0150.00", "invalid_amount"),
        (" 150.00", "invalid_amount"),
        ("\u0661\u0665\u0660.\u0660\u0660", "invalid_amount"),  # Arabic-Indic digits
        ("0.00", "amount_not_positive"),
        ("", "invalid_amount"),
        (None, "null"),
        (True, "number"),
        (["150.00"], "invalid"),
    ],
)
def test_it_refuses_an_amount_in_any_other_form_and_writes_nothing(teller: Counter, amount: Any, code: str) -> None:
    account_id = teller.account("500.00")
    before = written_rows()
    answered = teller.post(f"accounts/{account_id}/deposits", {"amount": amount})
    assert field_errors(answered) == {"amount": code}
    assert written_rows() == before


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"amount": "10000000000.00"}, "limit_exceeded"),
        ({"amount": "150.00", "currency": "USD"}, "currency_mismatch"),
        ({"amount": "500.01"}, "insufficient_funds"),
    ],
)
def test_it_refuses_what_the_rules_forbid_and_writes_nothing(teller: Counter, body: dict[str, str], code: str) -> None:
    account_id = teller.account("500.00")
    before = written_rows()
    problem(teller.post(f"accounts/{account_id}/withdrawals", body), 422, code)
    assert written_rows() == before


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"currency": "XXX"}, "currency", "unknown_currency"),
        ({"currency": "EURO"}, "currency", "invalid"),
        ({"initial_balance": "5"}, "initial_balance", "invalid_amount"),
        ({"initial_balance": "-5.00"}, "initial_balance", "invalid_amount"),
        ({"title": "  "}, "title", "required"),
        ({"title": "x" * 101}, "title", "max_length"),
        ({"title": "a\u202eb"}, "title", "invalid_text"),
        ({"customer_id": "alice"}, "customer_id", "invalid"),
        ({"customer_id": 7}, "customer_id", "invalid"),
        ({"colour": "red"}, "colour", "unknown_field"),
    ],
)
def test_it_names_the_field_that_no_account_can_have(
    teller: Counter, fields: dict[str, Any], field: str, code: str
) -> None:
    body = _open_body(teller.customer()) | fields
    before = written_rows()
    assert field_errors(teller.post("accounts", body)) == {field: code}
    assert written_rows() == before


def test_it_tells_everything_that_is_wrong_at_once(teller: Counter) -> None:
    answered = teller.post("accounts", {"title": 7, "colour": "red"})
    assert field_errors(answered) == {
        "colour": "unknown_field",
        "customer_id": "required",
        "title": "invalid",
        "currency": "required",
    }


def test_it_opens_no_account_for_somebody_unknown(teller: Counter) -> None:
    problem(teller.post("accounts", _open_body(uuid4())), 422, "customer_not_found")
    problem(teller.post("accounts", _open_body(teller.account())), 422, "customer_not_found")


def test_it_does_not_find_an_account_that_is_not_there(teller: Counter, supervisor: Counter) -> None:
    nowhere = uuid4()
    for path, body in (
        (f"accounts/{nowhere}/deposits", {"amount": "1.00"}),
        (f"accounts/{nowhere}/withdrawals", {"amount": "1.00"}),
        (f"accounts/{nowhere}/freeze", {"reason": "x"}),
        (f"accounts/{nowhere}/unfreeze", {"reason": "x"}),
        (f"accounts/{nowhere}/close", {"reason": "x"}),
        (f"accounts/{nowhere}/entries/{uuid4()}/reverse", {"reason": "x"}),
        (f"accounts/{teller.customer()}/deposits", {"amount": "1.00"}),
    ):
        problem(supervisor.post(path, body), 404, "not_found")
    for path in (f"accounts/{nowhere}", f"accounts/{nowhere}/entries"):
        problem(teller.get(path), 404, "not_found")
        problem(teller.get(path, min_version=1), 404, "not_found")
    problem(teller.get(f"accounts/{nowhere}", at_version=1), 404, "not_found")


# --- Supervisors ----------------------------------------------------------------------------------------------


def test_it_freezes_unfreezes_and_closes(supervisor: Counter) -> None:
    account_id = supervisor.account()
    steps = [("freeze", "FROZEN"), ("unfreeze", "OPEN"), ("close", "CLOSED")]
    for version, (action, state) in enumerate(steps, start=2):
        answered = supervisor.post(f"accounts/{account_id}/{action}", {"reason": "Asked for"})
        assert (answered.status_code, answered.json()) == (200, {"state": state, "version": version})


def test_it_says_why_an_account_in_that_state_refuses(supervisor: Counter) -> None:
    account_id = supervisor.account("5.00")
    problem(supervisor.post(f"accounts/{account_id}/close", {"reason": "x"}), 422, "account_not_empty")
    problem(supervisor.post(f"accounts/{account_id}/unfreeze", {"reason": "x"}), 422, "invalid_state")
    supervisor.post(f"accounts/{account_id}/freeze", {"reason": "x"})
    problem(supervisor.post(f"accounts/{account_id}/deposits", {"amount": "1.00"}), 422, "account_frozen")
    problem(supervisor.post(f"accounts/{account_id}/freeze", {"reason": "x"}), 422, "account_frozen")


def test_it_wants_a_reason(supervisor: Counter) -> None:
    account_id = supervisor.account()
    for action in ("freeze", "close"):
        assert field_errors(supervisor.post(f"accounts/{account_id}/{action}", {"reason": " "})) == {
            "reason": "required"
        }


def test_it_reverses_a_cash_entry_once(supervisor: Counter) -> None:
    account_id = supervisor.account("5.00")
    entry_id = supervisor.post(f"accounts/{account_id}/deposits", {"amount": "100.00"}).json()["entry_id"]
    path = f"accounts/{account_id}/entries/{entry_id}/reverse"
    answered = supervisor.post(path, {"reason": "Wrong account"})
    assert answered.status_code == 201
    assert (answered.json()["balance"], answered.json()["version"]) == ("5.00", 3)
    refused = problem(supervisor.post(path, {"reason": "Again"}), 422, "invalid_state")
    assert refused["detail"] == "The entry has been reversed already."
    dispatch()
    newest = supervisor.get(f"accounts/{account_id}/entries").json()["data"][0]
    assert (newest["kind"], newest["amount"], newest["reverses"]) == ("reversal", "-100.00", entry_id)


def test_it_puts_a_reversed_withdrawal_back(supervisor: Counter) -> None:
    account_id = supervisor.account("5.00")
    entry_id = supervisor.post(f"accounts/{account_id}/withdrawals", {"amount": "2.00"}).json()["entry_id"]
    reversed_ = supervisor.post(f"accounts/{account_id}/entries/{entry_id}/reverse", {"reason": "Not paid"})
    assert reversed_.json()["balance"] == "5.00"


def test_it_reverses_only_this_account_s_cash_entries(supervisor: Counter) -> None:
    mine, other = supervisor.account("5.00"), supervisor.account("5.00")
    entry_id = supervisor.post(f"accounts/{other}/deposits", {"amount": "1.00"}).json()["entry_id"]
    reason = {"reason": "x"}
    problem(supervisor.post(f"accounts/{mine}/entries/{entry_id}/reverse", reason), 404, "not_found")
    problem(supervisor.post(f"accounts/{mine}/entries/{uuid4()}/reverse", reason), 404, "not_found")
    dispatch()
    opening = supervisor.get(f"accounts/{mine}/entries").json()["data"][0]["entry_id"]
    problem(supervisor.post(f"accounts/{mine}/entries/{opening}/reverse", reason), 422, "invalid_state")


def test_it_pays_out_a_closed_account_whole_and_only_for_a_supervisor(teller: Counter, supervisor: Counter) -> None:
    account_id = supervisor.account()
    path = f"accounts/{account_id}/withdrawals"
    supervisor.post(f"accounts/{account_id}/close", {"reason": "x"})
    problem(supervisor.post(path, {"amount": "20.00"}), 422, "invalid_state")
    refund(account_id, amount=2_000)
    problem(teller.post(path, {"amount": "20.00"}), 422, "account_closed")
    before = written_rows()
    problem(supervisor.post(path, {"amount": "19.99"}), 422, "invalid_state")
    assert written_rows() == before
    paid = supervisor.post(path, {"amount": "20.00"}).json()
    assert (paid["balance"], paid["version"]) == ("0.00", 4)


@pytest.mark.parametrize(
    ("command", "body", "before"),
    [
        ("deposits", {"amount": "1.00"}, ""),
        ("withdrawals", {"amount": "1.00"}, ""),
        ("freeze", {"reason": "Asked for"}, ""),
        ("unfreeze", {"reason": "Asked for"}, "freeze"),
        ("close", {"reason": "Asked for"}, ""),
    ],
)
def test_it_does_to_an_account_what_was_decided_on_what_was_seen(
    supervisor: Counter, command: str, body: dict[str, str], before: str
) -> None:
    account_id = supervisor.account("1.00" if command == "withdrawals" else "0.00")
    path = f"accounts/{account_id}"
    if before:
        assert supervisor.post(f"{path}/{before}", {"reason": "First"}).status_code == 200
    dispatch()
    seen = supervisor.get(path)
    stale = f'"{seen.json()["version"] + 1}-{"0" * 24}"'  # of a version that it is not at
    rows = written_rows()
    for tag in (stale, '"x"'):
        problem(supervisor.post(f"{path}/{command}", body, headers={"If-Match": tag}), 412, "version_mismatch")
    assert written_rows() == rows
    key, match = str(uuid4()), {"If-Match": seen.headers["ETag"]}
    done = supervisor.post(f"{path}/{command}", body, key=key, headers=match)
    assert done.status_code in (200, 201), done.content
    assert done.json()["version"] == seen.json()["version"] + 1
    repeated = supervisor.post(f"{path}/{command}", body, key=key, headers=match)
    assert (repeated.status_code, repeated.json()) == (done.status_code, done.json())
    problem(supervisor.post(f"{path}/{command}", body, headers=match), 412, "version_mismatch")


# --- Reading --------------------------------------------------------------------------------------------------


def test_it_waits_for_the_version_that_a_write_answered_with(teller: Counter) -> None:
    account_id = teller.account("1.00")
    assert teller.get(f"accounts/{account_id}").status_code == 404
    dispatch()
    teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00"})
    assert teller.get(f"accounts/{account_id}").json()["version"] == 1
    dispatch()
    assert teller.get(f"accounts/{account_id}", min_version=2).json()["balance"] == "2.00"


def test_it_asks_to_come_back_when_the_version_does_not_come_in_time(
    teller: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = teller.account("1.00")
    monkeypatch.setattr(queries, "wait_for_version", partial(queries.wait_for_version, seconds=0.02))
    for path in (f"accounts/{account_id}", f"accounts/{account_id}/entries"):
        answered = teller.get(path, min_version=1)
        problem(answered, 503, "not_yet_visible")
        assert answered.headers["Retry-After"] == "1"


def test_it_adds_changes_and_transfers_when_asked(teller: Counter) -> None:
    payer, payee = teller.account("50.00"), teller.account()
    transfer_id = teller.transfer(payer, payee, "20.00", description="Rent")
    dispatch()
    plain = teller.get(f"accounts/{payer}").json()
    assert "changes" not in plain
    assert "transfers" not in plain
    full = teller.get(f"accounts/{payer}", include="changes,transfers").json()
    assert [change["kind"] for change in full["changes"]] == ["debit", "opening"]
    assert full["changes"][0]["counterparty"]["account_id"] == str(payee)
    assert [transfer["transfer_id"] for transfer in full["transfers"]] == [str(transfer_id)]
    assert field_errors(teller.get(f"accounts/{payer}", include="everything")) == {"include": "include"}


def test_it_tells_what_was_then(teller: Counter) -> None:
    account_id = teller.account("1.00")
    dispatch()
    then = datetime.now(UTC)
    teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00"})
    dispatch()
    as_of: dict[str, Any] = {"as_of": then.isoformat()}
    assert teller.get(f"accounts/{account_id}", **as_of).json()["balance"] == "1.00"
    assert (
        teller.get(f"accounts/{account_id}", at_version=1).json()
        == teller.get(f"accounts/{account_id}", **as_of).json()
    )
    assert teller.get(f"accounts/{account_id}", at_version=2).json() == teller.get(f"accounts/{account_id}").json()
    problem(teller.get(f"accounts/{account_id}", at_version=3), 404, "not_found")
    before = (then - timedelta(days=1)).isoformat()
    problem(teller.get(f"accounts/{account_id}", as_of=before), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ({"as_of": "yesterday"}, "as_of", "moment"),
        ({"as_of": "2026-11-23T10:00:00"}, "as_of", "moment"),
        ({"as_of": "2026-13-23T10:00:00Z"}, "as_of", "moment"),
        ({"as_of": "0001-01-01T00:00:00+23:00"}, "as_of", "moment"),
        ({"at_version": "0"}, "at_version", "min_value"),
        ({"at_version": "99999999999999"}, "at_version", "max_value"),
        ({"at_version": "1", "as_of": "2026-11-23T10:00:00Z"}, "as_of", "exclusive"),
        ({"at_version": "1", "include": "changes"}, "at_version", "exclusive"),
        ({"min_version": "one"}, "min_version", "invalid"),
        ({"asof": "2026-11-23T10:00:00Z"}, "asof", "unknown_field"),
        ({"include": "\0"}, "include", "include"),
    ],
)
def test_it_refuses_a_question_that_it_does_not_understand(
    teller: Counter, query: dict[str, Any], field: str, code: str
) -> None:
    assert field_errors(teller.get(f"accounts/{uuid4()}", **query)) == {field: code}


def test_it_filters_and_pages_the_statement(teller: Counter) -> None:
    account_id = teller.account("1.00")
    for _ in range(3):
        teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00"})
    dispatch()
    path = f"accounts/{account_id}/entries"
    first = teller.get(path, limit=3).json()
    second = teller.get(path, limit=3, cursor=first["next_cursor"]).json()
    assert [line["version"] for line in first["data"] + second["data"]] == [4, 3, 2, 1]
    assert second["next_cursor"] is None
    assert [line["version"] for line in teller.get(path, kind="opening").json()["data"]] == [1]
    until = first["data"][0]["recorded_at"]
    assert [line["version"] for line in teller.get(path, created_to=until).json()["data"]] == [3, 2, 1]
    assert [line["version"] for line in teller.get(path, created_from=until).json()["data"]] == [4]


def test_it_lists_accounts_by_customer_state_currency_and_words(teller: Counter) -> None:
    customer_id = teller.customer()
    numbers = [
        teller.post("accounts", _open_body(customer_id, title=title, currency=currency)).json()["number"]
        for title, currency in (("Rent", "EUR"), ("Travel", "USD"), ("Savings", "EUR"))
    ]
    dispatch()
    mine: dict[str, Any] = {"customer_id": str(customer_id)}

    def found(**query: Any) -> list[str]:
        return [account["number"] for account in teller.get("accounts", **mine, **query).json()["data"]]

    assert found() == numbers[::-1]
    assert found(currency="USD") == [numbers[1]]
    assert found(state="CLOSED") == []
    assert found(search="sav") == [numbers[2]]
    assert found(search=numbers[0]) == [numbers[0]]
    first = teller.get("accounts", **mine, limit=2).json()
    assert found(limit=2, cursor=first["next_cursor"]) == [numbers[0]]


@pytest.mark.parametrize(
    "cursor", ["x", "!!!!", "WzEsMl0", "bnVsbA", "W10", "e30", "Ww==", "WyIyMDI2LTExLTIzVDEwOjAwOjAwIl0"]
)
@pytest.mark.parametrize("path", ["accounts", "customers", "transfers"])
def test_it_refuses_a_cursor_that_it_did_not_make(teller: Counter, path: str, cursor: str) -> None:
    assert field_errors(teller.get(path, cursor=cursor)) == {"cursor": "invalid"}


@pytest.mark.parametrize(("limit", "code"), [("0", "min_value"), ("201", "max_value"), ("x", "invalid")])
def test_it_refuses_a_page_of_that_size(teller: Counter, limit: str, code: str) -> None:
    assert field_errors(teller.get("accounts", limit=limit)) == {"limit": code}


def test_it_answers_304_until_the_answer_would_be_another(teller: Counter) -> None:
    account_id = teller.account("1.00")
    dispatch()
    path = f"accounts/{account_id}"
    etag = teller.get(path).headers["ETag"]
    unchanged = teller.get(path, {"If-None-Match": f"W/{etag}"})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", etag)
    teller.post(f"{path}/deposits", {"amount": "1.00"})
    dispatch()
    changed = teller.get(path, {"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
