"""A server that cannot keep the books is refused when a database is prepared; what is only doubtful is said."""

import subprocess
import sys

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from config import server_checks
from tests.conftest import Database
from tests.daybook_process import ROOT

FIT = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "idle_in_transaction_session_timeout": "30000",
    "in_hot_standby": "off",
    "max_connections": "200",
    "server_encoding": "UTF8",
    "server_version_num": "150018",
    "synchronous_commit": "on",
}


def test_a_fit_server_is_neither_refused_nor_warned_about() -> None:
    assert list(server_checks.faults(FIT)) == []
    assert list(server_checks.warnings(FIT, knows_letters=True)) == []


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("server_version_num", "140012", "PostgreSQL 14"),
        ("server_encoding", "SQL_ASCII", "SQL_ASCII"),
        ("in_hot_standby", "on", "only be read"),
        ("default_transaction_read_only", "on", "only be read"),
        ("default_transaction_isolation", "repeatable read", "repeatable read"),
    ],
)
def test_what_would_spoil_history_is_refused(setting: str, value: str, said: str) -> None:
    (fault,) = server_checks.faults({**FIT, setting: value})
    assert said in fault


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("server_version_num", "190000", "PostgreSQL 19"),
        ("fsync", "off", "fsync is off"),
        ("full_page_writes", "off", "full_page_writes is off"),
        ("synchronous_commit", "off", "synchronous_commit is off"),
        ("idle_in_transaction_session_timeout", "0", "keeps its locks"),
        ("max_connections", "10", "the server takes 10"),
    ],
)
def test_what_is_only_doubtful_is_said(setting: str, value: str, said: str) -> None:
    (warning,) = server_checks.warnings({**FIT, setting: value}, knows_letters=True)
    assert said in warning


def test_a_locale_without_letters_is_said() -> None:
    (warning,) = server_checks.warnings(FIT, knows_letters=False)
    assert "UTF-8 locale" in warning


@pytest.mark.django_db
def test_every_setting_that_is_asked_for_is_known_to_the_server() -> None:
    with connection.cursor() as cursor:
        cursor.execute(server_checks.SELECT_SETTINGS, [list(server_checks.ASKED)])
        assert {name for name, _ in cursor.fetchall()} == set(FIT)


@pytest.mark.parametrize(
    ("setting", "value", "code"),
    [("default_transaction_isolation", "repeatable read", 1), ("synchronous_commit", "off", 0)],
)
def test_the_preparation_asks_the_server_first(empty_database: Database, setting: str, value: str, code: int) -> None:
    statement = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
        sql.Identifier(empty_database.name), sql.Identifier(setting), sql.Literal(value)
    )
    with psycopg.connect(empty_database.owner_url, autocommit=True) as owner:
        owner.execute(statement)
    command = [sys.executable, "manage.py", "prepare_database", "--verbosity", "0"]
    found = subprocess.run(
        command, cwd=ROOT, env=empty_database.environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == code, found.stderr
    assert value in found.stderr
    with psycopg.connect(empty_database.owner_url) as owner:
        tables = owner.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert (tables == (0,)) == (code != 0)
