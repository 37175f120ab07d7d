"""Customers by API, and what is never written in plain text."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, field_errors, problem, written_rows

_SELECT_TEXT = """
SELECT string_agg(data::text, ' ') FROM eventstore_event WHERE stream_id = %s
UNION ALL SELECT string_agg(answer::text, ' ') FROM eventstore_idempotency_record
UNION ALL SELECT string_agg(state::text, ' ') FROM eventstore_snapshot WHERE stream_id = %s
"""


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


def test_it_registers_a_customer_and_shows_them(teller: Counter) -> None:
    body = {"name": " Zoë Åkerström ", "email": "zoe@example.com", "phone": "+46 8 123", "reference": "C-9"}
    made = teller.post("customers", body)
    assert made.status_code == 201
    customer_id = made.json()["customer_id"]
    assert made.headers["Location"] == f"/api/v1/customers/{customer_id}"
    dispatch()
    shown = teller.get(f"customers/{customer_id}", min_version=1).json()
    assert shown.pop("created_at")
    assert shown == body | {"name": "Zoë Åkerström", "customer_id": customer_id, "version": 1}


def test_it_writes_no_name_in_plain_text(teller: Counter) -> None:
    secret = f"Xaver{uuid4().hex}"
    customer_id = teller.customer(secret, email=f"{secret}@example.com")
    teller.patch(f"customers/{customer_id}", {"name": f"{secret} Jr", "phone": "+49 30 7654321"})
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_TEXT, [customer_id, customer_id])
        text = " ".join(row[0] or "" for row in cursor.fetchall())
    assert "CustomerRegistered" not in text  # it is the events' data that was read
    assert secret not in text
    assert "7654321" not in text


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"name": ""}, "name", "required"),
        ({"name": None}, "name", "null"),
        ({"name": "x" * 201}, "name", "max_length"),
        ({"name": "a\nb"}, "name", "invalid_text"),
        ({"email": "nobody"}, "email", "invalid_email"),
        ({"phone": "call me"}, "phone", "invalid_phone"),
        ({"phone": 49301234}, "phone", "invalid"),
        ({"vip": True}, "vip", "unknown_field"),
    ],
)
def test_it_names_the_field_that_no_customer_can_have(
    teller: Counter, fields: dict[str, Any], field: str, code: str
) -> None:
    before = written_rows()
    assert field_errors(teller.post("customers", {"name": "Alice"} | fields)) == {field: code}
    assert written_rows() == before


def test_it_changes_only_what_is_given(teller: Counter) -> None:
    customer_id = teller.customer("Alice Abel", email="alice@example.com", phone="+49 30 1")
    renamed = teller.patch(f"customers/{customer_id}", {"name": "Alice Berg"})
    assert renamed.status_code == 200
    assert {key: renamed.json()[key] for key in ("name", "email", "phone", "version")} == {
        "name": "Alice Berg",
        "email": "alice@example.com",
        "phone": "+49 30 1",
        "version": 2,
    }
    moved = teller.patch(f"customers/{customer_id}", {"name": "Alice Cole", "phone": None}).json()
    assert (moved["name"], moved["email"], moved["phone"]) == ("Alice Cole", "alice@example.com", None)
    assert moved["version"] == 4
    dispatch()
    assert teller.get(f"customers/{customer_id}").json() == moved


def test_it_changes_all_or_nothing(teller: Counter) -> None:
    customer_id = teller.customer()
    before = written_rows()
    refused = teller.patch(f"customers/{customer_id}", {"name": "Alice Berg", "email": "nobody"})
    assert field_errors(refused) == {"email": "invalid_email"}
    assert field_errors(teller.patch(f"customers/{customer_id}", {})) == {None: "nothing_to_change"}
    assert field_errors(teller.patch(f"customers/{customer_id}", {"reference": "x"})) == {"reference": "unknown_field"}
    assert written_rows() == before
    problem(teller.patch(f"customers/{uuid4()}", {"name": "Nobody"}), 404, "not_found")


def test_it_changes_what_was_seen_and_nothing_newer(teller: Counter) -> None:
    customer_id = teller.customer()
    dispatch()
    path = f"customers/{customer_id}"
    seen = teller.get(path).headers["ETag"]
    assert teller.patch(path, {"name": "Alice Berg"}, headers={"If-Match": seen}).status_code == 200
    before = written_rows()
    late = teller.patch(path, {"name": "Alice Cole"}, headers={"If-Match": seen})
    problem(late, 412, "version_mismatch")
    for other in ('"x"', "x", '"0-000000000000000000000000"', f'"{2**31}-{"0" * 24}"'):
        refused = teller.patch(path, {"name": "Alice Cole"}, headers={"If-Match": other})
        problem(refused, 412, "version_mismatch")
    assert written_rows() == before
    dispatch()
    newer = teller.get(path).headers["ETag"]
    both = teller.patch(path, {"name": "Alice Cole"}, headers={"If-Match": f"{seen}, {newer}"})
    assert both.json()["version"] == 3
    assert teller.patch(path, {"name": "Alice Dorn"}, headers={"If-Match": "*"}).json()["version"] == 4


def test_it_finds_customers_by_the_beginnings_of_words(teller: Counter) -> None:
    rare = f"Q{uuid4().hex}"
    ids = [teller.customer(f"{given} {rare}") for given in ("Anna", "Annegret", "Bert")]
    dispatch()

    def found(search: str, **query: Any) -> list[str]:
        listed = teller.get("customers", search=search, **query).json()
        return [customer["customer_id"] for customer in listed["data"]]

    assert found(rare) == [str(id) for id in ids[::-1]]
    assert found(f"ann {rare[:20]}") == [str(ids[1]), str(ids[0])]
    assert found(f"bert {rare} carl") == []
    first = teller.get("customers", search=rare, limit=2).json()
    assert found(rare, limit=2, cursor=first["next_cursor"]) == [str(ids[0])]
    for odd in ("'", "& | !", "\\", "a:*b", "%", "()"):
        assert teller.get("customers", search=odd).status_code == 200
