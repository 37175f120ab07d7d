"""A request that may be repeated: done once, answered alike, and never mistaken for another."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections, transaction

from config.staff.roles import Role
from eventstore import idempotency
from eventstore.appending import lock_key
from eventstore.conf import store_settings
from eventstore.idempotency import Claim
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, field_errors, problem, written_rows

_LOCK = "SELECT pg_advisory_xact_lock(%s)"


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


def _deposit(counter: Counter, account_id: UUID, amount: str, key: str) -> Any:
    return counter.post(f"accounts/{account_id}/deposits", {"amount": amount}, key=key)


def test_it_does_a_repeated_request_once_and_answers_alike(teller: Counter) -> None:
    account_id, key = teller.account(), str(uuid4())
    first = _deposit(teller, account_id, "5.00", key)
    before = written_rows()
    again = _deposit(teller, account_id, "5.00", key)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert written_rows() == before


def test_it_gives_the_location_again(teller: Counter) -> None:
    first = teller.post("customers", {"name": "Alice"}, key="alice-once")
    again = teller.post("customers", {"name": "Alice"}, key="alice-once")
    assert again.headers["Location"] == first.headers["Location"]


def test_it_knows_a_request_again_in_another_spelling(teller: Counter) -> None:
    key = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    for body in (b'{"name":"Bob","reference":"B"}', b' { "reference" : "\\u0042", "name" : "Bob" } '):
        answered = teller.client.generic("POST", "/api/v1/customers", body, "application/json", headers=key)
        assert answered.status_code == 201
    assert answered.headers["Idempotent-Replayed"] == "true"


def test_it_knows_an_address_again_with_the_id_in_capitals(teller: Counter) -> None:
    account_id, key = teller.account(), str(uuid4())
    first = _deposit(teller, account_id, "5.00", key)
    again = teller.post(f"accounts/{str(account_id).upper()}/deposits", {"amount": "5.00"}, key=key)
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"


def test_it_refuses_a_key_for_anything_else(teller: Counter) -> None:
    account_id, other, key = teller.account(), teller.account(), str(uuid4())
    _deposit(teller, account_id, "5.00", key)
    before = written_rows()
    problem(_deposit(teller, account_id, "5.01", key), 422, "idempotency_key_reused")
    problem(_deposit(teller, other, "5.00", key), 422, "idempotency_key_reused")
    problem(teller.post("customers", {"name": "Alice"}, key=key), 422, "idempotency_key_reused")
    assert written_rows() == before


def test_it_lets_another_client_use_the_same_key(teller: Counter) -> None:
    account_id, key = teller.account(), str(uuid4())
    assert _deposit(teller, account_id, "5.00", key).json()["version"] == 2
    assert _deposit(Counter(Role.SUPERVISOR), account_id, "5.00", key).json()["version"] == 3


def test_it_keeps_no_key_of_a_refusal(teller: Counter) -> None:
    account_id, key = teller.account(), str(uuid4())
    path, body = f"accounts/{account_id}/withdrawals", {"amount": "5.00"}
    problem(teller.post(path, body, key=key), 422, "insufficient_funds")
    _deposit(teller, account_id, "5.00", str(uuid4()))
    assert teller.post(path, body, key=key).json()["balance"] == "0.00"
    # … not even of one for something else.
    problem(teller.post("customers", {"name": ""}, key="used-for-nothing"), 400, "validation_error")
    assert teller.post("customers", {"name": "Alice"}, key="used-for-nothing").status_code == 201


@pytest.mark.parametrize("key", ["a b", "ä", "x" * 256, "tab\there"])
def test_it_refuses_a_key_that_is_not_visible_characters(teller: Counter, key: str) -> None:
    answered = teller.client.post("/api/v1/customers", {"name": "Alice"}, format="json", HTTP_IDEMPOTENCY_KEY=key)
    assert field_errors(answered) == {"Idempotency-Key": "invalid"}


def test_it_takes_every_visible_character_up_to_255(teller: Counter) -> None:
    key = "".join(map(chr, range(0x21, 0x7F))).ljust(255, "x")
    assert teller.post("customers", {"name": "Alice"}, key=key).status_code == 201


def test_it_needs_a_key_for_every_post(teller: Counter) -> None:
    found = problem(teller.post("customers", {"name": "Alice"}, key=None), 400, "idempotency_key_required")
    assert "errors" not in found


def test_it_does_concurrent_repeats_once(teller: Counter) -> None:
    account_id, key, together = teller.account(), str(uuid4()), Barrier(4)
    counters = [Counter(Role.TELLER) for _ in range(4)]
    answers: list[Any] = []

    def repeat(counter: Counter) -> None:
        try:
            together.wait()
            answers.append(_deposit(counter, account_id, "5.00", key))
        finally:
            connections.close_all()

    threads = [Thread(target=repeat, args=[counter]) for counter in counters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    dispatch()
    assert teller.balance(account_id) == "5.00"


def test_it_says_when_the_first_request_is_still_in_progress(teller: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.05)
    key, answers = str(uuid4()), []
    claim = Claim(principal=teller.member.actor, key=key, fingerprint=b"")

    def ask() -> None:
        try:
            answers.append(teller.post("customers", {"name": "Alice"}, key=key))
        finally:
            connections.close_all()

    _while_locked(claim.lock_key(), ask)
    problem(answers[0], 409, "idempotency_in_progress")
    assert answers[0].headers["Retry-After"] == "1"


def test_it_says_when_others_hold_the_account_too_long(
    teller: Counter, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    account_id, answers = teller.account(), []
    settings.EVENTSTORE = settings.EVENTSTORE | {"LOCK_TIMEOUT_MS": 50}
    assert store_settings().LOCK_TIMEOUT_MS == 50

    def ask() -> None:
        try:
            answers.append(_deposit(teller, account_id, "5.00", str(uuid4())))
        finally:
            connections.close_all()

    _while_locked(lock_key(account_id), ask)
    problem(answers[0], 503, "busy")
    assert answers[0].headers["Retry-After"] == "1"


def _while_locked(key: int, ask: Any) -> None:
    """Runs `ask` in a thread while another transaction holds the advisory lock."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_LOCK, [key])
        thread = Thread(target=ask)
        thread.start()
        thread.join()
