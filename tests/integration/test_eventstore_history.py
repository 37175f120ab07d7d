"""History is never rewritten, whoever asks: not by the app role, not by the owner, not by a replica's session."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, RestrictViolation

from eventstore import sequencer
from eventstore.seals import sealer
from tests.integration.shops import Shop, rows, value

pytestmark = pytest.mark.usefixtures("shop_database")

HISTORY = ["eventstore_event", "eventstore_log", "eventstore_operation", "eventstore_seal"]
REWRITINGS = ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table}"]
COLUMN = {
    "eventstore_event": "version",
    "eventstore_log": "event_id",
    "eventstore_operation": "actor",
    "eventstore_seal": "hash",
}

# What the app role may do with a table.
SELECT_PRIVILEGES = """
SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES'])
    AS privilege
WHERE has_table_privilege(%s, privilege) ORDER BY privilege
"""


@pytest.fixture(autouse=True)
def history(shop_database: object) -> None:
    """A row in each table that history is made of."""
    Shop().open()
    assert sequencer.sequence() is sequencer.Outcome.MOVED
    rows("INSERT INTO eventstore_operation (actor, action, subscription, detail) VALUES ('o', 'pause', 's', '{}')")
    assert sealer.seal_next(age_seconds=0) is sealer.Outcome.SEALED


def _rewriting(statement: str, table: str) -> sql.Composed:
    return sql.SQL(statement).format(table=sql.Identifier(table), column=sql.Identifier(COLUMN[table]))


def _count(table: str) -> int:
    return int(value(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)).as_string()))


@pytest.mark.parametrize("statement", REWRITINGS)
def test_the_owner_is_refused_too(statement: str, owner: psycopg.Connection) -> None:
    for table in HISTORY:
        with pytest.raises(RestrictViolation, match=f"on {table} is refused: history is append-only"):
            owner.execute(_rewriting(statement, table))
        assert _count(table) == 1


@pytest.mark.parametrize("statement", REWRITINGS)
def test_a_superuser_in_a_replica_s_session_is_refused_too(statement: str, superuser: psycopg.Connection) -> None:
    superuser.execute("SET session_replication_role = replica")
    for table in HISTORY:
        with pytest.raises(RestrictViolation, match=f"on {table} is refused: history is append-only"):
            superuser.execute(_rewriting(statement, table))
        assert _count(table) == 1


@pytest.mark.parametrize("statement", REWRITINGS)
def test_the_app_role_has_not_even_the_right(statement: str, app: psycopg.Connection) -> None:
    for table in HISTORY:
        with pytest.raises(InsufficientPrivilege):
            app.execute(_rewriting(statement, table))
        assert _count(table) == 1


def test_the_app_role_reads_and_adds_and_does_nothing_else() -> None:
    for table in HISTORY:
        assert rows(SELECT_PRIVILEGES, [table]) == [("INSERT",), ("SELECT",)]


def test_the_app_role_cannot_take_the_guards_away(app: psycopg.Connection) -> None:
    for statement in (
        "ALTER TABLE eventstore_event DISABLE TRIGGER eventstore_event_append_only",
        "DROP TRIGGER eventstore_event_append_only ON eventstore_event",
        "CREATE OR REPLACE FUNCTION eventstore_refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "SET session_replication_role = replica",
        "CREATE TABLE public.mine (id int)",
    ):
        with pytest.raises(InsufficientPrivilege):
            app.execute(statement)


def test_an_update_that_hits_no_row_is_refused_as_well(owner: psycopg.Connection) -> None:
    with pytest.raises(RestrictViolation):
        owner.execute("DELETE FROM eventstore_event WHERE false")


def test_the_app_role_can_still_add() -> None:
    Shop().open()
    assert _count("eventstore_event") == 2
