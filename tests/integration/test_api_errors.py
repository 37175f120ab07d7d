"""Every refusal is a problem that a program can branch on, and none tells of the inside."""

from __future__ import annotations

import json
import logging
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError

from accounts import services
from accounts.domain import account, customer
from config.staff.roles import Role
from eventstore.refusals import InvalidValue, Refusal
from eventstore.rest import problems
from eventstore.rest.parsing import MAX_BODY_BYTES
from eventstore.rest.problems import KINDS, as_api_exception
from eventstore.store import StreamNotFound
from tests.conftest import Database
from tests.integration.counter import API, Counter, dispatch, field_errors, problem, written_rows
from transfers.domain import transfer
from views_readmodel import queries


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"name"',
        b'{"name": "Alice", "name": "Bob"}',
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"name": -Infinity}',
        b'{"name": 1e999}',
        b'{"name": ' + b"1" * 5_000 + b"}",
        b'{"name": "\\ud800"}',
        b'{"name": "\\u0000"}',
        b'{"a\\u0000": "x"}',
        b'{"name": "\xff"}',
        b'\xef\xbb\xbf{"name": "Alice"}',
        b'{"name": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"name": ' + b"[" * 100_000,
        b'{"name": "Alice",}',
        b"{'name': 'Alice'}",
    ],
)
def test_it_refuses_a_body_that_is_not_strict_json(teller: Counter, body: bytes) -> None:
    before = written_rows()
    problem(teller.post_raw("customers", body), 400, "validation_error")
    assert written_rows() == before


def test_it_takes_a_character_outside_the_basic_plane_in_either_spelling(teller: Counter) -> None:
    for body in (b'{"name": "\\ud83d\\ude00"}', '{"name": "\U0001f600"}'.encode()):
        assert teller.post_raw("customers", body).status_code == 201


def test_it_refuses_a_body_that_is_too_large(teller: Counter) -> None:
    body = json.dumps({"name": "x" * MAX_BODY_BYTES}).encode()
    problem(teller.post_raw("customers", body), 413, "request_too_large")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_it_takes_json_only(teller: Counter, content_type: str) -> None:
    answered = teller.post_raw("customers", b'{"name": "Alice"}', content_type=content_type)
    problem(answered, 415, "unsupported_media_type")


def test_it_answers_json_only(teller: Counter) -> None:
    problem(teller.get("accounts", {"Accept": "text/html"}), 406, "not_acceptable")


@pytest.mark.parametrize("method", ["put", "delete", "options", "trace"])
def test_it_says_which_methods_an_address_takes(teller: Counter, method: str) -> None:
    answered = teller.client.generic(method.upper(), f"{API}/customers")
    problem(answered, 405, "method_not_allowed")
    assert answered.headers["Allow"] == "GET, POST, HEAD"


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/", "/api/v2/accounts", "/api", "/api/v1/accounts/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_says_so_where_there_is_nothing(teller: Counter, method: str, path: str) -> None:
    answered = teller.client.generic(method, path)
    assert problem(answered, 404, "not_found")["instance"] == path


def test_it_refuses_parameters_that_are_unknown_or_given_twice(teller: Counter) -> None:
    unknown = teller.get("accounts", stat="OPEN")
    assert field_errors(unknown) == {"stat": "unknown_field"}
    assert unknown.json()["detail"] == "stat: There is no such parameter."
    assert field_errors(teller.client.get(f"{API}/accounts?state=OPEN&state=CLOSED")) == {"state": "repeated"}


def test_it_says_that_a_body_is_empty(teller: Counter) -> None:
    assert problem(teller.post_raw("customers", b" "), 400, "validation_error")["detail"].startswith(
        "The body is empty"
    )


def test_it_says_what_there_is_none_of(teller: Counter) -> None:
    answered = teller.patch(f"customers/{uuid4()}", {"name": "Nobody"})
    assert problem(answered, 404, "not_found")["detail"] == "There is no such customer."


def test_it_reads_an_id_in_either_case(teller: Counter) -> None:
    account_id = str(teller.account()).upper()
    assert teller.post(f"accounts/{account_id}/deposits", {"amount": "1.00"}).status_code == 201


def test_it_takes_the_cursor_of_no_other_list(teller: Counter) -> None:
    for _ in range(2):
        teller.account()
    dispatch()
    cursor = teller.get("accounts", limit=1).json()["next_cursor"]
    assert teller.get("accounts", cursor=cursor).status_code == 200
    for other in ("customers", "transfers"):
        assert field_errors(teller.get(other, cursor=cursor)) == {"cursor": "invalid"}


def test_it_logs_a_request_to_come_back_later_once_and_not_as_an_error(
    teller: Counter, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = teller.account()
    monkeypatch.setattr(queries, "wait_for_version", partial(queries.wait_for_version, seconds=0))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        problem(teller.get(f"accounts/{account_id}", min_version=9), 503, "not_yet_visible")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_it_tells_nothing_of_the_inside(
    teller: Counter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("the combination of the safe is 1234")

    monkeypatch.setattr(services, "register_customer", fail)
    correlation_id = str(uuid4())
    answered = teller.post("customers", {"name": "Alice"}, headers={"X-Correlation-ID": correlation_id})
    found = problem(answered, 500, "internal_error")
    assert found["correlation_id"] == correlation_id
    assert b"safe" not in answered.content
    assert b"RuntimeError" not in answered.content
    assert any(
        "request_failed" in record.getMessage() and correlation_id in record.getMessage() for record in caplog.records
    )


def test_it_asks_to_come_back_when_the_database_is_away(teller: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise OperationalError("the connection is lost at 10.0.0.7")

    monkeypatch.setattr(services, "register_customer", fail)
    answered = teller.post("customers", {"name": "Alice"})
    assert "10.0.0.7" not in str(problem(answered, 503, "unavailable"))
    assert answered.headers["Retry-After"] == "1"


def test_it_takes_a_correlation_id_and_makes_one_otherwise(teller: Counter) -> None:
    given = str(uuid4())
    assert teller.get("accounts", {"X-Correlation-ID": given}).headers["X-Correlation-ID"] == given
    for odd in ("", "x", "{" + given + "}", given.replace("-", ""), given + "0"):
        made = teller.get("accounts", {"X-Correlation-ID": odd}).headers["X-Correlation-ID"]
        assert made not in {"", odd}
    assert teller.client.get("/health/live").headers["X-Correlation-ID"]


def _refusals(module: Any) -> list[type[Refusal]]:
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Refusal) and found.__module__ == module.__name__
    ]


@pytest.mark.parametrize("module", [account, customer, transfer, services], ids=lambda module: module.__name__)
def test_every_refusal_has_a_status_and_a_sentence(module: Any) -> None:
    for refusal in _refusals(module):
        answered = as_api_exception(refusal())
        assert answered is not None
        expected = 400 if issubclass(refusal, InvalidValue) else 404 if refusal.code == "not_found" else 422
        assert answered.status_code == expected, refusal
        assert refusal.sentence().endswith("."), refusal
        assert refusal.code == refusal.code.lower(), refusal


def test_an_error_that_is_not_meant_for_people_has_no_status() -> None:
    class Odd(Exception):
        code = "unheard_of"

    assert as_api_exception(Odd()) is None
    assert as_api_exception(ValueError("x")) is None


def test_the_title_of_a_problem_says_the_same_as_its_error() -> None:
    assert problems.sentence_of(StreamNotFound()) == KINDS["not_found"].title
