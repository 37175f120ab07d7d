"""What becomes of processes whose database answers late, or never, while the connection stands."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created

from config import statement_limits
from eventstore.failures import is_passing, sqlstate_of
from tests.conftest import Database
from tests.daybook_process import ROOT

SLEEP = "SELECT pg_sleep(60)"
ASK = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SHOW statement_timeout")
    print(*cursor.fetchone())
"""


@pytest.fixture
def _limited(committed_db: Database) -> Iterator[None]:
    """As in a process that serves others."""
    connection.close()
    statement_limits.limit_statements()
    yield
    connection_created.disconnect(dispatch_uid="config.statement_limits")
    connection.close()


@pytest.mark.usefixtures("_limited")
def test_who_gets_no_answer_gives_up_and_goes_on_with_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_limits, "SILENCE_SECONDS", 0.5)
    began = time.monotonic()
    no_answer = pytest.raises(OperationalError, match=r"no answer from the database for 0\.5 s")
    with no_answer as raised, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SLEEP)
    assert time.monotonic() - began < 30
    assert is_passing(raised.value)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


@pytest.mark.usefixtures("_limited")
def test_what_is_asked_for_with_a_limit_of_its_own_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_limits, "SILENCE_SECONDS", 0.2)
    connection.ensure_connection()
    session = connection.connection
    assert isinstance(session, psycopg.Connection)
    began = time.monotonic()
    assert list(session.notifies(timeout=0.6)) == []
    assert time.monotonic() - began >= 0.6
    assert not session.closed


@pytest.mark.usefixtures("_limited")
def test_the_server_ends_a_statement_before_that(monkeypatch: pytest.MonkeyPatch) -> None:
    assert statement_limits.STATEMENT_SECONDS < statement_limits.SILENCE_SECONDS
    monkeypatch.setattr(statement_limits, "STATEMENT_SECONDS", 1)
    with pytest.raises(OperationalError) as raised, connection.cursor() as cursor:
        cursor.execute(SLEEP)
    assert sqlstate_of(raised.value) == "57014"
    assert is_passing(raised.value)
    assert not connection.connection.closed


@pytest.mark.parametrize(
    ("process", "limit"),
    [
        ("import config.asgi", "25s"),
        ("import config.wsgi", "25s"),
        ("import django; django.setup(); from celery.signals import worker_init; worker_init.send(None)", "25s"),
        ("import manage, sys; sys.argv = ['manage.py', 'dispatch', '--until-empty']; manage.main()", "25s"),
        ("import manage, sys; sys.argv = ['manage.py', 'subscriptions', 'list']; manage.main()", "0"),
    ],
    ids=["asgi", "wsgi", "worker", "dispatch", "another command"],
)
def test_who_serves_others_is_limited_and_other_commands_are_not(
    process: str, limit: str, committed_db: Database
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", f"{process}\n{ASK}"],
        cwd=ROOT,
        env=committed_db.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split()[-1] == limit
