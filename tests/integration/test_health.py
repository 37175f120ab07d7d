"""The probes say which part is broken, and say it soon."""

import threading
import time

import pytest
from django.test import Client

from config import health
from config.celery import app


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known from an earlier test."""
    monkeypatch.setattr(health, "_latest", health.Latest(health._look))


@pytest.mark.django_db
def test_it_is_ready_when_every_part_is(redis_url: str, client: Client) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "database": "ok", "broker": "ok", "migrations": "ok", "posting": "ok"}


@pytest.mark.django_db
def test_it_serves_without_its_broker_and_says_so_soon(client: Client, redis_url: str) -> None:
    app.conf.broker_url = "redis://127.0.0.1:1/0"
    try:
        began = time.monotonic()
        answer = client.get("/health/ready")
        assert time.monotonic() - began < 3
    finally:
        app.conf.broker_url = redis_url.replace("unix:", "redis+socket:").replace("db=", "virtual_host=")
    assert answer.status_code == 200
    expected = {"status": "degraded", "database": "ok", "broker": "failing", "migrations": "ok", "posting": "ok"}
    assert answer.json() == expected


@pytest.mark.django_db
def test_it_is_not_ready_before_its_migrations(client: Client, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    health._check_migrations.cache_clear()
    monkeypatch.setattr("config.health.MigrationExecutor.migration_plan", lambda *_: ["one"])
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["migrations"] == "failing"


def test_it_looks_once_in_a_second_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def look() -> health.Answer:
        looked.append(1)
        return 200, {"status": "ok"}

    latest = health.Latest(look)
    assert [latest.answer()[0] for _ in range(100)] == [200] * 100
    assert len(looked) == 1
    monkeypatch.setattr(health, "KEPT_SECONDS", 0.0)
    latest.answer()
    assert len(looked) == 2


def test_while_one_looks_the_others_are_told_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    looking, go_on = threading.Event(), threading.Event()

    def look() -> health.Answer:
        looking.set()
        go_on.wait(10)
        return 503, {}

    latest = health.Latest(look)
    latest._found = (200, {})
    monkeypatch.setattr(health, "KEPT_SECONDS", 0.0)
    slow = threading.Thread(target=latest.answer)
    slow.start()
    assert looking.wait(10)
    assert latest.answer() == (200, {})
    go_on.set()
    slow.join(10)
    assert latest._found == (503, {})


def test_it_lives_without_anything_else(client: Client) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}


def test_it_is_only_read(client: Client) -> None:
    assert client.post("/health/live").status_code == 405
