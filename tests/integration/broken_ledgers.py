"""Ways to break a ledger, each with the difference that `verify_ledger` must name.

A statement refers to the streams of a `Ledger` by their names: `%(shop)s`. Those on history run as the owner of the
tables with the triggers off, the others as the app role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from eventstore.verification.findings import Finding
from tests.integration.ledgers import Ledger

NOBODY: Final = UUID(int=1)
TOO_MUCH: Final = 10**30


@dataclass(frozen=True)
class Broken:
    """One way to break a ledger, and the difference that must be named."""

    name: str
    check: str
    statements: tuple[str, ...]
    field: str
    stream: str | None = ""  # "account shop": the type and the ledger's name of it; None: whatever it is
    expected: str | None = None  # None: whatever it is
    actual: str | None = None
    as_app: bool = False
    version: int | None = None
    position: int | None = None
    left_out: bool = False  # nothing differs: `field` is what is not compared, for this program cannot judge it

    def is_named(self, finding: Finding, ledger: Ledger) -> bool:
        """Whether the difference is among those that were found."""
        if self.left_out:
            return any(self.field in what for what in finding.not_compared)
        stream_type, _, name = (self.stream or "").partition(" ")
        stream = f"{stream_type}/{getattr(ledger, name)}" if name else self.stream
        return any(
            difference.field == self.field.format_map(vars(ledger))
            and stream in (None, difference.stream)
            and self.expected in (None, difference.expected)
            and self.actual in (None, difference.actual)
            and self.version in (None, difference.version)
            and self.position in (None, difference.position)
            for difference in finding.named
        )


_SHOP_60 = "stream_id = %(shop)s AND version = 60"
_LAST_POSITION = "(SELECT max(position) FROM eventstore_log)"

# An event like another, next in its stream, with other data.
_FORGE = """
INSERT INTO eventstore_event (
    event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
)
SELECT gen_random_uuid(), stream_type, stream_id, version + 1, {event_type}, 1, {data}, metadata, recorded_at
FROM eventstore_event WHERE stream_id = %({stream})s ORDER BY version DESC LIMIT 1
"""
# A row of the read model for another account.
_COPY_ACCOUNT = """
INSERT INTO readmodel.account (
    account_id, number, title, customer_id, currency, balance, state, reference, opened_at, changed_at, version
)
SELECT {id}, number, title, customer_id, currency, balance, state, reference, opened_at, changed_at, version
FROM readmodel.account LIMIT 1
"""
# A row that is kept elsewhere, once more.
_COPY_ACCOUNT_OF_KEPT = """
INSERT INTO readmodel.account (
    account_id, number, title, customer_id, currency, balance, state, reference, opened_at, changed_at, version
)
SELECT account_id, number, title, customer_id, currency, {balance}, state, reference, opened_at, changed_at, version
FROM kept
"""
# The place in the log that a forged event would have had.
_FORGE_PLACE = (
    """
    INSERT INTO eventstore_log
    SELECT l.position + 1, (SELECT max(id) FROM eventstore_event), l.stream_bucket, l.route_bucket, l.sequenced_at
    FROM eventstore_log l ORDER BY position DESC LIMIT 1
    """,
    "UPDATE eventstore_sequencer SET position = position + 1",
)

_CHECKPOINT = """
INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position, projection_version, status)
VALUES ('{subscription}', 'stream', 0, 255, 0, 1, '{status}')
"""
_PAUSE = """
INSERT INTO eventstore_operation (actor, action, subscription, detail)
VALUES ('staff:olga', 'pause', 'accounts.saga', '{"reason": "Look"}')
"""


def _data(change: str, where: str) -> str:
    """Changes an event's data: `change` is JSON that is merged into it."""
    return f"UPDATE eventstore_event SET data = data || '{change}' WHERE {where}"


def _of(event_type: str, stream: str, transfer: str) -> str:
    return f"stream_id = %({stream})s AND event_type = '{event_type}' AND data->>'transfer_id' = %({transfer})s::text"


def _unlogged(where: str) -> str:
    return f"DELETE FROM eventstore_log WHERE event_id IN (SELECT id FROM eventstore_event WHERE {where})"


def _unguarded(name: str, statement: str, field: str, **named: str) -> Broken:
    return Broken(name, "guards", (statement,), field, "", expected=named.get("expected"), actual=named.get("actual"))


OF_THE_GUARDS: Final = (
    _unguarded(
        "a trigger that never fires",
        """
        DROP TRIGGER eventstore_event_append_only ON eventstore_event;
        CREATE TRIGGER eventstore_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_event
            FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION eventstore_refuse_rewriting()
        """,
        "trigger that keeps eventstore_event append-only",
    ),
    _unguarded(
        "a trigger on one column",
        """
        DROP TRIGGER eventstore_event_append_only ON eventstore_event;
        CREATE TRIGGER eventstore_event_append_only BEFORE UPDATE OF event_id OR DELETE OR TRUNCATE ON eventstore_event
            FOR EACH STATEMENT EXECUTE FUNCTION eventstore_refuse_rewriting()
        """,
        "trigger that keeps eventstore_event append-only",
    ),
    _unguarded(
        "a trigger without a table's emptying",
        """
        DROP TRIGGER eventstore_operation_append_only ON eventstore_operation;
        CREATE TRIGGER eventstore_operation_append_only BEFORE UPDATE OR DELETE ON eventstore_operation
            FOR EACH STATEMENT EXECUTE FUNCTION eventstore_refuse_rewriting();
        ALTER TABLE eventstore_operation ENABLE ALWAYS TRIGGER eventstore_operation_append_only
        """,
        "trigger that keeps eventstore_operation append-only",
    ),
    _unguarded(
        "a trigger of another's function",
        """
        CREATE SCHEMA elsewhere;
        CREATE FUNCTION elsewhere.eventstore_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql
            AS $$BEGIN RETURN NULL; END$$;
        DROP TRIGGER eventstore_operation_append_only ON eventstore_operation;
        CREATE TRIGGER eventstore_operation_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_operation
            FOR EACH STATEMENT EXECUTE FUNCTION elsewhere.eventstore_refuse_rewriting();
        ALTER TABLE eventstore_operation ENABLE ALWAYS TRIGGER eventstore_operation_append_only
        """,
        "trigger that keeps eventstore_operation append-only",
    ),
    _unguarded(
        "a function that refuses nothing",
        """
        CREATE OR REPLACE FUNCTION eventstore_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF false THEN RAISE EXCEPTION 'never'; END IF;
            RETURN NULL;
        END;
        $$
        """,
        "function that refuses to rewrite history",
    ),
    _unguarded(
        "a rule that swallows events",
        "CREATE RULE swallow AS ON INSERT TO eventstore_event DO INSTEAD NOTHING",
        "rule swallow on eventstore_event",
        actual="present",
    ),
    _unguarded(
        "a trigger that rewrites what is written",
        """
        CREATE FUNCTION forge() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
        CREATE TRIGGER forge BEFORE INSERT ON eventstore_event FOR EACH ROW EXECUTE FUNCTION forge()
        """,
        "trigger forge on eventstore_event",
        actual="present",
    ),
    _unguarded(
        "a right to change events",
        "GRANT UPDATE, TRUNCATE ON eventstore_event TO daybook_app",
        "rights of daybook_app on eventstore_event",
        actual="UPDATE, TRUNCATE too",
    ),
    _unguarded(
        "a right to change a column",
        "GRANT UPDATE (data) ON eventstore_event TO daybook_app",
        "rights of daybook_app on eventstore_event",
        actual="UPDATE too",
    ),
    _unguarded(
        "everybody's right",
        "GRANT DELETE ON eventstore_seal TO PUBLIC",
        "rights of others on eventstore_seal",
        actual="DELETE to everybody",
    ),
    _unguarded(
        "whose history is",
        "GRANT CREATE ON SCHEMA public TO daybook_app; ALTER TABLE eventstore_operation OWNER TO daybook_app",
        "owner of eventstore_operation",
        actual="daybook_app",
    ),
    _unguarded(
        "a check of a row",
        "ALTER TABLE eventstore_event DROP CONSTRAINT eventstore_event_version_check",
        "constraint on eventstore_event: CHECK ((version >= 1))",
        actual="missing",
    ),
    _unguarded(
        "a check that is not enforced on what is there",
        """
        ALTER TABLE eventstore_event DROP CONSTRAINT eventstore_event_version_check;
        ALTER TABLE eventstore_event ADD CHECK (version >= 1) NOT VALID
        """,
        "constraint on eventstore_event: CHECK ((version >= 1))",
        actual="missing",
    ),
    _unguarded(
        "the key of what is parked",
        "ALTER TABLE eventstore_parked_event DROP CONSTRAINT eventstore_parked_event_parked_key_id_fkey",
        "constraint on eventstore_parked_event: FOREIGN KEY (parked_key_id) REFERENCES eventstore_parked_key(id)",
        actual="missing",
    ),
    _unguarded(
        "a column that may be empty",
        "ALTER TABLE eventstore_event ALTER COLUMN recorded_at DROP NOT NULL",
        "NOT NULL on eventstore_event.recorded_at",
        actual="missing",
    ),
    _unguarded(
        "an index that is not immediate",
        """
        ALTER TABLE eventstore_event DROP CONSTRAINT eventstore_event_stream_version_unique;
        ALTER TABLE eventstore_event ADD UNIQUE (stream_id, version) DEFERRABLE
        """,
        "unique index on eventstore_event (stream_id, version)",
        actual="missing",
    ),
    _unguarded(
        "rows that some do not see",
        """
        ALTER TABLE eventstore_event ENABLE ROW LEVEL SECURITY;
        CREATE POLICY all_of_it ON eventstore_event USING (true)
        """,
        "table eventstore_event",
        actual="a table with row security",
    ),
    _unguarded(
        "rows of another table",
        "CREATE TABLE more () INHERITS (eventstore_operation)",
        "table eventstore_operation",
        actual="a table that shares rows with another",
    ),
)

OF_THE_STORE: Final = (
    Broken("a position", "log", ("DELETE FROM eventstore_log WHERE position = 20",), "position", "", "20", "missing"),
    Broken("some first positions", "log", ("DELETE FROM eventstore_log WHERE position < 4",), "position", "", "1 to 3"),
    Broken(
        "the last position",
        "log",
        (f"DELETE FROM eventstore_log WHERE position = {_LAST_POSITION}",),
        "head position",
    ),
    Broken(
        "a position twice",
        "log",
        (
            "ALTER TABLE eventstore_log DROP CONSTRAINT eventstore_log_pkey",
            (
                "INSERT INTO eventstore_log SELECT position, -1, stream_bucket, route_bucket, sequenced_at"
                " FROM eventstore_log WHERE position = 20"
            ),
        ),
        "entries",
        position=20,
    ),
    Broken(
        "a position's event",
        "log",
        ("UPDATE eventstore_log SET event_id = 999999 WHERE position = 20",),
        "event 999999",
        actual="missing",
        position=20,
    ),
    Broken(
        "the clock of the log",
        "log",
        ("UPDATE eventstore_log SET sequenced_at = sequenced_at - interval '1 s' WHERE position = 20",),
        "sequenced_at",
        position=20,
    ),
    Broken(
        "a position below zero",
        "sequencing",
        (
            "ALTER TABLE eventstore_log DROP CONSTRAINT eventstore_log_position_check",
            "UPDATE eventstore_log SET position = -5 WHERE event_id = (SELECT id FROM eventstore_event WHERE "
            + _of("AccountCredited", "shop", "completed")
            + ")",
        ),
        "position",
        "account shop",
        actual="-5",
    ),
    Broken("a head beyond", "log", ("UPDATE eventstore_sequencer SET position = position + 1",), "head position"),
    Broken("no head", "log", ("DELETE FROM eventstore_sequencer",), "head", actual="missing"),
    Broken(
        "the clock of the head",
        "log",
        ("UPDATE eventstore_sequencer SET sequenced_at = '2000-01-01T00:00Z'",),
        "head sequenced_at",
    ),
    Broken(
        "a stray outbox row",
        "outbox",
        ("INSERT INTO eventstore_outbox VALUES (999999, 0, NULL)",),
        "event 999999",
        actual="missing",
    ),
    Broken(
        "a bucket that nobody follows",
        "checkpoints",
        ("UPDATE eventstore_checkpoint SET bucket_low = 5 WHERE subscription = 'views.accounts'",),
        "views.accounts: first bucket of a range",
        expected="0",
        actual="5",
    ),
    Broken(
        "buckets that two follow",
        "checkpoints",
        (
            (
                "INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position)"
                " VALUES ('views.accounts', 'stream', 100, 255, 0)"
            ),
        ),
        "views.accounts: first bucket of a range",
        expected="256",
        actual="100",
    ),
    Broken(
        "last buckets that nobody follows",
        "checkpoints",
        ("UPDATE eventstore_checkpoint SET bucket_high = 250 WHERE subscription = 'accounts.saga'",),
        "accounts.saga: last bucket",
        actual="250",
    ),
    Broken(
        "a checkpoint in the future",
        "checkpoints",
        ("UPDATE eventstore_checkpoint SET position = 999999 WHERE subscription = 'accounts.saga'",),
        "accounts.saga: position of buckets 0 to 255",
        actual="999999",
    ),
    Broken(
        "no checkpoint of a saga",
        "checkpoints",
        ("DELETE FROM eventstore_checkpoint WHERE subscription = 'accounts.saga'",),
        "accounts.saga: checkpoints",
        actual="missing",
        as_app=True,
    ),
    Broken(
        "what a saga follows",
        "checkpoints",
        ("UPDATE eventstore_checkpoint SET follows = 'stream' WHERE subscription = 'accounts.saga'",),
        "accounts.saga: what buckets 0 to 255 follow",
        expected="route",
        actual="stream",
        as_app=True,
    ),
    Broken(
        "a version that is not that of the tables",
        "checkpoints",
        (
            "UPDATE eventstore_checkpoint SET projection_version = 99 WHERE subscription = 'views.accounts'",
            "UPDATE readmodel.account SET balance = balance + 100",
        ),
        "views.accounts: projection_version of buckets 0 to 255",
        actual="99",
        as_app=True,
    ),
    Broken(
        "a version, and the tables' word for it",
        "readmodel.account",
        (
            "UPDATE eventstore_checkpoint SET projection_version = 99 WHERE subscription = 'views.accounts'",
            "COMMENT ON TABLE readmodel.account IS 'views.accounts 99:0'",
            "COMMENT ON TABLE readmodel.entry IS 'views.accounts 99:0'",
            "UPDATE readmodel.account SET balance = balance + 100",
        ),
        "those of version 99 of views.accounts",
        as_app=True,
        left_out=True,
    ),
    Broken(
        "a version of what has no tables",
        "checkpoints",
        ("UPDATE eventstore_checkpoint SET projection_version = 1 WHERE subscription = 'accounts.saga'",),
        "accounts.saga: projection_version of buckets 0 to 255",
        expected="null",
        as_app=True,
    ),
    Broken(
        "a subscription that nobody knows",
        "checkpoints",
        (_CHECKPOINT.format(subscription="ghost.saga", status="running"),),
        "ghost.saga",
        as_app=True,
        left_out=True,
    ),
    Broken(
        "the shadow of a saga",
        "checkpoints",
        (_CHECKPOINT.format(subscription="accounts.saga@shadow", status="replaying"),),
        "accounts.saga@shadow",
        as_app=True,
        left_out=True,
    ),
    Broken(
        "a shadow that runs",
        "checkpoints",
        (_CHECKPOINT.format(subscription="views.accounts@shadow", status="running"),),
        "views.accounts@shadow: status of buckets 0 to 255",
        expected="replaying",
        as_app=True,
    ),
    Broken(
        "a saga that nobody advances",
        "checkpoints",
        ("UPDATE eventstore_checkpoint SET status = 'replaying' WHERE subscription = 'accounts.saga'",),
        "accounts.saga: status of buckets 0 to 255",
        actual="replaying",
        as_app=True,
    ),
    Broken(
        "a pause that nobody recorded",
        "checkpoints",
        (
            (
                "UPDATE eventstore_checkpoint SET status = 'paused', paused_by = 'staff:olga', paused_reason = 'x'"
                " WHERE subscription = 'accounts.saga'"
            ),
        ),
        "accounts.saga: status of buckets 0 to 255",
        actual="paused",
        as_app=True,
    ),
    Broken(
        "an end of a pause that nobody recorded",
        "checkpoints",
        (_PAUSE,),
        "accounts.saga: status of buckets 0 to 255",
        expected="paused, as staff:olga recorded",
        actual="running",
        as_app=True,
    ),
    Broken(
        "who paused",
        "checkpoints",
        (
            _PAUSE,
            (
                "UPDATE eventstore_checkpoint SET status = 'paused', paused_by = 'staff:mallory',"
                " paused_reason = 'Look' WHERE subscription = 'accounts.saga'"
            ),
        ),
        "accounts.saga: who paused buckets 0 to 255, and why",
        expected="staff:olga: Look",
        actual="staff:mallory: Look",
        as_app=True,
    ),
    Broken(
        "an event",
        "streams",
        (f"DELETE FROM eventstore_event WHERE {_SHOP_60}",),
        "version",
        "account shop",
        "60",
        "61",
    ),
    Broken(
        "a stream's beginning",
        "streams",
        ("DELETE FROM eventstore_event WHERE stream_id = %(travel)s AND version = 1",),
        "version",
        "account travel",
        "1",
        "2",
    ),
    Broken(
        "a version gap",
        "streams",
        ("UPDATE eventstore_event SET version = 9 WHERE stream_id = %(travel)s AND version = 2",),
        "version",
        "account travel",
        "2",
        "9",
    ),
    Broken(
        "a version twice",
        "streams",
        (
            "ALTER TABLE eventstore_event DROP CONSTRAINT eventstore_event_stream_version_unique",
            "UPDATE eventstore_event SET version = 60 WHERE stream_id = %(shop)s AND version = 61",
        ),
        "version",
        "account shop",
        "61",
        "60",
    ),
    Broken(
        "a stream of two types",
        "streams",
        (f"UPDATE eventstore_event SET stream_type = 'customer' WHERE {_SHOP_60}",),
        "stream_type",
        "account shop",
        "account",
        "customer",
    ),
    Broken(
        "the clock of a stream",
        "streams",
        (f"UPDATE eventstore_event SET recorded_at = recorded_at - interval '1 day' WHERE {_SHOP_60}",),
        "recorded_at",
        "account shop",
        version=60,
    ),
    Broken(
        "an event beside the outbox",
        "sequencing",
        (_FORGE.format(event_type="event_type", data="data", stream="shop"),),
        "place",
        "account shop",
        actual="in neither",
    ),
    Broken(
        "an event twice in the log",
        "sequencing",
        (
            "ALTER TABLE eventstore_log DROP CONSTRAINT eventstore_log_event_id_unique",
            (
                "INSERT INTO eventstore_log"
                " SELECT h.position + 1, e.id, l.stream_bucket, l.route_bucket, h.sequenced_at"
                " FROM eventstore_sequencer h, eventstore_event e JOIN eventstore_log l ON l.event_id = e.id"
                f" WHERE {_SHOP_60}"
            ),
            "UPDATE eventstore_sequencer SET position = position + 1",
        ),
        "place",
        "account shop",
        version=60,
    ),
    Broken(
        "an event in log and outbox",
        "sequencing",
        (
            (
                "INSERT INTO eventstore_outbox SELECT l.event_id, l.stream_bucket, l.route_bucket"
                f" FROM eventstore_event e JOIN eventstore_log l ON l.event_id = e.id WHERE {_SHOP_60}"
            ),
        ),
        "place",
        "account shop",
        version=60,
    ),
    Broken(
        "an event out of its order",
        "sequencing",
        (
            (
                "CREATE TEMPORARY TABLE swapped AS SELECT l.* FROM eventstore_log l JOIN eventstore_event e"
                " ON e.id = l.event_id WHERE e.stream_id = %(shop)s AND e.version IN (60, 61)"
            ),
            "DELETE FROM eventstore_log WHERE position IN (SELECT position FROM swapped)",
            (
                "INSERT INTO eventstore_log SELECT (SELECT sum(position) FROM swapped) - position, event_id,"
                " stream_bucket, route_bucket, sequenced_at FROM swapped"
            ),
        ),
        "position",
        "account shop",
        version=61,
    ),
    Broken(
        "an event that is left behind",
        "sequencing",
        (
            (
                "INSERT INTO eventstore_outbox SELECT l.event_id, l.stream_bucket, l.route_bucket"
                f" FROM eventstore_event e JOIN eventstore_log l ON l.event_id = e.id WHERE {_SHOP_60}"
            ),
            _unlogged(_SHOP_60),
        ),
        "position",
        "account shop",
        "none while version 60 waits in the outbox",
        version=61,
    ),
    Broken(
        "a stream's bucket",
        "sequencing",
        (
            (
                "UPDATE eventstore_log SET stream_bucket = (stream_bucket + 1) %% 256"
                f" WHERE event_id = (SELECT id FROM eventstore_event WHERE {_SHOP_60})"
            ),
        ),
        "stream_bucket",
        "account shop",
    ),
    Broken(
        "a route's bucket",
        "sequencing",
        (
            (
                "UPDATE eventstore_log SET route_bucket = NULL"
                " WHERE event_id = (SELECT id FROM eventstore_event WHERE stream_id = %(completed)s AND version = 1)"
            ),
        ),
        "route_bucket",
        "transfer completed",
        actual="null",
    ),
    Broken(
        "an unknown event",
        "events",
        (f"UPDATE eventstore_event SET event_type = 'AccountPainted' WHERE {_SHOP_60}",),
        "data",
        "account shop",
        "a readable AccountPainted",
    ),
    Broken(
        "an event of a later version",
        "events",
        (f"UPDATE eventstore_event SET schema_version = 9 WHERE {_SHOP_60}",),
        "data",
        "account shop",
    ),
    *(
        Broken(
            f"a number that no column holds: {path}",
            "events",
            (f"UPDATE eventstore_event SET data = jsonb_set(data, '{{{path}}}', '{number}') WHERE {where}",),
            "data",
            stream,
        )
        for path, number, where, stream in (
            ("amount", TOO_MUCH, _of("AccountCredited", "shop", "completed"), "account shop"),
            ("balance", f"-{TOO_MUCH}", _SHOP_60, "account shop"),
            ("initial_balance", 2**63, "stream_id = %(shop)s AND version = 1", "account shop"),
            ("amount", TOO_MUCH, "stream_id = %(household)s AND event_type = 'CashEntryReversed'", "account household"),
            ("details,amount", TOO_MUCH, "stream_id = %(completed)s AND version = 1", "transfer completed"),
            ("account_version", TOO_MUCH, "stream_id = %(completed)s AND version = 3", "transfer completed"),
        )
    ),
    Broken(
        "an event without its data",
        "events",
        (f"UPDATE eventstore_event SET data = '{{}}' WHERE {_SHOP_60}",),
        "data",
        "account shop",
    ),
    Broken(
        "an event without its metadata",
        "events",
        (f"UPDATE eventstore_event SET metadata = '{{}}' WHERE {_SHOP_60}",),
        "data",
        "account shop",
    ),
    Broken(
        "a sealed field",
        "events",
        (
            (
                "UPDATE eventstore_event b SET data = jsonb_set(b.data, '{name}', a.data->'name')"
                " FROM eventstore_event a"
                " WHERE b.stream_id = %(bob)s AND b.version = 1 AND a.stream_id = %(alice)s AND a.version = 1"
            ),
        ),
        "data",
        "customer bob",
        actual="InvalidTag",
    ),
    Broken(
        "a person's key",
        "events",
        ("DELETE FROM eventstore_subject_key WHERE subject_id = %(bob)s",),
        "key",
        "customer bob",
        actual="missing",
    ),
    Broken(
        "a snapshot's state",
        "snapshots",
        ("UPDATE eventstore_snapshot SET state = jsonb_set(state, '{balance}', '1')",),
        "snapshot state.balance",
        "account shop",
        actual="1",
        as_app=True,
    ),
    Broken(
        "a snapshot with something more",
        "snapshots",
        ("""UPDATE eventstore_snapshot SET state = state || '{"limit": 5}'""",),
        "snapshot state.limit",
        "account shop",
        "missing",
        "5",
        as_app=True,
    ),
    Broken(
        "a snapshot's stream type",
        "snapshots",
        ("UPDATE eventstore_snapshot SET stream_type = 'customer'",),
        "snapshot stream_type",
        "account shop",
        as_app=True,
    ),
    Broken(
        "a snapshot's first time",
        "snapshots",
        ("UPDATE eventstore_snapshot SET created_at = created_at + interval '1 microsecond'",),
        "snapshot created_at",
        "account shop",
        as_app=True,
    ),
    Broken(
        "a snapshot's last time",
        "snapshots",
        ("UPDATE eventstore_snapshot SET updated_at = updated_at + interval '1 microsecond'",),
        "snapshot updated_at",
        "account shop",
        as_app=True,
    ),
    Broken(
        "a snapshot of another version",
        "snapshots",
        ("UPDATE eventstore_snapshot SET version = version + 1",),
        "snapshot state.balance",
        "account shop",
        as_app=True,
    ),
    Broken(
        "a snapshot of no version",
        "snapshots",
        ("UPDATE eventstore_snapshot SET version = 9999",),
        "snapshot's event",
        "account shop",
        actual="missing",
        version=9999,
        as_app=True,
    ),
    Broken(
        "a snapshot of no stream",
        "snapshots",
        (f"UPDATE eventstore_snapshot SET stream_id = '{NOBODY}'",),
        "snapshot's event",
        f"account/{NOBODY}",
        actual="missing",
        as_app=True,
    ),
    Broken(
        "an event that cannot follow",
        "snapshots",
        ("UPDATE eventstore_event SET event_type = 'AccountUnfrozen' WHERE event_type = 'AccountClosed'",),
        "event",
        "account closed",
        "one that can follow Open",
    ),
)

# Makes place for one more entry after position 60: everything behind it moves up.
_MOVE_UP = (
    "UPDATE eventstore_log SET position = position + 1000000 WHERE position > 60",
    "UPDATE eventstore_log SET position = position - 999999 WHERE position > 1000000",
    "UPDATE eventstore_sequencer SET position = position + 1",
)
# Whoever knows how it is done can forge a seal; the next one gives it away.
_FORGE_SEAL = """
UPDATE eventstore_seal SET hash = decode(repeat('ab', 32), 'hex') WHERE first_position = 51
"""


def _altered(name: str, *statements: str, position: int | None = 60, actual: str | None = None) -> Broken:
    return Broken(name, "seals", statements, "sealed entry", None, position=position, actual=actual)


def _seal(name: str, statement: str, field: str, *, position: int = 51, actual: str | None = None) -> Broken:
    return Broken(name, "seals", (statement,), field, position=position, actual=actual)


_AT_60 = "id = (SELECT event_id FROM eventstore_log WHERE position = 60)"
_ENTRY_60 = "UPDATE eventstore_log SET {} WHERE position = 60"

OF_THE_SEALS: Final = (
    _altered(
        "an event's data", f'UPDATE eventstore_event SET data = data || \'{{"description": "x"}}\' WHERE {_AT_60}'
    ),
    _altered(
        "the way a number is written",
        f"UPDATE eventstore_event SET data = jsonb_set(data, '{{amount}}', '1.0') WHERE {_AT_60}",
    ),
    _altered("who acted", f'UPDATE eventstore_event SET metadata = metadata || \'{{"actor": "x"}}\' WHERE {_AT_60}'),
    _altered(
        "a microsecond of an event",
        f"UPDATE eventstore_event SET recorded_at = recorded_at - interval '1 us' WHERE {_AT_60}",
    ),
    _altered("an event's id", f"UPDATE eventstore_event SET event_id = gen_random_uuid() WHERE {_AT_60}"),
    _altered("an event's type", f"UPDATE eventstore_event SET event_type = 'CashWithdrawn' WHERE {_AT_60}"),
    _altered("a schema version", f"UPDATE eventstore_event SET schema_version = 2 WHERE {_AT_60}"),
    _altered("a stream's type", f"UPDATE eventstore_event SET stream_type = 'customer' WHERE {_AT_60}"),
    _altered("an event's stream", f"UPDATE eventstore_event SET stream_id = '{NOBODY}' WHERE {_AT_60}"),
    _altered("an event's version", f"UPDATE eventstore_event SET version = 900 WHERE {_AT_60}"),
    _altered("a sealed event", f"DELETE FROM eventstore_event WHERE {_AT_60}", actual="missing"),
    _altered("a sealed position", "DELETE FROM eventstore_log WHERE position = 60", actual="missing"),
    _altered("a stream bucket", _ENTRY_60.format("stream_bucket = (stream_bucket + 1) %% 256")),
    _altered("a route that was none", _ENTRY_60.format("route_bucket = 0")),
    _altered("a microsecond of the log", _ENTRY_60.format("sequenced_at = sequenced_at + interval '1 us'")),
    _altered("another event at a position", _ENTRY_60.format("event_id = 999999"), actual="missing"),
    _altered(
        "two events swapped",
        "ALTER TABLE eventstore_log DROP CONSTRAINT eventstore_log_event_id_unique",
        "UPDATE eventstore_log l SET event_id = other.event_id FROM eventstore_log other"
        " WHERE (l.position, other.position) IN ((60, 70), (70, 60))",
    ),
    _altered("a hole put in between", *_MOVE_UP, position=61),
    _altered(
        "an event put in between",
        _FORGE.format(event_type="event_type", data="data", stream="travel"),
        *_MOVE_UP,
        "INSERT INTO eventstore_log SELECT 61, (SELECT max(id) FROM eventstore_event), stream_bucket, route_bucket,"
        " sequenced_at FROM eventstore_log WHERE position = 60",
        position=61,
    ),
    _altered(
        "an event taken out and the gap closed",
        f"DELETE FROM eventstore_event WHERE {_AT_60}",
        "DELETE FROM eventstore_log WHERE position = 60",
        "UPDATE eventstore_log SET position = position + 1000000 WHERE position > 60",
        "UPDATE eventstore_log SET position = position - 1000001 WHERE position > 1000000",
        "UPDATE eventstore_sequencer SET position = position - 1",
    ),
    _altered(
        "the end of the log",
        f"DELETE FROM eventstore_log WHERE position = {_LAST_POSITION}",
        "UPDATE eventstore_sequencer SET position = position - 1",
        position=None,
        actual="missing",
    ),
    _seal("a seal", "DELETE FROM eventstore_seal WHERE first_position = 51", "seal", actual="missing"),
    _seal(
        "the first seal", "DELETE FROM eventstore_seal WHERE first_position = 1", "seal", position=1, actual="missing"
    ),
    _seal("a seal's hash", _FORGE_SEAL, "hash of the seal of positions 51 to 100"),
    _seal(
        "a seal's time",
        "UPDATE eventstore_seal SET sealed_at = sealed_at + interval '1 us' WHERE first_position = 51",
        "hash of the seal of positions 51 to 100",
    ),
    _seal(
        "the hash that a seal goes on from",
        "UPDATE eventstore_seal SET previous_hash = decode(repeat('cd', 32), 'hex') WHERE first_position = 51",
        "previous_hash of the seal of positions 51 to 100",
    ),
    _seal(
        "what is kept of an entry's hash",
        "UPDATE eventstore_seal SET leaves = overlay(leaves PLACING '\\x00' FROM 73) WHERE first_position = 51",
        "leaf of the seal of positions 51 to 100",
        position=60,
    ),
    _seal(
        "where a seal begins",
        "UPDATE eventstore_seal SET first_position = 52, leaves = substr(leaves, 9) WHERE first_position = 51",
        "seal",
        actual="missing",
    ),
    _seal(
        "a seal over another's entries",
        "UPDATE eventstore_seal SET first_position = 50, leaves = substr(leaves, 1, 8) || leaves"
        " WHERE first_position = 51",
        "seal",
        position=50,
    ),
    _seal(
        "a seal that was planted beyond the end",
        "INSERT INTO eventstore_seal SELECT 1000000, 1000000, 1, int8send(0), hash, sha256('x'), sealed_at"
        " FROM eventstore_seal ORDER BY last_position DESC LIMIT 1",
        "seal",
        position=1_000_000,
        actual="seal of positions 1000000 to 1000000",
    ),
    Broken(
        "the log's end with the last seal left",
        "seals",
        (
            "DELETE FROM eventstore_event WHERE id IN (SELECT event_id FROM eventstore_log WHERE position > 150)",
            "DELETE FROM eventstore_log WHERE position > 150",
            "UPDATE eventstore_sequencer SET position = 150",
        ),
        "seal",
        expected="none beyond position 150, where the log ends",
        position=151,
    ),
    Broken(
        "seals that are late",
        "seals",
        (
            "DELETE FROM eventstore_seal WHERE first_position > 150",
            "UPDATE eventstore_log SET sequenced_at = sequenced_at - interval '61 s'",
        ),
        "seal",
        position=151,
    ),
)

# Parks what the accounts' saga has handled long ago: its key, and the event that released the completed transfer.
_PARK_KEY = """
INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
VALUES ('accounts.saga', {key}, 12, clock_timestamp() + interval '1 hour', clock_timestamp(), 'a test')
"""
_PARK_EVENT = """
INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
SELECT max(id), {subscription}, {position}, clock_timestamp() FROM eventstore_parked_key
"""
_OF_COMPLETED = """(
    SELECT position FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
    WHERE e.stream_id = %(completed)s AND e.version = {}
)"""


def _park(
    *, key: str = "%(completed)s", subscription: str = "'accounts.saga'", position: str = _OF_COMPLETED.format(1)
) -> tuple[str, ...]:
    return (_PARK_KEY.format(key=key), _PARK_EVENT.format(subscription=subscription, position=position))


def _parked(name: str, statements: tuple[str, ...], field: str, stream: str | None = None, **named: str) -> Broken:
    expected, actual = named.get("expected"), named.get("actual")
    return Broken(name, "parked", statements, field, stream, expected=expected, actual=actual)


# By the sequencer's heartbeat, which stands in these tests.
OVERDUE: Final = """
UPDATE eventstore_parked_key
SET next_attempt_at = (SELECT heartbeat_at - interval '6 min' FROM eventstore_sequencer)
"""


def _attempt(name: str, change: str, column: str = "next_attempt_at", **named: str) -> Broken:
    statements = (*_park(), f"UPDATE eventstore_parked_key SET {change}")
    return _parked(name, statements, f"{column} of parked key {{completed}} of accounts.saga", "", **named)


OF_THE_PARKED: Final = (
    _parked(
        "a key that was parked and overtaken",
        _park(),
        "place behind parked key {completed} of accounts.saga",
        "transfer completed",
        actual="handled before it",
    ),
    _parked(
        "a stream that was parked and overtaken",
        (
            _PARK_KEY.format(key="%(shop)s").replace("accounts.saga", "views.accounts"),
            _PARK_EVENT.format(
                subscription="'views.accounts'",
                position="(SELECT min(position) FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id"
                " WHERE e.stream_id = %(shop)s)",
            ),
        ),
        "place behind parked key {shop} of views.accounts",
        "account shop",
        actual="handled before it",
    ),
    _parked(
        "a key without events",
        (_PARK_KEY.format(key="%(completed)s"),),
        "events behind parked key {completed} of accounts.saga",
        "",
        actual="none",
    ),
    _parked(
        "an event without its key",
        (
            *_park(),
            "ALTER TABLE eventstore_parked_event DROP CONSTRAINT eventstore_parked_event_parked_key_id_fkey",
            "DELETE FROM eventstore_parked_key",
        ),
        "key of the parked event of accounts.saga",
        actual="missing",
    ),
    _parked(
        "an event behind another's key",
        _park(key=f"'{NOBODY}'"),
        "key of the parked event of accounts.saga",
        "transfer completed",
        actual=str(NOBODY),
    ),
    _parked(
        "an event of another subscription",
        _park(subscription="'transfers.saga'"),
        "subscription of the parked event of transfers.saga",
        expected="accounts.saga",
        actual="transfers.saga",
    ),
    _parked(
        "an event of a subscription that nobody knows",
        tuple(statement.replace("accounts.saga", "nobody.saga") for statement in _park()),
        "subscription of the parked event of nobody.saga",
        actual="nobody.saga",
    ),
    _parked(
        "a position that is none",
        _park(position="999999"),
        "position of the parked event of accounts.saga",
        "",
        actual="missing",
    ),
    _parked(
        "a parked event that is gone",
        (*_park(position="60"), f"DELETE FROM eventstore_event WHERE {_AT_60}"),
        "event 60 of the parked event of accounts.saga",
        "",
        actual="missing",
    ),
    _parked(
        "an event that nobody has come to",
        (*_park(), "UPDATE eventstore_checkpoint SET position = 0 WHERE subscription = 'accounts.saga'"),
        "checkpoint behind the parked event of accounts.saga",
        "transfer completed",
        actual="0",
    ),
    _parked(
        "an event that the subscription does not handle",
        _park(position=_OF_COMPLETED.format(3)),
        "type of the parked event of accounts.saga",
        "transfer completed",
        actual="CreditRecorded",
    ),
    _attempt("a key that is never tried again", "next_attempt_at = 'infinity'", actual="infinity"),
    _attempt("a key that was parked at no time", "parked_at = '-infinity'", "parked_at", actual="-infinity"),
    _attempt("a key that is tried again next year", "next_attempt_at = clock_timestamp() + interval '1 year'"),
    _attempt(
        "a key that is tried again too late for so few attempts",
        "attempts = 3, next_attempt_at = clock_timestamp() + interval '5 min'",
    ),
    _attempt(
        "a key that waits for a moment, and for a day",
        "attempts = 0, next_attempt_at = clock_timestamp() + interval '1 day'",
    ),
    _parked(
        "a key that nobody tries",
        (*_park(), OVERDUE),
        "next attempt of parked key {completed} of accounts.saga",
        "",
    ),
)

_STUCK = "UPDATE eventstore_event SET recorded_at = recorded_at - interval '901 s' WHERE stream_id = %({})s"


def _stuck(name: str, transfer: str, statements: tuple[str, ...] = (), **named: str) -> Broken:
    stuck = (_STUCK.format(transfer), *statements)
    return Broken(name, "finality", stuck, "state", f"transfer {transfer}", actual=named["actual"])


OF_THE_UNFINISHED: Final = (
    _stuck("a transfer that was not asked for", "initial", actual="INITIAL"),
    _stuck("a transfer between its accounts", "debited", actual="DEBITED"),
    _stuck("a transfer on its way back", "refunding", actual="REFUNDING"),
    _stuck(
        "a transfer that is parked",
        "initial",
        (
            _PARK_KEY.format(key="%(initial)s"),
            _PARK_EVENT.format(subscription="'accounts.saga'", position=_LAST_POSITION),
            "UPDATE eventstore_parked_event SET position = 180",
        ),
        actual="INITIAL, parked by accounts.saga at position 180",
    ),
    Broken(
        "a step that was parked, and taken away",
        "finality",
        (f"UPDATE eventstore_checkpoint SET position = {_LAST_POSITION} WHERE subscription = 'accounts.saga'",),
        "next step",
        "transfer initial",
        actual="neither",
        version=1,
        as_app=True,
    ),
    Broken(
        "an account's answer that was parked, and taken away",
        "finality",
        (
            _unlogged("stream_id = %(completed)s AND version = 3"),
            "DELETE FROM eventstore_event WHERE stream_id = %(completed)s AND version = 3",
        ),
        "next step",
        "account shop",
        actual="neither",
    ),
)

_FIRST_DISCARD = "id = (SELECT min(id) FROM eventstore_operation WHERE action = 'discard')"


def _operated(name: str, statement: str, field: str, **named: str | None) -> Broken:
    return Broken(name, "operations", (statement,), field, named.get("stream", ""), None, named.get("actual"))


# What a discard would record, by nobody's word: with the id of the answer that the accounts have not given yet, as the
# saga's own. The saga finds it known, and never asks the account.
_FORGE_END = """
WITH last AS (
    SELECT e.*, l.stream_bucket, l.route_bucket
    FROM eventstore_event e
    JOIN eventstore_event first ON first.stream_id = e.stream_id AND first.version = 1
    JOIN eventstore_log l ON l.event_id = first.id
    WHERE e.stream_id = %({stream})s ORDER BY e.version DESC LIMIT 1
), forged AS (
    INSERT INTO eventstore_event (
        event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
    )
    SELECT %({answer})s, stream_type, stream_id, version + 1, '{event_type}', 1,
        data || '{{"reason": "forged", "account_version": 0}}',
        metadata || jsonb_build_object('actor', 'system:accounts.saga', 'causation_id', {cause}), clock_timestamp()
    FROM last RETURNING id
)
INSERT INTO eventstore_outbox SELECT forged.id, stream_bucket, {route_bucket} FROM forged, last
"""
FORGED_ENDS: Final = {
    "initial": _FORGE_END.format(
        stream="initial",
        answer="debit_id",
        event_type="DebitRejectionRecorded",
        cause="event_id",
        route_bucket="NULL::integer",
    ),
    "debited": _FORGE_END.format(
        stream="debited",
        answer="credit_id",
        event_type="CreditRejectionRecorded",
        cause="NULL",
        route_bucket="route_bucket",
    ),
}
"""By the transfer that they end."""

OF_THE_OPERATIONS: Final = (
    _operated(
        "a discard's record",
        f"DELETE FROM eventstore_operation WHERE {_FIRST_DISCARD}",
        "operation that this end of a story was recorded with",
        stream="transfer given_up",
        actual="missing",
    ),
    _operated(
        "a discard that is recorded twice",
        "INSERT INTO eventstore_operation (actor, action, subscription, detail)"
        f" SELECT actor, action, subscription, detail FROM eventstore_operation WHERE {_FIRST_DISCARD}",
        "operations with which one step was discarded",
    ),
    _operated(
        "a discard that has done nothing",
        "INSERT INTO eventstore_operation (actor, action, subscription, detail)"
        " SELECT actor, action, 'transfers.saga', detail || '{\"position\": 1}' FROM eventstore_operation"
        f" WHERE {_FIRST_DISCARD}",
        "end of the story at position 1 of operation 3 (discard)",
        actual="missing",
    ),
    _operated(
        "a discard of a position that is none",
        "UPDATE eventstore_operation SET detail = detail || '{\"position\": 999999}' WHERE id = 1",
        "event at position 999999 of operation 1 (discard)",
        actual="missing",
    ),
    _operated(
        "a discard of a position that no column holds",
        f"UPDATE eventstore_operation SET detail = detail || '{{\"position\": {TOO_MUCH}}}' WHERE id = 1",
        f"event at position {TOO_MUCH} of operation 1 (discard)",
        actual="missing",
    ),
    _operated(
        "a discard of a position that is no number",
        'UPDATE eventstore_operation SET detail = detail || \'{"position": "nowhere"}\' WHERE id = 1',
        "event at position nowhere of operation 1 (discard)",
        actual="missing",
    ),
    _operated(
        "who discarded",
        "UPDATE eventstore_operation SET actor = 'staff:mallory' WHERE id = 1",
        "actor of operation 1 (discard)",
        actual="staff:mallory",
    ),
    _operated(
        "what was discarded",
        f'UPDATE eventstore_operation SET detail = detail || \'{{"key": "{NOBODY}"}}\' WHERE id = 1',
        "key of operation 1 (discard)",
        actual=str(NOBODY),
    ),
    _operated(
        "when something was discarded",
        "UPDATE eventstore_operation SET at = 'infinity' WHERE id = 1",
        "time of operation 1 (discard)",
        actual="infinity",
    ),
    *(
        Broken(
            f"a discard by nobody, of a transfer that is {name.upper()}",
            "operations",
            (statement,),
            "stream of an answer of accounts.saga",
            f"transfer {name}",
            as_app=True,
        )
        for name, statement in FORGED_ENDS.items()
    ),
    Broken(
        "a discard from what nobody knows",
        "operations",
        ("UPDATE eventstore_operation SET subscription = 'ghost.saga' WHERE id = 1",),
        "operation 1 (discard)",
        left_out=True,
    ),
    Broken(
        "a key of nobody",
        "events",
        (f"INSERT INTO eventstore_subject_key (subject_id, wrapped_key) VALUES ('{NOBODY}', '')",),
        "events of the key's person",
        str(NOBODY),
        actual="missing",
        as_app=True,
    ),
    Broken(
        "a key of no time",
        "events",
        ("UPDATE eventstore_subject_key SET created_at = 'infinity' WHERE subject_id = %(bob)s",),
        "created_at of the key",
        None,
        actual="infinity",
        as_app=True,
    ),
)

# An answer as it is kept, to the request that made an event; `{}` stands for more columns, or for what is altered.
_ANSWER = """
INSERT INTO eventstore_idempotency_record (principal, key, fingerprint, answer, created_at)
SELECT {principal}, '{key}', '', {answer}, {created_at} FROM eventstore_event WHERE {where}
"""
_CAROLS = "staff:carol key-1"
_ENTRY = "jsonb_build_object('entry_id', event_id, 'version', version, 'balance', {balance})"
_BALANCE = "to_char((data->>'balance')::bigint / 100.0, 'FM9999990.00')"
_CUSTOMER = "jsonb_build_object('customer_id', stream_id, 'version', version)"
_CHANGED = "jsonb_build_object('stream_id', stream_id, 'version', version)"
_ACCOUNT = "jsonb_build_object('account_id', stream_id, 'version', version, 'number', {number})"
_TRANSFER = "jsonb_build_object('transfer_id', stream_id, 'version', version, 'state', {state})"
_STANDING = "jsonb_build_object('state', {state}, 'version', version)"


def _version(stream: str, version: int) -> str:
    return f"stream_id = %({stream})s AND version = {version}"


_FROZEN = "event_type = 'AccountFrozen' AND stream_id = %(frozen)s"
_OPENED = _version("shop", 1)
_RELEASED = _version("completed", 1)
_REGISTERED = _version("alice", 1)
_RENAMED = _version("alice", 2)


def _answer(answer: str, *, where: str = _SHOP_60, key: str = "key-1", **altered: str) -> str:
    said = {"principal": "'staff:carol'", "created_at": "recorded_at + interval '1 ms'", **altered}
    return _ANSWER.format(answer=answer, where=where, key=key, **said)


RIGHT_ANSWERS: Final = (
    _answer(_ENTRY.format(balance=_BALANCE), key="entry"),
    _answer(_ENTRY.format(balance=_BALANCE), where="event_type = 'CashEntryReversed'", key="' || id || '"),
    _answer(_ENTRY.format(balance="data->>'balance'"), where="event_type = 'CashWithdrawn' AND stream_id = %(yen)s"),
    _answer(_CUSTOMER, where=_REGISTERED, key="customer"),
    _answer(_CHANGED, where=_RENAMED, key="changed"),
    _answer(_ACCOUNT.format(number="data->'number'"), where=_OPENED, key="opened"),
    _answer(_TRANSFER.format(state="'INITIAL'"), where=_RELEASED, key="transfer"),
    _answer(_STANDING.format(state="'FROZEN'"), where=_FROZEN, key="frozen"),
    _answer(_STANDING.format(state="'OPEN'"), where="event_type = 'AccountUnfrozen'", key="unfrozen"),
    _answer(_STANDING.format(state="'CLOSED'"), where="event_type = 'AccountClosed'", key="closed"),
)
"""What the bank would keep of requests that made some of the ledger's events."""


def _answered(
    name: str, statement: str | tuple[str, ...], field: str, stream: str | None = "", **named: str | None
) -> Broken:
    statements = (statement,) if isinstance(statement, str) else statement
    return Broken(name, "answers", statements, field, stream, named.get("expected"), named.get("actual", "missing"))


OF_THE_ANSWERS: Final = (
    _answered(
        "an answer with a transfer that is not there",
        _answer(f"""'{{"transfer_id": "{NOBODY}", "version": 1, "state": "INITIAL"}}'"""),
        f"transfer_id {NOBODY} in the answer to {_CAROLS}",
        f"transfer/{NOBODY}",
    ),
    _answered(
        "an answer with a customer who is an account",
        _answer(_CUSTOMER),
        f"customer_id {{shop}} in the answer to {_CAROLS}",
        None,
    ),
    _answered(
        "an answer with a version that is not there",
        _answer("jsonb_build_object('account_id', stream_id, 'version', 9999, 'number', '1')"),
        f"account_id {{shop}} in the answer to {_CAROLS}",
        "account shop",
    ),
    _answered(
        "an answer with a version that no stream can have",
        _answer(f"""'{{"customer_id": "{NOBODY}", "version": 99999999999}}'"""),
        f"customer_id {NOBODY} in the answer to {_CAROLS}",
        f"customer/{NOBODY}",
    ),
    _answered(
        "an answer with an entry that is not there",
        _answer("jsonb_build_object('entry_id', stream_id, 'version', version, 'balance', '1.00')"),
        f"entry_id {{shop}} in the answer to {_CAROLS}",
    ),
    _answered(
        "an answer with an entry that is none",
        _answer(_ENTRY.format(balance="'0.00'"), where=_OPENED),
        f"event of the answer to {_CAROLS}",
        "account shop",
        expected="CashDeposited or CashWithdrawn or CashEntryReversed",
        actual="AccountOpened",
    ),
    _answered(
        "an answer with another balance",
        _answer(_ENTRY.format(balance="'9999.00'")),
        f"balance of the answer to {_CAROLS}",
        "account shop",
        actual="9999.00",
    ),
    _answered(
        "an answer with another version of an entry",
        _answer("jsonb_build_object('entry_id', event_id, 'version', 7, 'balance', '1.00')"),
        f"version of the answer to {_CAROLS}",
        "account shop",
        expected="60",
        actual="7",
    ),
    _answered(
        "an answer with another number",
        _answer(_ACCOUNT.format(number="'12345'"), where=_OPENED),
        f"number of the answer to {_CAROLS}",
        "account shop",
        actual="12345",
    ),
    _answered(
        "an answer with another state of a transfer",
        _answer(_TRANSFER.format(state="'COMPLETED'"), where=_RELEASED),
        f"state of the answer to {_CAROLS}",
        "transfer completed",
        expected="INITIAL",
        actual="COMPLETED",
    ),
    _answered(
        "an answer with what another customer changed",
        _answer(_CHANGED, where=_REGISTERED),
        f"event of the answer to {_CAROLS}",
        "customer alice",
        actual="CustomerRegistered",
    ),
    _answered(
        "an answer to somebody else",
        _answer(_ENTRY.format(balance=_BALANCE), principal="'staff:mallory'"),
        "principal of the answer to staff:mallory key-1",
        "account shop",
        expected="staff:carol",
        actual="staff:mallory",
    ),
    _answered(
        "an answer to a request of another day",
        _answer(_ENTRY.format(balance=_BALANCE), created_at="recorded_at + interval '1 day'"),
        f"time of the answer to {_CAROLS}",
        "account shop",
        actual=None,
    ),
    _answered(
        "an answer of no time",
        _answer(_ENTRY.format(balance=_BALANCE), created_at="'infinity'"),
        f"time of the answer to {_CAROLS}",
        "account shop",
        actual="infinity",
    ),
    _answered(
        "an answer that another has got",
        (
            _answer(_ENTRY.format(balance=_BALANCE)),
            _answer(_ENTRY.format(balance=_BALANCE), key="key-2"),
        ),
        "event of the answer to staff:carol key-2",
        expected="one that no other answer tells of",
        actual=None,
    ),
    _answered(
        "an answer with a state that nobody brought about",
        _answer(_STANDING.format(state="'CLOSED'").replace("version)", "9)"), where=_FROZEN),
        f"state in the answer to {_CAROLS}",
        actual="CLOSED in version 9",
    ),
    _answered(
        "an answer with a state that somebody else brought about",
        _answer(_STANDING.format(state="'FROZEN'"), where=_FROZEN, principal="'staff:mallory'"),
        "state in the answer to staff:mallory key-1",
        actual="FROZEN in version 2",
    ),
    _answered(
        "an answer with a state of no time",
        _answer(_STANDING.format(state="'FROZEN'"), where=_FROZEN, created_at="'-infinity'"),
        f"state in the answer to {_CAROLS}",
        actual="FROZEN in version 2",
    ),
    _answered("an answer that is none", _answer("'[]'"), f"answer to {_CAROLS}", actual="something else"),
    _answered("an answer that says nothing", _answer("'{}'"), f"answer to {_CAROLS}", actual="something else"),
    _answered(
        "an answer with an id that is none",
        _answer("""'{"account_id": "x", "version": 1, "number": "1"}'"""),
        f"answer to {_CAROLS}",
        actual="something else",
    ),
    _answered(
        "an answer without its version",
        _answer("jsonb_build_object('customer_id', stream_id)", where=_REGISTERED),
        f"answer to {_CAROLS}",
        actual="something else",
    ),
    Broken(
        "an answer of a kind that nobody knows",
        "answers",
        (_answer("""'{"loan_id": "x"}'"""),),
        f"the answer to {_CAROLS}",
        left_out=True,
    ),
)

_NO_TIME = {
    "log: the head's time": ("log", "UPDATE eventstore_sequencer SET sequenced_at = 'infinity'", "head sequenced_at"),
    "log: the heartbeat": ("log", "UPDATE eventstore_sequencer SET heartbeat_at = '-infinity'", "head heartbeat_at"),
    "log: the first entry": (
        "log",
        "UPDATE eventstore_log SET sequenced_at = '-infinity' WHERE position = 1",
        "sequenced_at",
    ),
    "log: the last entry": (
        "log",
        f"UPDATE eventstore_log SET sequenced_at = 'infinity' WHERE position = {_LAST_POSITION}",
        "sequenced_at",
    ),
    "an event": (
        "streams",
        "UPDATE eventstore_event SET recorded_at = 'infinity' WHERE stream_id = %(initial)s",
        "recorded_at",
    ),
    "an event beyond all calendars": (
        "streams",
        "UPDATE eventstore_event SET recorded_at = '20000-01-01T00:00Z' WHERE stream_id = %(travel)s AND version = 2",
        "recorded_at",
    ),
    "an event before all times": (
        "streams",
        "UPDATE eventstore_event SET recorded_at = '0044-03-15 BC' WHERE stream_id = %(travel)s AND version = 1",
        "recorded_at",
    ),
    "a snapshot's first event": (
        "snapshots",
        "UPDATE eventstore_snapshot SET created_at = '-infinity'",
        "snapshot created_at",
    ),
    "a snapshot's last event": (
        "snapshots",
        "UPDATE eventstore_snapshot SET updated_at = 'infinity'",
        "snapshot updated_at",
    ),
    "an account": ("readmodel.account", "UPDATE readmodel.account SET changed_at = 'infinity'", "changed_at"),
    "an entry": ("readmodel.entry", "UPDATE readmodel.entry SET recorded_at = '-infinity'", "recorded_at"),
    "a seal": ("seals", "UPDATE eventstore_seal SET sealed_at = 'infinity' WHERE first_position = 51", None),
    "a checkpoint": (
        "checkpoints",
        "UPDATE eventstore_checkpoint SET held_until = 'infinity' WHERE subscription = 'accounts.saga'",
        "accounts.saga: held_until of buckets 0 to 255",
    ),
    "an entry that was reversed": (
        "streams",
        (
            "UPDATE eventstore_event SET recorded_at = 'infinity' WHERE event_id = (SELECT (data->>'entry_id')::uuid"
            " FROM eventstore_event WHERE event_type = 'CashEntryReversed' AND stream_id = %(household)s)"
        ),
        "recorded_at",
    ),
}
OF_NO_TIME: Final = tuple(
    Broken(
        f"a time that is none: {name}",
        check,
        (statement,),
        field or "hash of the seal of positions 51 to 100",
        None,
        actual=None if field is None else "-infinity" if "'-inf" in statement or "BC" in statement else "infinity",
    )
    for name, (check, statement, field) in _NO_TIME.items()
)

OF_THE_BANK: Final = (
    Broken(
        "an amount",
        "balances",
        (_data('{"amount": 7}', _SHOP_60),),
        "balance",
        "account shop",
        version=60,
    ),
    Broken(
        "a carried balance",
        "balances",
        (_data('{"balance": 7}', _SHOP_60),),
        "balance",
        "account shop",
        actual="7",
        version=60,
    ),
    Broken(
        "an opening balance",
        "balances",
        (_data('{"initial_balance": 7}', "stream_id = %(travel)s AND version = 1"),),
        "balance",
        "account travel",
        "7",
        "0",
    ),
    Broken(
        "a balance below zero",
        "balances",
        (_data('{"balance": -7}', "stream_id = %(travel)s AND version = 2"),),
        "balance",
        "account travel",
        "0 or more",
        "-7",
    ),
    Broken(
        "a removed deposit",
        "balances",
        (_unlogged(_SHOP_60), f"DELETE FROM eventstore_event WHERE {_SHOP_60}"),
        "balance",
        "account shop",
        version=61,
    ),
    Broken(
        "a debit that failed for no reason",
        "balances",
        (_data('{"amount": 1}', "event_type = 'AccountDebitFailedDueToInsufficientFunds'"),),
        "amount",
        "account household",
        actual="1",
    ),
    Broken(
        "a reversed amount",
        "reversals",
        (_data('{"amount": 7}', "event_type = 'CashEntryReversed' AND stream_id = %(household)s"),),
        "amount",
        "account household",
        "2000",
        "7",
    ),
    Broken(
        "a reversal of the other kind",
        "reversals",
        (_data('{"entry_kind": "withdrawal"}', "event_type = 'CashEntryReversed' AND stream_id = %(household)s"),),
        "entry_kind",
        "account household",
        "deposit",
        "withdrawal",
    ),
    Broken(
        "a reversal of nothing",
        "reversals",
        (_data(f'{{"entry_id": "{NOBODY}"}}', "event_type = 'CashEntryReversed' AND stream_id = %(household)s"),),
        "entry_id",
        "account household",
        actual="missing",
    ),
    Broken(
        "an entry reversed twice",
        "reversals",
        (
            (
                "UPDATE eventstore_event SET data = jsonb_set(data, '{entry_id}', to_jsonb(%(reversed)s::text))"
                " WHERE event_type = 'CashEntryReversed' AND stream_id = %(shop)s"
            ),
        ),
        "account_id",
        "account shop",
    ),
    Broken(
        "an entry undone again",
        "reversals",
        (
            _FORGE.format(
                event_type="'CashEntryReversed'",
                stream="household",
                data="""(
            SELECT data FROM eventstore_event WHERE event_type = 'CashEntryReversed' AND stream_id = %(household)s
        )""",
            ),
        ),
        "entry_id",
        "account household",
        "an entry not undone yet",
    ),
    Broken(
        "a credit removed",
        "transfers",
        (
            _unlogged(_of("AccountCredited", "shop", "completed")),
            "DELETE FROM eventstore_event WHERE " + _of("AccountCredited", "shop", "completed"),
        ),
        "account events of a transfer that is COMPLETED",
        "transfer completed",
        "debit, credit",
    ),
    Broken(
        "a credit without debit",
        "transfers",
        (_data(f'{{"transfer_id": "{NOBODY}"}}', _of("AccountDebited", "household", "completed")),),
        "account events of a transfer that is COMPLETED",
        "transfer completed",
        "debit, credit",
    ),
    Broken(
        "a debit of no transfer",
        "transfers",
        (_data(f'{{"transfer_id": "{NOBODY}"}}', _of("AccountDebited", "household", "completed")),),
        "transfer_id",
        "account household",
        "a transfer that exists",
    ),
    Broken(
        "a transfer removed",
        "transfers",
        (
            _unlogged("stream_id = %(completed)s"),
            "DELETE FROM eventstore_event WHERE stream_id = %(completed)s",
        ),
        "transfer_id",
        "account shop",
        "a transfer that exists",
    ),
    Broken(
        "a credit given twice",
        "transfers",
        (
            _FORGE.format(event_type="event_type", stream="travel", data="""data || '{"balance": 1400}'::jsonb"""),
            *_FORGE_PLACE,
        ),
        "account events of a transfer that is COMPLETED",
        "transfer in_yen",
    ),
    Broken(
        "a refund removed",
        "transfers",
        (
            _unlogged(_of("AccountDebitRefunded", "household", "refunded")),
            "DELETE FROM eventstore_event WHERE " + _of("AccountDebitRefunded", "household", "refunded"),
        ),
        "account events of a transfer that is REFUNDED",
        "transfer refunded",
        "debit, rejected credit, refund",
    ),
    Broken(
        "a refund of what was credited",
        "transfers",
        (
            _FORGE.format(
                event_type="'AccountDebitRefunded'",
                stream="yen",
                data="""data - 'description' || jsonb_build_object('balance', (data->>'balance')::bigint + 700)""",
            ),
            *_FORGE_PLACE,
        ),
        "account events of a transfer that is COMPLETED",
        "transfer in_yen",
    ),
    Broken(
        "a failure that the account calls a refusal",
        "transfers",
        (
            (
                "UPDATE eventstore_event SET event_type = 'AccountDebitRejected', data = data || '{\"reason\": \"a\"}'"
                " WHERE event_type = 'AccountDebitFailedDueToInsufficientFunds'"
            ),
        ),
        "account events of a transfer that is FAILED_DUE_TO_INSUFFICIENT_FUNDS",
        "transfer failed",
        "failed debit",
    ),
    Broken(
        "a rejected transfer that was debited",
        "transfers",
        (
            (
                "UPDATE eventstore_event SET event_type = 'AccountDebited', data = data"
                " || jsonb_build_object('balance', 4900, 'counterparty_account_id', %(shop)s::text, 'description', '')"
                " WHERE event_type = 'AccountDebitRejected' AND stream_id = %(frozen)s"
            ),
        ),
        "account events of a transfer that is REJECTED",
        "transfer rejected",
        "rejected debit",
    ),
    Broken(
        "an end without an answer",
        "transfers",
        (
            (
                "UPDATE eventstore_event SET event_type = 'DebitRejectionRecorded',"
                ' data = \'{"reason": "a", "account_version": 3}\''
                " WHERE stream_id = %(completed)s AND version = 2"
            ),
            _unlogged("stream_id = %(completed)s AND version = 3"),
            "DELETE FROM eventstore_event WHERE stream_id = %(completed)s AND version = 3",
        ),
        "account events of a transfer that is REJECTED",
        "transfer completed",
    ),
    Broken(
        "a transfer on its way that was forgotten",
        "transfers",
        (
            _unlogged(_of("AccountDebited", "household", "debited")),
            "DELETE FROM eventstore_event WHERE " + _of("AccountDebited", "household", "debited"),
        ),
        "account events of a transfer that is DEBITED",
        "transfer debited",
        "debit or debit, credit or debit, rejected credit",
        "nothing",
    ),
    Broken(
        "a debited amount",
        "transfers",
        (_data('{"amount": 7}', _of("AccountDebited", "household", "completed")),),
        "amount",
        "account household",
        "15000",
        "7",
    ),
    Broken(
        "a counterparty",
        "transfers",
        (_data(f'{{"counterparty_account_id": "{NOBODY}"}}', _of("AccountCredited", "shop", "completed")),),
        "counterparty_account_id",
        "account shop",
        actual=str(NOBODY),
    ),
    Broken(
        "the account that was credited",
        "transfers",
        (
            (
                "UPDATE eventstore_event"
                " SET data = jsonb_set(data, '{details,to_account_id}', to_jsonb(%(frozen)s::text))"
                " WHERE stream_id = %(completed)s AND data ? 'details'"
            ),
        ),
        "account of the credit",
        "account shop",
    ),
    Broken(
        "a currency",
        "transfers",
        (
            (
                "UPDATE eventstore_event SET data = jsonb_set(data, '{details,currency}', '\"USD\"')"
                " WHERE stream_id = %(completed)s AND data ? 'details'"
            ),
        ),
        "currency",
        "account household",
        "USD",
        "EUR",
    ),
    Broken(
        "a repeated detail",
        "transfers",
        (
            (
                "UPDATE eventstore_event SET data = jsonb_set(data, '{details,amount}', '7')"
                " WHERE stream_id = %(completed)s AND version = 2"
            ),
        ),
        "details.amount",
        "transfer completed",
        "15000",
        "7",
    ),
    Broken(
        "an account's version",
        "transfers",
        (_data('{"account_version": 7}', "stream_id = %(completed)s AND version = 3"),),
        "account_version of the credit",
        "transfer completed",
        actual="7",
    ),
    Broken(
        "money from nowhere",
        "conservation",
        (_data('{"balance": 99999}', "stream_id = %(travel)s AND version = 2"),),
        "JPY held by accounts and on its way, in minor units",
        expected="8900",
        actual=str(8900 - 700 + 99999),
    ),
    Broken(
        "money that was doubled",
        "conservation",
        (
            _FORGE.format(event_type="event_type", stream="travel", data="""data || '{"balance": 1400}'::jsonb"""),
            *_FORGE_PLACE,
        ),
        "JPY held by accounts and on its way, in minor units",
        expected="8900",
        actual="9600",
    ),
    Broken(
        "money that was lost on its way",
        "conservation",
        (_data(f'{{"transfer_id": "{NOBODY}"}}', _of("AccountDebited", "household", "debited")),),
        "EUR held by accounts and on its way, in minor units",
    ),
)

OF_THE_READ_MODELS: Final = (
    Broken(
        "a read model's row",
        "readmodel.account",
        ("DELETE FROM readmodel.account WHERE account_id = %(shop)s",),
        "row",
        "account shop",
        "present",
        "missing",
        as_app=True,
    ),
    Broken(
        "a row of a stream that does not exist",
        "readmodel.account",
        (_COPY_ACCOUNT.format(id=f"'{NOBODY}'"),),
        "row",
        str(NOBODY),
        "missing",
        "present",
        as_app=True,
    ),
    Broken(
        "a row of a stream of another kind",
        "readmodel.account",
        (_COPY_ACCOUNT.format(id="%(completed)s"),),
        "row",
        "transfer completed",
        "missing",
        "present",
        as_app=True,
    ),
    Broken(
        "a line of a statement",
        "readmodel.entry",
        ("DELETE FROM readmodel.entry WHERE account_id = %(shop)s AND version = 60",),
        "row",
        "account shop",
        "present",
        "missing",
        version=60,
        as_app=True,
    ),
    Broken(
        "a line of a statement too many",
        "readmodel.entry",
        (
            (
                "INSERT INTO readmodel.entry SELECT account_id, version + 1000, gen_random_uuid(), kind, amount,"
                " balance_after, transfer_id, counterparty_account_id, reverses, description, recorded_at"
                " FROM readmodel.entry WHERE account_id = %(shop)s AND version = 60"
            ),
        ),
        "row",
        "account shop",
        "missing",
        "present",
        version=1060,
        as_app=True,
    ),
    Broken(
        "an account that is there twice, and shown wrong first",
        "readmodel.account",
        (
            "ALTER TABLE readmodel.account DROP CONSTRAINT account_pkey",
            "CREATE TEMPORARY TABLE kept AS SELECT * FROM readmodel.account WHERE account_id = %(shop)s",
            "DELETE FROM readmodel.account WHERE account_id = %(shop)s",
            _COPY_ACCOUNT_OF_KEPT.format(balance="balance + 100"),
            _COPY_ACCOUNT_OF_KEPT.format(balance="balance"),
        ),
        "rows of this key",
        "account shop",
        "one",
        "2",
        as_app=True,
    ),
    Broken(
        "a line of a statement that is there twice",
        "readmodel.entry",
        (
            "ALTER TABLE readmodel.entry DROP CONSTRAINT entry_pkey",
            (
                "INSERT INTO readmodel.entry SELECT account_id, version, entry_id, kind, amount + 1, balance_after,"
                " transfer_id, counterparty_account_id, reverses, description, recorded_at"
                " FROM readmodel.entry WHERE account_id = %(shop)s AND version = 60"
            ),
        ),
        "rows of this key",
        "account shop",
        "one",
        "2",
        version=60,
        as_app=True,
    ),
    Broken(
        "a read model's key",
        "readmodel.entry",
        ("ALTER TABLE readmodel.entry DROP CONSTRAINT entry_pkey",),
        "unique index on (account_id, version)",
        actual="missing",
        as_app=True,
    ),
    Broken(
        "a read model's key that is not heeded at once",
        "readmodel.transfer",
        (
            "ALTER TABLE readmodel.transfer DROP CONSTRAINT transfer_pkey",
            "ALTER TABLE readmodel.transfer ADD PRIMARY KEY (transfer_id) DEFERRABLE",
        ),
        "unique index on (transfer_id)",
        actual="missing",
        as_app=True,
    ),
    Broken(
        "a read model's index",
        "readmodel.account",
        ("DROP INDEX readmodel.account_search",),
        "index account_search",
        actual="missing",
        as_app=True,
    ),
    Broken(
        "what a read model was made from",
        "readmodel.account",
        (
            "COMMENT ON TABLE readmodel.account IS 'views.accounts 1:0000000000000000'",
            "DROP INDEX readmodel.account_search",
        ),
        "its columns and indexes: the table was made from 1:0000000000000000 of views.accounts",
        left_out=True,
        as_app=True,
    ),
    Broken(
        "a whole read model",
        "readmodel.transfer_step",
        ("DROP TABLE readmodel.transfer_step",),
        "column version",
        actual="missing",
        as_app=True,
    ),
    Broken(
        "a column that nobody keeps",
        "readmodel.account",
        ("ALTER TABLE readmodel.account ADD COLUMN note text",),
        "column note",
        actual="neither",
        as_app=True,
    ),
    Broken(
        "what the database derives",
        "readmodel.customer",
        ("ALTER TABLE readmodel.customer ALTER COLUMN search DROP EXPRESSION",),
        "column search",
        actual="neither",
        as_app=True,
    ),
)

EVERYTHING_BROKEN: Final = (
    *OF_THE_GUARDS,
    *OF_THE_STORE,
    *OF_THE_SEALS,
    *OF_THE_PARKED,
    *OF_THE_BANK,
    *OF_THE_UNFINISHED,
    *OF_THE_OPERATIONS,
    *OF_THE_ANSWERS,
    *OF_NO_TIME,
    *OF_THE_READ_MODELS,
)
