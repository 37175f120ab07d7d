"""The page for Prometheus: who may see it, what is on it, what it costs, and what it says when the database is away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch
from tests.integration.ledgers import Ledger
from tests.integration.multiplied import multiply
from tests.integration.pages.desk import Desk
from tests.integration.shops import rows, value
from tests.integration.test_admin_plans import _rows_read

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-prometheus-own"
MOST_ROWS = 150
"""Rows that one node of a scrape's plan may read; a history has tens of thousands."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _scrape(settings: Settings) -> Samples:
    settings.METRICS_TOKEN = TOKEN
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.content
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def _of(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


# --- Who may see it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "status"),
    [(Role.OPERATOR, 200), (Role.TELLER, 403), (Role.SUPERVISOR, 403), (Role.AUDITOR, 403), (Role.SERVICE, 403)],
)
def test_only_a_role_that_looks_after_the_subscriptions_sees_it(
    committed_db: Database, role: Role, status: int
) -> None:
    assert Desk(role).get("/metrics").status_code == status


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer wrong", "Basic x", f"Bearer {'0' * 64}", "Bearer \xe4"])
def test_a_stranger_is_asked_who_they_are(committed_db: Database, settings: Settings, header: str | None) -> None:
    for token in ("", TOKEN):
        settings.METRICS_TOKEN = token
        answer = Client().get("/metrics", headers={"Authorization": header} if header else {})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_wrong_token_is_refused_though_the_browser_is_signed_in(committed_db: Database) -> None:
    assert Desk(Role.OPERATOR).get("/metrics", Authorization="Bearer wrong").status_code == 401


def test_it_is_only_read(committed_db: Database) -> None:
    assert Client().post("/metrics").status_code == 405


# --- What is on it ------------------------------------------------------------------------------------------


def test_it_counts_what_was_appended_and_handled_and_how_transfers_ended(
    fresh_database: Database, settings: Settings
) -> None:
    before = _scrape(settings)
    Ledger()
    after = _scrape(settings)

    def more(name: str, **labels: str) -> float:
        return _of(after, name, **labels) - _of(before, name, **labels)

    stored = dict(rows("SELECT event_type, count(*) FROM eventstore_event GROUP BY event_type"))
    for name, count in stored.items():
        assert more("eventstore_appended_events_total", event_type=name) == count, name
    assert more("eventstore_append_seconds_count") > 0
    assert more("eventstore_handled_events_total", subscription="views.transfers") > 0
    assert more("eventstore_handling_seconds_count", subscription="accounts.saga") > 0
    assert more("eventstore_parkings_total", subscription="accounts.saga") == 2
    assert more("daybook_transfers_ended_total", state="COMPLETED") == stored["CreditRecorded"]
    assert more("daybook_transfers_ended_total", state="REFUNDED") == stored["RefundRecorded"]
    assert _of(after, "daybook_transfers", state="INITIAL") == 1
    assert _of(after, "daybook_transfers", state="DEBITED") == 1
    assert _of(after, "daybook_transfers", state="REFUNDING") == 1
    assert _of(after, "daybook_transfers_oldest_unfinished_age_seconds") > 0


def test_what_is_rolled_back_is_not_counted(fresh_database: Database, settings: Settings) -> None:
    counter = Counter(Role.TELLER)
    poor, payee = counter.account("1.00"), counter.account("0.00")
    before = _scrape(settings)
    assert counter.post(f"accounts/{poor}/withdrawals", {"amount": "9.00"}).status_code == 422
    counter.transfer(poor, payee, "1.00")
    after = _scrape(settings)
    name = "eventstore_appended_events_total"
    assert _of(after, name, event_type="CashWithdrawn") == _of(before, name, event_type="CashWithdrawn")
    assert _of(after, name, event_type="MoneyTransferCreated") == 1 + _of(
        before, name, event_type="MoneyTransferCreated"
    )


def test_it_tells_how_the_log_and_each_subscription_stand(fresh_database: Database, settings: Settings) -> None:
    counter = Counter(Role.TELLER)
    payer, payee = counter.account("500.00"), counter.account("0.00")
    dispatch()
    counter.transfer(payer, payee, "1.00")
    waiting = _scrape(settings)
    assert _of(waiting, "eventstore_backlog_events") == 1
    unsealed = value(
        "SELECT (SELECT max(position) FROM eventstore_log) - COALESCE(max(last_position), 0) FROM eventstore_seal"
    )
    assert _of(waiting, "eventstore_unsealed_entries") == unsealed > 0
    assert _of(waiting, "eventstore_unsealed_age_seconds") > 0
    assert _of(waiting, "eventstore_log_position") == value("SELECT max(position) FROM eventstore_log")
    rows("UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp() - interval '1 hour'")
    rows("UPDATE eventstore_checkpoint SET status = 'paused', position = 0 WHERE subscription = 'views.accounts'")
    rows("""
        INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
        VALUES ('accounts.saga', gen_random_uuid(), 3, clock_timestamp() + interval '1 hour',
            clock_timestamp() - interval '2 hours', 'x'),
        ('accounts.saga', gen_random_uuid(), 0, clock_timestamp() + interval '1 hour', clock_timestamp(), 'waits')
    """)
    found = _scrape(settings)
    assert _of(found, "eventstore_database_up") == 1
    assert _of(found, "eventstore_sequencer_heartbeat_age_seconds") > 3_599
    assert _of(found, "eventstore_lag_events", subscription="views.accounts") > 0
    assert _of(found, "eventstore_lag_seconds", subscription="views.accounts") > 0
    assert _of(found, "eventstore_stopped", subscription="views.accounts") == 1
    assert _of(found, "eventstore_lag_events", subscription="views.customers") == 0
    assert _of(found, "eventstore_parked_keys", subscription="accounts.saga") == 1
    assert _of(found, "eventstore_parked_oldest_age_seconds", subscription="accounts.saga") > 7_199


def test_it_says_that_the_database_is_away_and_tells_the_rest(
    committed_db: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(**_: Any) -> None:
        raise OperationalError

    monkeypatch.setattr("eventstore.inspection.log_state", lose)
    monkeypatch.setattr("views_readmodel.slow.slow_transfers", lose)
    found = _scrape(settings)
    assert _of(found, "eventstore_database_up") == 0
    assert ("eventstore_append_seconds_count", ()) in found


# --- What it costs ------------------------------------------------------------------------------------------


def test_a_scrape_reads_no_more_when_there_is_more_history(fresh_database: Database, settings: Settings) -> None:
    counter = Counter(Role.TELLER)
    payer, payee = counter.account("500.00"), counter.account("0.00")
    for _ in range(20):
        counter.transfer(payer, payee, "1.00")
    dispatch()
    multiply(fresh_database, copies=200)
    rows("UPDATE eventstore_checkpoint SET position = (SELECT position FROM eventstore_sequencer)")
    with CaptureQueriesContext(connection) as captured:
        _scrape(settings)
    asked = [query["sql"] for query in captured if "SELECT" in query["sql"]]
    assert len(asked) < 10
    for statement in asked:
        plan = value("EXPLAIN (ANALYZE, FORMAT JSON) " + statement.replace("%", "%%"))
        (found,) = json.loads(plan) if isinstance(plan, str) else plan
        assert _rows_read(found["Plan"]) <= MOST_ROWS, f"{statement}\n{json.dumps(found, indent=1)}"


# --- Many processes -----------------------------------------------------------------------------------------

COUNT = """
import django
django.setup()
from eventstore import metrics
metrics.HANDLED.labels("views.accounts").inc(7)
"""


def test_it_adds_up_what_other_processes_counted_those_that_ended_too(fresh_database: Database, tmp_path: Path) -> None:
    environment = {**fresh_database.environment, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "METRICS_TOKEN": TOKEN}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", COUNT], env=environment, cwd=ROOT, check=True)
    scrape = f"""
import django
django.setup()
from django.test import Client
print(Client(SERVER_NAME="127.0.0.1").get("/metrics", headers={{"Authorization": "Bearer {TOKEN}"}}).content.decode())
"""
    told = subprocess.run(
        [sys.executable, "-c", scrape], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert 'eventstore_handled_events_total{subscription="views.accounts"} 14.0' in told
    assert 'daybook_transfers_ended_total{state="COMPLETED"} 0.0' in told
