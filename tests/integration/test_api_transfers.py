"""Transfers by API, from the request to the end of the saga."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, dispatching, field_errors, problem, written_rows


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


def _body(payer: UUID, payee: UUID, amount: Any = "150.00", **fields: Any) -> dict[str, Any]:
    return {"from_account_id": str(payer), "to_account_id": str(payee), "amount": amount, **fields}


def test_it_moves_the_money(teller: Counter) -> None:
    payer, payee = teller.account("500.00"), teller.account("100.00")
    made = teller.post("transfers", _body(payer, payee, description="Rent", reference="T-1", metadata={"a": "b"}))
    transfer_id = made.json()["transfer_id"]
    assert made.status_code == 202
    assert made.json() == {"transfer_id": transfer_id, "state": "INITIAL", "version": 1}
    assert made.headers["Location"] == f"/api/v1/transfers/{transfer_id}"
    dispatch()
    shown = teller.get(f"transfers/{transfer_id}", min_version=3).json()
    assert [step["event_type"] for step in shown["steps"]] == [
        "MoneyTransferCreated",
        "DebitRecorded",
        "CreditRecorded",
    ]
    assert shown["steps"][0]["actor"] == f"staff:{teller.member.username}"
    assert shown["completed_at"] >= shown["created_at"]
    assert {key: value for key, value in shown.items() if key not in {"steps", "completed_at", "created_at"}} == {
        "transfer_id": transfer_id,
        "from_account_id": str(payer),
        "to_account_id": str(payee),
        "amount": "150.00",
        "currency": "EUR",
        "description": "Rent",
        "reference": "T-1",
        "metadata": {"a": "b"},
        "state": "COMPLETED",
        "failure_reason": None,
        "initiated_by": f"staff:{teller.member.username}",
        "approved_by": None,
        "reverses": None,
        "reversed_by": None,
        "execute_at": None,
        "from_account_version": 2,
        "to_account_version": 2,
        "correlation_id": made.headers["X-Correlation-ID"],
        "version": 3,
    }
    assert (teller.balance(payer), teller.balance(payee)) == ("350.00", "250.00")
    assert [teller.get(f"accounts/{account}/entries").json()["data"][0]["amount"] for account in (payer, payee)] == [
        "-150.00",
        "150.00",
    ]


def test_it_ends_every_transfer_in_its_own_way(teller: Counter) -> None:
    supervisor = Counter(Role.SUPERVISOR)
    rich, poor, frozen, closed = (teller.account(balance) for balance in ("500.00", "1.00", "9.00", "0.00"))
    supervisor.post(f"accounts/{frozen}/freeze", {"reason": "x"})
    supervisor.post(f"accounts/{closed}/close", {"reason": "x"})
    expected = {
        teller.transfer(poor, rich, "1.01"): ("FAILED_DUE_TO_INSUFFICIENT_FUNDS", "insufficient_funds"),
        teller.transfer(frozen, rich, "1.00"): ("REJECTED", "account_frozen"),
        teller.transfer(rich, frozen, "1.00"): ("REFUNDED", "account_frozen"),
        teller.transfer(rich, closed, "1.00"): ("REFUNDED", "account_closed"),
    }
    dispatch()
    for transfer_id, (state, reason) in expected.items():
        shown = teller.get(f"transfers/{transfer_id}").json()
        assert (shown["state"], shown["failure_reason"]) == (state, reason)
        assert shown["completed_at"] is not None
    assert [teller.balance(account) for account in (rich, poor, frozen, closed)] == [
        "500.00",
        "1.00",
        "9.00",
        "0.00",
    ]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"amount": "10000000000.00"}, 422, "limit_exceeded"),
        ({"currency": "USD"}, 422, "currency_mismatch"),
        ({"from_account_id": str(uuid4())}, 422, "account_not_found"),
        ({"to_account_id": str(uuid4())}, 422, "account_not_found"),
        ({"amount": "0.00"}, 400, "validation_error"),
        ({"amount": "-1.00"}, 400, "validation_error"),
        ({"amount": "1.000"}, 400, "validation_error"),
        ({"amount": 1.5}, 400, "validation_error"),
        ({"description": "x" * 201}, 400, "validation_error"),
        ({"metadata": {"a": 1}}, 400, "validation_error"),
        ({"metadata": {str(number): "x" for number in range(21)}}, 400, "validation_error"),
        ({"metadata": {"": "x"}}, 400, "validation_error"),
        ({"metadata": ["a"]}, 400, "validation_error"),
        ({"execute": "now"}, 400, "validation_error"),
    ],
)
def test_it_refuses_and_writes_nothing(teller: Counter, fields: dict[str, Any], status: int, code: str) -> None:
    payer, payee = teller.account("500.00"), teller.account()
    before = written_rows()
    problem(teller.post("transfers", _body(payer, payee) | fields), status, code)
    assert written_rows() == before


def test_it_needs_two_accounts_of_one_currency(teller: Counter) -> None:
    euros, dollars = teller.account("500.00"), teller.account("500.00", currency="USD")
    before = written_rows()
    problem(teller.post("transfers", _body(euros, euros)), 422, "same_account")
    problem(teller.post("transfers", _body(euros, dollars)), 422, "currency_mismatch")
    problem(teller.post("transfers", _body(euros, teller.customer())), 422, "account_not_found")
    assert written_rows()[2] == before[2] + 1  # the customer's


def test_it_waits_for_the_end_when_that_is_preferred(teller: Counter) -> None:
    payer, payee = teller.account("500.00"), teller.account()
    with dispatching():
        answered = teller.post("transfers", _body(payer, payee), headers={"Prefer": "respond-async, wait=5"})
    assert answered.status_code == 200, answered.content
    assert answered.headers["Preference-Applied"] == "wait=5"
    assert answered.headers["Location"].endswith(answered.json()["transfer_id"])
    assert (answered.json()["state"], answered.json()["version"]) == ("COMPLETED", 3)
    # Both accounts show it at once, without asking for a version.
    assert (teller.balance(payer), teller.balance(payee)) == ("350.00", "150.00")


def test_it_answers_202_when_the_end_does_not_come_in_time(teller: Counter) -> None:
    payer, payee = teller.account("500.00"), teller.account()
    answered = teller.post("transfers", _body(payer, payee), headers={"Prefer": "wait=0"})
    assert (answered.status_code, answered.json()["state"]) == (202, "INITIAL")
    assert answered.headers["Preference-Applied"] == "wait=0"


@pytest.mark.parametrize("prefer", ["", "wait", "wait=soon", "wait=-1", "return=minimal"])
def test_it_ignores_a_preference_that_it_does_not_understand(teller: Counter, prefer: str) -> None:
    payer, payee = teller.account("500.00"), teller.account()
    answered = teller.post("transfers", _body(payer, payee), headers={"Prefer": prefer})
    assert answered.status_code == 202
    assert "Preference-Applied" not in answered.headers


def test_it_answers_a_repeat_with_the_transfer_that_there_is(teller: Counter) -> None:
    payer, payee = teller.account("500.00"), teller.account()
    first = teller.post("transfers", _body(payer, payee), key="the-only-one")
    dispatch()
    repeated = teller.post("transfers", _body(payer, payee), key="the-only-one")
    assert (repeated.status_code, repeated.json()) == (202, first.json())
    assert repeated.headers["Idempotent-Replayed"] == "true"
    waited = teller.post("transfers", _body(payer, payee), key="the-only-one", headers={"Prefer": "wait=1"})
    assert (waited.status_code, waited.json()["state"]) == (200, "COMPLETED")
    assert waited.headers["Idempotent-Replayed"] == "true"
    assert teller.balance(payer) == "350.00"


def _waiting_post(teller: Counter, payer: UUID, payee: UUID) -> Any:
    return teller.post("transfers", _body(payer, payee), key="waited-for", headers={"Prefer": "wait=1"})


def test_it_answers_the_repeat_of_a_request_that_waited_as_it_did_at_first(teller: Counter) -> None:
    payer, payee = teller.account("500.00"), teller.account()
    teller.post("transfers", _body(payer, payee), key="waited-for")
    dispatch()
    first, again = (_waiting_post(teller, payer, payee) for _ in range(2))
    assert (first.status_code, first.json()["state"]) == (200, "COMPLETED")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Preference-Applied"] == first.headers["Preference-Applied"] == "wait=1"


def test_it_lists_transfers_by_account_state_and_reference(teller: Counter) -> None:
    hub, other = teller.account("500.00"), teller.account("1.00")
    reference = str(uuid4())
    out = teller.transfer(hub, other, "1.00", reference=reference)
    back = teller.transfer(other, hub, "1.00")
    too_much = teller.transfer(other, hub, "100.00", reference=reference)
    dispatch()

    def found(**query: Any) -> list[UUID]:
        listed = teller.get("transfers", **query).json()["data"]
        assert all("steps" not in transfer for transfer in listed)
        return [UUID(transfer["transfer_id"]) for transfer in listed]

    mine: dict[str, Any] = {"account_id": str(hub)}
    assert found(**mine) == [too_much, back, out]
    assert found(**mine, state="COMPLETED") == [back, out]
    assert found(reference=reference) == [too_much, out]
    first = teller.get("transfers", **mine, limit=2).json()
    assert found(**mine, limit=2, cursor=first["next_cursor"]) == [out]
    created = first["data"][1]["created_at"]
    assert found(**mine, created_from=created) == [too_much, back]
    assert found(**mine, created_to=created) == [out]
    assert field_errors(teller.get("transfers", state="LOST")) == {"state": "invalid_choice"}


def test_it_does_not_find_a_transfer_that_is_not_there(teller: Counter) -> None:
    problem(teller.get(f"transfers/{uuid4()}"), 404, "not_found")
    problem(teller.get(f"transfers/{uuid4()}", min_version=1), 404, "not_found")
    problem(teller.get("transfers/not-an-id"), 404, "not_found")
