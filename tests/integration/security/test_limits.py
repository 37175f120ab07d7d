"""Limits on how often anybody may ask."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from pytest_django import Settings

from config.staff import limits
from config.staff.roles import Role
from eventstore.ids import new_id
from eventstore.rest.parsing import MAX_BODY_BYTES
from eventstore.rest.scopes import request_of
from tests.conftest import Database
from tests.integration.counter import API, Counter, problem
from tests.integration.pages.desk import Desk
from tests.redis_server import RedisServer
from views_readmodel.live.stream import LiveChanges, Refused

PATIENT_SECONDS = 3.0


@pytest.fixture(autouse=True)
def limited(committed_db: Database, settings: Settings) -> Iterator[Settings]:
    """Everything at most three times a minute."""
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, 3)
    limits._client(settings.REDIS_URL).flushdb()
    yield settings
    limits._away.clear()


def _counter(role: Role = Role.TELLER) -> Counter:
    return Counter(role, name=f"{role.value}-{new_id()}")


def test_reads_and_writes_are_counted_apart_and_by_principal() -> None:
    counter = _counter()
    for _ in range(3):
        assert counter.get("accounts").status_code == 200
        assert counter.post("customers", {"name": "Alice"}).status_code == 201
    for refused in (counter.get("accounts"), counter.post("customers", {"name": "Alice"})):
        problem(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
    assert _counter().get("accounts").status_code == 200


def test_a_refused_write_takes_no_effect_and_uses_up_no_key(limited: Settings) -> None:
    counter = _counter()
    for _ in range(3):
        counter.post("customers", {"name": "Alice"})
    problem(counter.post("customers", {"name": "Alice"}, key=(key := str(new_id()))), 429, "rate_limited")
    limits._client(limited.REDIS_URL).flushdb()
    answered = counter.post("customers", {"name": "Alice"}, key=key)
    assert answered.status_code == 201
    assert "Idempotent-Replayed" not in answered.headers


def test_a_program_has_a_limit_of_its_own(limited: Settings) -> None:
    limited.RATE_LIMITS = limited.RATE_LIMITS | {"program_reads": 5}
    program = _counter(Role.SERVICE)
    assert [program.get("accounts").status_code for _ in range(6)] == [200] * 5 + [429]


def test_whoever_is_not_signed_in_is_counted_by_address() -> None:
    assert [Client().get(f"{API}/schema").status_code for _ in range(4)] == [200] * 3 + [429]
    assert Client(REMOTE_ADDR="192.0.2.1").get(f"{API}/schema").status_code == 200


COOKIE = {"Cookie": f"sessionid={'a' * 32}"}


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        (f"{API}/accounts", {}, 401),
        (f"{API}/accounts", COOKIE, 401),
        (f"{API}/accounts", {"Authorization": "Basic eA=="}, 401),
        (f"{API}/nowhere", {}, 404),
        ("/api", {}, 404),
        ("/api/v9/accounts", COOKIE, 404),
        ("/metrics", {}, 401),
        ("/metrics", COOKIE, 401),
        ("/metrics", {"Authorization": "Basic eA=="}, 401),
        ("/metrics", {"Authorization": f"Bearer {'0' * 64}"}, 401),
        ("/metrics/x", {}, 404),
        ("/metricsx", {}, 404),
        ("/health/x", COOKIE, 404),
        ("/health/live/", {}, 404),
        # Refused before anybody is looked for, or before there is a view.
        ("/log-in?%ff", {}, 400),
        (f"{API}/accounts?%ff", COOKIE, 400),
        (f"{API}/nowhere?%ff", {}, 400),
        ("/health/live?%ff", {}, 400),
        ("/metrics?%ff", {}, 400),
        ("/log-in", {"Content-Type": "x/y; charset=x"}, 415),
        (f"{API}/accounts", {"Content-Type": "x/y; charset=x"}, 415),
        ("/log-in", {"Accept": "x/y; a*=b"}, 406),
        (f"{API}/accounts", {"Accept": "x/y; a*=b"}, 406),
        ("/log-in", {"Host": "evil.example"}, 400),
        (f"{API}/accounts", {"Host": "evil.example"}, 400),
        (f"{API}/nowhere", {"Host": "evil.example"}, 400),
        ("/health/live", {"Host": "evil.example"}, 400),
        ("/static/daybook/icon.svg", {"Host": "evil.example"}, 400),
    ],
)
def test_who_is_refused_is_counted_too(address: str, headers: dict[str, str], status: int) -> None:
    answers = [Client(headers=headers).get(address) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [status] * 3 + [429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    if address.startswith("/api"):
        problem(answers[-1], 429, "rate_limited")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"username=%ff", "application/x-www-form-urlencoded", 400),
        (b"username=x", "application/x-www-form-urlencoded; charset=latin-1", 415),
        (b"--x--", "multipart/form-data; boundary=x", 415),
        (b"x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1), "application/x-www-form-urlencoded", 413),
    ],
)
def test_a_form_that_cannot_be_read_is_counted_too(body: bytes, content_type: str, status: int) -> None:
    sent = [Client().generic("POST", "/log-in", body, content_type) for _ in range(4)]
    assert [answer.status_code for answer in sent] == [status] * 3 + [429]


@pytest.mark.parametrize("address", ["schema", "docs"])
def test_who_asks_for_the_schema_too_often_is_told_so_in_a_problem(address: str) -> None:
    answers = [Client().get(f"{API}/{address}", headers={"Accept": "*/*"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    problem(answers[-1], 429, "rate_limited")


def test_what_a_role_forbids_and_what_is_forged_is_counted_too() -> None:
    auditor = _counter(Role.AUDITOR)
    assert [auditor.post("customers", {"name": "Alice"}).status_code for _ in range(4)] == [403] * 3 + [429]
    desk = Desk(Role.TELLER).client
    desk.handler.enforce_csrf_checks = True
    limits._client(settings.REDIS_URL).flushdb()
    sent = [desk.post(f"{API}/customers", {"name": "Alice"}, "application/json") for _ in range(4)]
    assert [answer.status_code for answer in sent] == [403] * 3 + [429]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{bad", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"name=Alice", "application/x-www-form-urlencoded", 415),
        (b" " * (MAX_BODY_BYTES + 1), "application/json", 413),
    ],
)
def test_a_body_that_cannot_be_read_is_counted_with_and_without_a_token_against_forgery(
    body: bytes, content_type: str, status: int
) -> None:
    desk = Desk(Role.TELLER).client
    desk.handler.enforce_csrf_checks = True
    desk.get("/customers/register")
    for headers in ({}, {"X-CSRFToken": desk.cookies["csrftoken"].value}):
        limits._client(settings.REDIS_URL).flushdb()
        sent = [desk.generic("POST", f"{API}/customers", body, content_type, headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in sent] == [status] * 3 + [429]


def test_a_request_is_counted_once(limited: Settings) -> None:
    limited.RATE_LIMITS = limited.RATE_LIMITS | {"person_reads": 6}
    counter = _counter()
    assert [counter.get("accounts").status_code for _ in range(7)] == [200] * 6 + [429]


def test_a_page_that_is_refused_is_counted_once() -> None:
    desk = Desk(Role.TELLER)
    unreadable = "/accounts?" + "&".join(f"f{number}=1" for number in range(5_000))
    assert [desk.get(unreadable).status_code for _ in range(4)] == [400] * 3 + [429]
    assert [Client().get("/log-in").status_code for _ in range(4)] == [200] * 3 + [429]


def test_probes_and_scrapes_are_not_counted(limited: Settings) -> None:
    limited.METRICS_TOKEN = "scrape"
    scrape = {"Authorization": "Bearer scrape"}
    for _ in range(6):
        assert Client().get("/health/live").status_code == 200
        assert Client().get("/health/ready").status_code == 200
        assert Client(headers=scrape).get("/metrics").status_code == 200


def _streams(cookie: str, times: int) -> list[int]:
    """The statuses of streams that somebody asks for."""
    live = LiveChanges(wait_seconds=limits.listener_wait_seconds)
    headers = [(b"host", b"127.0.0.1"), (b"cookie", cookie.encode())]
    scope = {"method": "GET", "path": "/live/changes", "headers": headers, "client": ("192.0.2.7", 1)}
    found = []
    for _ in range(times):
        try:
            live._look(request_of(scope))
        except Refused as refused:
            found.append(refused.status)
        else:
            found.append(200)
    return found


def test_streams_are_counted_by_person_and_who_has_no_session_by_address() -> None:
    assert _streams("sessionid=invented", 4) == [401] * 3 + [429]
    desk = Desk(Role.TELLER).client
    assert _streams(f"sessionid={desk.cookies['sessionid'].value}", 4) == [200] * 3 + [429]


def test_who_guesses_tokens_is_told_to_wait() -> None:
    guess = {"Authorization": f"Bearer {'0' * 64}"}
    assert [Client().get(f"{API}/accounts", headers=guess).status_code for _ in range(4)] == [401] * 3 + [429]


def test_log_ins_are_counted_by_address_on_pages_and_api() -> None:
    fields = {"username": f"nobody-{new_id()}", "password": "wrong"}
    assert [Client().post("/log-in", fields).status_code for _ in range(2)] == [200] * 2
    assert Client().post(f"{API}/auth/login", fields, "application/json").status_code == 401
    problem(Client().post(f"{API}/auth/login", fields, "application/json"), 429, "rate_limited")
    page = Client().post("/log-in", fields)
    assert page.status_code == 429
    assert int(page.headers["Retry-After"]) >= 1
    assert b"too many" in page.content


def test_pages_are_counted_by_person(limited: Settings) -> None:
    desk, other = Desk(Role.TELLER), Desk(Role.SUPERVISOR)
    assert [desk.get("/accounts").status_code for _ in range(4)] == [200] * 3 + [429]
    assert other.get("/accounts").status_code == 200
    assert Client().get("/health/live").status_code == 200


def test_a_share_comes_back_with_time(limited: Settings) -> None:
    limited.RATE_LIMITS = limited.RATE_LIMITS | {"person_reads": 600}
    who = str(new_id())
    assert not any(limits.wait_seconds("person_reads", who) for _ in range(600))
    waited = limits.wait_seconds("person_reads", who)
    assert waited <= 1  # one every tenth of a second


def test_nobody_is_limited_and_nobody_waits_while_redis_hangs(limited: Settings, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        limited.REDIS_URL = redis.url
        assert [limits.wait_seconds("person_reads", "x") > 0 for _ in range(4)] == [False] * 3 + [True]
        redis.freeze()
        began = time.monotonic()
        assert not any(limits.wait_seconds("person_reads", "x") for _ in range(200))
        assert time.monotonic() - began < PATIENT_SECONDS
        redis.thaw()
        deadline = time.monotonic() + 20
        while limits._away.is_set() and time.monotonic() < deadline:
            limits._away.wait(0.01)
        assert limits.wait_seconds("person_reads", "x") > 0
    finally:
        redis.thaw()
        redis.kill()
