"""The admin's searches go by an index in a store of a hundred thousand events, whatever is looked for."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.staff.roles import Role
from eventstore.models import Event
from tests.integration.admins import EVENTS, browser, stream_page
from tests.integration.shops import value

COUNT: Final = 100_000
BEGIN: Final = datetime(2030, 1, 1, tzinfo=UTC)
STREAM: Final = UUID(int=17)
STORY: Final = UUID(int=2**64 + 40)

# Stories of five events over a thousand streams, one every ten seconds. Customers come first, freezing is rare.
FILL: Final = """
INSERT INTO eventstore_event
    (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
SELECT gen_random_uuid(), 'account', lpad(to_hex(n %% 1000), 32, '0')::uuid, n / 1000 + 1,
    CASE WHEN n < 2000 THEN 'CustomerRegistered' WHEN n %% 20000 = 7 THEN 'AccountFrozen' ELSE 'AccountDebited' END, 1,
    '{"amount": 1, "balance": 1}',
    jsonb_build_object(
        'actor',
        CASE WHEN n %% 30000 = 5 THEN 'staff:rare' WHEN n %% 5 = 0 THEN 'staff:teller' ELSE 'system:a.saga' END,
        'correlation_id', (lpad(to_hex(1), 16, '0') || lpad(to_hex(n / 5 * 5), 16, '0'))::uuid),
    %s + n * interval '10 seconds'
FROM generate_series(0, %s - 1) AS n
"""
OPERATIONS: Final = "/admin/eventstore/operation/"
OPERATED: Final = """
INSERT INTO eventstore_operation (actor, action, subscription, detail)
SELECT CASE WHEN n %% 30000 = 5 THEN 'staff:rare' ELSE 'staff:olga' END,
    CASE WHEN n %% 20000 = 7 THEN 'split' ELSE 'retry' END,
    CASE WHEN n %% 25000 = 9 THEN '' WHEN n %% 20000 = 7 THEN 'views.rare' ELSE 'accounts.saga' END,
    CASE WHEN n %% 25000 = 9 THEN jsonb_build_object('member', 'staff:bob')
        ELSE jsonb_build_object('key', lpad(to_hex(n / 5), 32, '0')::uuid) END
FROM generate_series(0, %s - 1) AS n
"""
LOG: Final = """
INSERT INTO eventstore_log SELECT row_number() OVER (ORDER BY id), id, 1, NULL, recorded_at FROM eventstore_event
"""

MOST_ROWS: Final = 5_000
"""What one statement of a page may read; a page shows fifty."""


@pytest.fixture
def operator(owner: psycopg.Connection) -> Client:
    """An operator's browser before a hundred thousand events."""
    owner.execute(FILL, [BEGIN, COUNT])
    owner.execute(LOG)
    owner.execute(OPERATED, [COUNT])
    owner.execute("ANALYZE")
    return browser(Role.OPERATOR)


def _at(hours: float) -> str:
    return (BEGIN + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S")


def _addresses() -> dict[str, str]:
    middle = Event.objects.order_by("id")[COUNT // 2]
    return {
        "all": EVENTS,
        "in the middle": f"{EVENTS}?before={middle.pk}",
        "newer": f"{EVENTS}?after={middle.pk}",
        "stream": f"{EVENTS}?id={STREAM}",
        "story": f"{EVENTS}?id={STORY}",
        "event id": f"{EVENTS}?id={middle.event_id}",
        "unknown id": f"{EVENTS}?id={UUID(int=2**100)}",
        "frequent type": f"{EVENTS}?type=AccountDebited",
        "rare type": f"{EVENTS}?type=AccountFrozen",
        "type of long ago": f"{EVENTS}?type=CustomerRegistered",
        "no such type": f"{EVENTS}?type=Nothing",
        "frequent person": f"{EVENTS}?actor=staff:teller",
        "rare person": f"{EVENTS}?actor=staff:rare",
        "nobody": f"{EVENTS}?actor=staff:nobody",
        "the program": f"{EVENTS}?actor=system:a.saga",
        "an hour of long ago": f"{EVENTS}?since={_at(20)}&until={_at(21)}",
        "until long ago": f"{EVENTS}?until={_at(10)}",
        "since long ago": f"{EVENTS}?since={_at(10)}",
        "person in an hour": f"{EVENTS}?since={_at(20)}&until={_at(21)}&actor=staff:teller",
        "operations": OPERATIONS,
        "operations of long ago": f"{OPERATIONS}?before=1000",
        "who rarely operates": f"{OPERATIONS}?actor=staff:rare",
        "who never operated": f"{OPERATIONS}?actor=staff:nobody",
        "what is rarely done": f"{OPERATIONS}?action=split",
        "what is often done by somebody": f"{OPERATIONS}?action=retry&actor=staff:olga",
        "what is rarely done to": f"{OPERATIONS}?to=views.rare",
        "whom little is done to": f"{OPERATIONS}?to=staff:bob",
        "whom nothing is done to": f"{OPERATIONS}?to=staff:eve",
        "operations on a key": f"{OPERATIONS}?key={UUID(int=4_000)}",
        "first page": "/admin/",
        "event": f"{EVENTS}{middle.pk}/change/",
        "stream page": stream_page("account", STREAM, 50),
        "story page": f"{EVENTS}story/{STORY}/",
    }


def _rows_read(plan: dict[str, Any]) -> int:
    """The most rows that one node of a plan has read from a table."""
    here = 0
    if "Relation Name" in plan:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        here = int(plan["Actual Loops"] * (plan["Actual Rows"] + removed))
    return max([here, *map(_rows_read, plan.get("Plans", ()))])


def test_no_page_reads_more_than_it_has_to(operator: Client) -> None:
    for name, address in _addresses().items():
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(address).status_code == 200, name
        asked = [query["sql"] for query in captured if re.search(r'FROM "?eventstore_', query["sql"])]
        assert asked, name
        for statement in asked:
            plan = value("EXPLAIN (ANALYZE, FORMAT JSON) " + statement.replace("%", "%%"))
            (found,) = json.loads(plan) if isinstance(plan, str) else plan
            assert _rows_read(found["Plan"]) <= MOST_ROWS, f"{name}\n{statement}\n{json.dumps(found, indent=1)}"


def test_a_search_that_takes_too_long_is_stopped_and_says_so(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.admin.searching.TIMEOUT_MS", 1)
    page = operator.get(f"{EVENTS}?actor=system:never")
    assert page.status_code == 200
    assert "This search was stopped" in page.content.decode()
    assert operator.get("/admin/").status_code == 200
