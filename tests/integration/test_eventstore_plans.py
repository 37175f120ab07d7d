"""The hot queries use their indexes on tables that nobody has analysed, and still do once somebody has.

A queue without statistics that reads its whole table gets slower with every row that waits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from eventstore import appending, facts, idempotency, loading, operations, sealing, sequencer, snapshots
from eventstore.seals import hashing, heads, sealer
from eventstore.subscriptions import checkpoints, handling, parking, reading
from eventstore.verification import operations as verified_operations
from eventstore.verification import seals as verified_seals
from eventstore.verification import snapshots as verified_snapshots
from eventstore.verification import streams as verified_streams
from eventstore.verification import walking
from tests.conftest import Database
from tests.integration.shops import rows, value

STREAMS: Final = 5_000
EVENTS: Final = 50_000
STREAM_ID: Final = UUID(int=1)
STREAM_IDS: Final = [UUID(int=number) for number in range(1, 101)]
NOW: Final = datetime.now(UTC)
TABLES: Final = (
    "event",
    "outbox",
    "log",
    "snapshot",
    "parked_key",
    "parked_event",
    "subject_key",
    "idempotency_record",
    "seal",
    "operation",
)

# Nobody counts the rows of these tables in the background.
LEAVE_ALONE: Final = "ALTER TABLE eventstore_{} SET (autovacuum_enabled = false)"

# Ten events in each of five thousand streams: half of them in the log, the others waiting for their position.
FILL: Final = (
    """
    INSERT INTO eventstore_event
        (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
    SELECT gen_random_uuid(), 'cart', lpad(to_hex(number %% %s + 1), 32, '0')::uuid, number / %s + 1, 'ItemAdded', 2,
        '{"sku": "tea", "quantity": 1, "total": 1}',
        '{"actor": "x", "correlation_id": "01990000-0000-7000-8000-000000000000"}', clock_timestamp()
    FROM generate_series(0, %s - 1) AS number
    """,
    [STREAMS, STREAMS, EVENTS],
)
FILL_REST: Final = """
INSERT INTO eventstore_log
SELECT id, id, id % 256, CASE WHEN id % 3 = 0 THEN id % 256 END, clock_timestamp()
FROM eventstore_event WHERE id <= 25000 ORDER BY id;
INSERT INTO eventstore_outbox SELECT id, id % 256, NULL FROM eventstore_event WHERE id > 25000;
UPDATE eventstore_sequencer SET position = 25000;
INSERT INTO eventstore_snapshot (stream_type, stream_id, version, state_version, state, created_at, updated_at)
SELECT stream_type, stream_id, version, 1, '{}', recorded_at, recorded_at FROM eventstore_event WHERE version % 2 = 0;
INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position)
SELECT 'follower', CASE WHEN low % 32 = 0 THEN 'route' ELSE 'stream' END, low, low + 15, 24990
FROM generate_series(0, 255, 16) AS low;
INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
SELECT 'follower', stream_id, clock_timestamp() + interval '1 hour', clock_timestamp(), 'x'
FROM eventstore_event WHERE version = 1
UNION ALL SELECT 'another', gen_random_uuid(), clock_timestamp() + interval '1 hour', clock_timestamp(), 'x'
FROM generate_series(1, 50000);
INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
SELECT id, 'follower', id, clock_timestamp() FROM eventstore_parked_key;
INSERT INTO eventstore_subject_key (subject_id, wrapped_key)
SELECT stream_id, '\\x00'::bytea FROM eventstore_event WHERE version = 1
UNION ALL SELECT gen_random_uuid(), '\\x00' FROM generate_series(1, 50000);
INSERT INTO eventstore_idempotency_record (principal, key, fingerprint, answer)
SELECT 'alice', id::text, '\\x00', '{}' FROM eventstore_event WHERE id <= 20000;
INSERT INTO eventstore_seal (last_position, first_position, format, leaves, previous_hash, hash, sealed_at)
SELECT id, id, 1, int8send(id), sha256(int8send(id)), sha256(int8send(id + 1)), clock_timestamp()
FROM eventstore_event WHERE id <= 20000;
INSERT INTO eventstore_operation (actor, action, subscription, detail)
SELECT 'staff:olga', CASE WHEN id % 2 = 0 THEN 'discard' ELSE 'retry' END, 'follower',
    jsonb_build_object('key', stream_id, 'position', id)
FROM eventstore_event WHERE id <= 20000;
"""


def _append_arguments(count: int) -> list[Any]:
    """A batch that goes on with so many streams from their tenth event."""
    ids = STREAM_IDS[:count]
    documents = json.dumps([{}] * count)
    times = len(ids)
    return [
        [UUID(int=number + 2**100) for number in range(count)],
        ["cart"] * times,
        ids,
        [11] * times,
        [10] * times,
        ["ItemAdded"] * times,
        [2] * times,
        documents,
        documents,
        [1] * times,
        [None] * times,
    ]


_ids = list(range(25_001, 25_501))
_range = [24_000, 25_000, 0, 15, 500, ["CartOpened"]]

# What runs for every command, every batch or every wake-up, with the arguments of a small and of a large one.
HOT: Final[dict[str, tuple[str, Sequence[Any]]]] = {
    "append: one event": (appending._APPEND, _append_arguments(1)),
    "append: a batch": (appending._APPEND, _append_arguments(100)),
    "load: one stream": (loading._SELECT_EVENTS, [[STREAM_ID], ["cart"], [0], 2**31 - 1]),
    "load: a batch": (loading._SELECT_EVENTS, [STREAM_IDS, ["cart"] * 100, [8] * 100, 2**31 - 1]),
    "load: a stream's last version": (loading._SELECT_LAST_VERSION, [STREAM_ID, "cart"]),
    "load: when an event was sequenced": (loading._SELECT_SEQUENCED_AT, [STREAM_ID, 3]),
    "snapshots": (snapshots._SELECT_NEWEST, [STREAM_IDS, ["cart"] * 100, [1] * 100, [2**31 - 1] * 100]),
    "facts: first events": (facts._SELECT_FIRST, [STREAM_IDS]),
    "facts: by id": (facts._SELECT_BY_ID, [STREAM_IDS]),
    "sequencer: read the outbox": (sequencer._READ_OUTBOX, [5_000]),
    "sequencer: log and delete": (sequencer._SEQUENCE, [NOW, _ids, [1] * 500, [None] * 500, 25_000, _ids, 25_000]),
    "read by stream": (reading._READ_BY_STREAM, _range),
    "read by stream: far behind": (reading._READ_BY_STREAM, [0, 1_000, 0, 255, 500, ["CartOpened"]]),
    "read by route": (reading._READ_BY_ROUTE, _range),
    "read one": (reading._READ_ONE, [77]),
    "due": (checkpoints._SELECT_DUE, [["follower"], 10, 1_000]),
    "known ids": (handling._SELECT_KNOWN, [STREAM_IDS]),
    "parked among a batch": (parking._LOCK_KEYS, ["follower", STREAM_IDS]),
    "parked: the next behind a key": (parking._SELECT_NEXT, [7, 100]),
    "parked: due": (parking._SELECT_DUE, [["follower"], [None], 50]),
    "keys of persons": (sealing._SELECT_KEYS, [STREAM_IDS]),
    "seals: what waits": (sealer._SELECT_BACKLOG, []),
    "seals: a few entries": (hashing.SELECT_ENTRIES, [24_901, 25_000]),
    "seals: the entries of a whole seal": (hashing.SELECT_ENTRIES, [20_001, 25_000]),
    "seals: the next to check": (verified_seals._SELECT_SEALS, [10_000, 25_000, 500, 5_000]),
    "seals: where they end": (verified_seals._SELECT_END, [25_000, 25_000]),
    "seals: beyond the end": (verified_seals._SELECT_BEYOND, [25_000, 25_000, 500]),
    "seals: the head": (heads._SELECT_HEAD, []),
    "parked: an operator has some tried": (operations._MAKE_DUE, [list(range(1, 51))]),
    "parked: how often some were tried": (operations._SELECT_ATTEMPTS, [list(range(1, 51))]),
    "verification: the last stream": (walking._SELECT_LAST, []),
    "verification: the last snapshot": (verified_snapshots._SELECT_LAST, []),
    "verification: the last person": (verified_streams._SELECT_LAST_SUBJECT, []),
    "operations: a page to check": (verified_operations._SELECT_OPERATIONS, [7, 1_000]),
    "idempotency record": (idempotency._SELECT_RECORD, ["alice", "77"]),
}


@pytest.fixture
def filled(shop_database: Database, owner: psycopg.Connection) -> psycopg.Connection:
    """A database with fifty thousand events, of which no statistics are known; the owner's connection."""
    for table in TABLES:
        owner.execute(LEAVE_ALONE.format(table))
    owner.execute(*FILL)
    owner.execute(FILL_REST)
    assert value("SELECT count(*) FROM pg_stats WHERE tablename = 'eventstore_event'") == 0
    return owner


def _scanned_whole(plan: dict[str, Any]) -> set[str]:
    """The event store's tables that a plan reads from end to end."""
    found = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return found.union(*map(_scanned_whole, plan.get("Plans", ())))


def _explain(statement: str, parameters: Sequence[Any]) -> dict[str, Any]:
    plan = value(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
    return dict((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])


def test_the_hot_queries_use_their_indexes_with_and_without_statistics(filled: psycopg.Connection) -> None:
    small = {"eventstore_sequencer", "eventstore_checkpoint"}  # a row, or a few
    for statistics in ("none", "fresh"):
        if statistics == "fresh":
            filled.execute("ANALYZE")
        scanned = {name: _scanned_whole(_explain(*query)) - small for name, query in HOT.items()}
        assert {name: tables for name, tables in scanned.items() if tables} == {}, f"statistics: {statistics}"


def test_a_plan_that_reads_a_table_from_end_to_end_is_noticed(filled: psycopg.Connection) -> None:
    assert _scanned_whole(_explain("SELECT * FROM eventstore_event WHERE data = %s::jsonb", ["{}"])) == {
        "eventstore_event"
    }


def test_what_is_due_is_found_without_looking_far_ahead(filled: psycopg.Connection) -> None:
    rows("UPDATE eventstore_checkpoint SET position = 0")
    plan = value(f"EXPLAIN (ANALYZE, FORMAT JSON) {checkpoints._SELECT_DUE}", [["follower"], 10, 1_000])
    (found,) = json.loads(plan) if isinstance(plan, str) else plan
    assert found["Plan"]["Actual Rows"] == 16
    assert _entries_read(found["Plan"]) == 0


def _entries_read(plan: dict[str, Any]) -> int:
    """How many log entries a plan has looked at."""
    here = 0
    if plan.get("Relation Name") == "eventstore_log":
        here = int(plan["Actual Loops"] * (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)))
    return here + sum(map(_entries_read, plan.get("Plans", ())))
