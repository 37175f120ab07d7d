"""Who is signed in while Postgres is away is told that it is away, by pages, admin and API alike, and so is the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from django.db import OperationalError, connections
from django.test import Client

from config import health
from config.staff.authentication import RoleBackend
from config.staff.roles import Role
from tests.conftest import Database
from tests.daybook_process import free_port
from tests.integration.admins import browser
from tests.integration.counter import API, problem

PAGES = ("/", "/accounts", "/customers/register", "/password", "/admin/", "/admin/eventstore/event/")


@pytest.fixture
def auditor(committed_db: Database) -> Client:
    """Somebody who may look at pages, admin and API, signed in while Postgres was there."""
    client = browser(Role.AUDITOR)
    client.raise_request_exception = False
    return client


@pytest.fixture
def _away(auditor: Client) -> Iterator[None]:
    """Nobody listens where Postgres was."""
    default = connections.settings["default"]
    before = {name: default[name] for name in ("HOST", "PORT")}
    connections["default"].close()
    default.update(HOST="127.0.0.1", PORT=str(free_port()))
    yield
    default.update(before)


def _logged_tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.exc_info]
    return lines + [line for line in map(str, caplog.messages) if "exc_info" in line or "Traceback" in line]


@pytest.mark.usefixtures("_away")
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_away_for_a_moment(auditor: Client, address: str, method: str) -> None:
    answered = getattr(auditor, method)(address)
    assert answered.status_code == 503
    assert answered.headers["Retry-After"]
    assert b"Away for a moment" in answered.content
    assert answered.headers["X-Correlation-ID"] in answered.content.decode()


@pytest.mark.usefixtures("_away")
@pytest.mark.parametrize("address", [f"{API}/accounts", f"{API}/schema", "/api/v1/nothing"])
def test_the_api_is_unavailable_to_a_browser_as_it_is_to_a_program(auditor: Client, address: str) -> None:
    answered = auditor.get(address)
    problem(answered, 503, "unavailable")
    assert answered.headers["Retry-After"] == "1"


@pytest.mark.usefixtures("_away")
def test_probes_say_what_is_away_also_to_a_browser(auditor: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_latest", health.Latest(health._look))
    assert auditor.get("/health/live").json() == {"status": "ok"}
    ready = auditor.get("/health/ready")
    assert (ready.status_code, ready.json()["database"]) == (503, "failing")


@pytest.mark.usefixtures("_away")
@pytest.mark.parametrize("address", ["/accounts", "/admin/", f"{API}/accounts"])
def test_the_log_has_a_line_of_it_and_no_traceback(
    auditor: Client, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        auditor.get(address)
    assert _logged_tracebacks(caplog) == []
    (line,) = [line for line in map(str, caplog.messages) if f"GET {address}" in line and "request_started" not in line]
    assert "request_finished" in line
    assert "503" in line


def test_the_line_is_there_also_where_nobody_can_tell_whose_request_it_was(
    auditor: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with patch.object(RoleBackend, "get_user", side_effect=OperationalError("connection lost")):
        assert auditor.get("/accounts").status_code == 503
    assert any("request_finished" in line and "503" in line for line in map(str, caplog.messages))
    assert _logged_tracebacks(caplog) == []


def test_what_breaks_before_a_view_of_the_api_is_a_problem_and_has_its_traceback(
    auditor: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with patch("config.staff.idle._is_work", side_effect=RuntimeError("a secret")):
        answered = auditor.get(f"{API}/accounts")
    assert "recorded under the correlation id" in problem(answered, 500, "internal_error")["detail"]
    assert b"a secret" not in answered.content
    assert any("request_failed" in line for line in map(str, caplog.messages))
    assert _logged_tracebacks(caplog)
