"""The shop runs on the event store alone: another database alias, its own settings, nothing of the bank, no Celery."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import Database

ROOT = Path(__file__).resolve().parents[2]
BANK = {"config", "accounts", "transfers", "views_readmodel"}
BROKER = {"celery", "kombu", "redis", "rest_framework"}

# Who has a table of events.
SELECT_EVENTS = "SELECT count(*) FROM eventstore_event"


def _libpq_environment(address: str) -> dict[str, str]:
    parts = conninfo_to_dict(address)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    return {names[key]: str(value) for key, value in parts.items() if key in names}


@pytest.fixture
def day(empty_database: Database) -> dict[str, Any]:
    """What a process tells that ran the shop for a day on an empty database."""
    environment = {
        **_libpq_environment(empty_database.owner_url),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_SEALING_KEY": Fernet.generate_key().decode(),
    }
    command = [sys.executable, "-W", "error", "-m", "tests.shopping_cart.alone"]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return dict(json.loads(found.stdout.splitlines()[-1]))


def test_the_shop_runs_on_the_event_store_alone_in_both_styles(day: dict[str, Any], empty_database: Database) -> None:
    assert day["drained"] is True
    assert day["status"] == "picked"
    assert day["items"] == {"tea": 2, "cup": 1}
    assert day["shown"] == [["picked", 3, 7], ["picked", 3, 7]]
    assert BANK.isdisjoint(day["modules"])
    assert BROKER.isdisjoint(day["modules"])
    with psycopg.connect(empty_database.owner_url) as connection:
        assert connection.execute(SELECT_EVENTS).fetchone() == (16,)
    by_class, by_functions = day["history"]
    assert len(by_class) == 7
    # They stand in line at one warehouse: only their place in it differs.
    assert [event[1] for event in by_class] == [event[1] for event in by_functions]
    assert by_class[:-1] == by_functions[:-1]
