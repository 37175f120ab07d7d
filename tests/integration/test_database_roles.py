"""The app role runs the bank and cannot rewrite its history."""

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.utils import OperationalError, ProgrammingError
from psycopg import sql

from config.database_roles import APPEND_ONLY_TABLES, RIGHTS
from tests.conftest import Database


@pytest.mark.django_db
def test_it_is_the_app_role_that_tests_talk_as() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER")
        assert cursor.fetchone() == ("daybook_app",)


# Every table of the migrations' schema, and which of the rights the role that asks has on it.
HELD = """
    SELECT relname, array_remove(array_agg(
        CASE WHEN has_table_privilege(c.oid, name) THEN name END ORDER BY name), NULL)
    FROM pg_class c, unnest(%s::text[]) AS name
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') GROUP BY relname
"""
EVERY_RIGHT = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

# The same for sequences: to take a number is USAGE, to set one back is UPDATE.
HELD_ON_SEQUENCES = """
    SELECT relname, array_remove(array_agg(
        CASE WHEN has_sequence_privilege(c.oid, name) THEN name END ORDER BY name), NULL)
    FROM pg_class c, unnest(ARRAY['SELECT', 'UPDATE', 'USAGE']) AS name
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' GROUP BY relname
"""


@pytest.mark.django_db
def test_it_has_on_each_table_exactly_the_rights_that_are_listed() -> None:
    with connection.cursor() as cursor:
        cursor.execute(HELD, [list(EVERY_RIGHT)])
        held = {table: set(rights) for table, rights in cursor.fetchall()}
    assert held == {table: set(rights.split(", ")) for table, rights in RIGHTS.items()}


@pytest.mark.django_db
def test_it_takes_numbers_and_sets_none_back() -> None:
    with connection.cursor() as cursor:
        cursor.execute(HELD_ON_SEQUENCES)
        held = {sequence: rights for sequence, rights in cursor.fetchall() if rights}
    assert held == {"accounts_account_number": ["USAGE"]}


@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
def test_it_reads_history_and_adds_to_it_alone(table: str) -> None:
    assert RIGHTS[table] == "SELECT, INSERT"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE eventstore_idempotency_record SET answer = '{}'",
        "UPDATE eventstore_outbox SET stream_bucket = 0",
        "DELETE FROM eventstore_sequencer",
        "DELETE FROM eventstore_subject_key",
        "DELETE FROM django_admin_log",
        "UPDATE auth_group SET name = name",
        "INSERT INTO auth_group_permissions (group_id, permission_id) VALUES (1, 1)",
        "SELECT setval('accounts_account_number', 1)",
    ],
)
def test_it_is_refused_what_the_program_never_does(statement: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        connection.cursor().execute(statement)


def test_a_right_that_was_granted_by_hand_is_taken_back_by_the_next_migration(fresh_database: Database) -> None:
    with psycopg.connect(fresh_database.owner_url, autocommit=True) as owner:
        owner.execute("GRANT ALL ON eventstore_event, auth_group TO daybook_app")
    call_command("prepare_database", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(HELD, [list(EVERY_RIGHT)])
        held = dict(cursor.fetchall())
    assert held["eventstore_event"] == ["INSERT", "SELECT"]
    assert held["auth_group"] == ["SELECT"]


@pytest.mark.django_db
@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "ALTER TABLE {} DISABLE TRIGGER ALL"]
)
def test_it_is_refused_when_it_rewrites_history(table: str, statement: str) -> None:
    refusal = pytest.raises(ProgrammingError, match=r"permission denied|must be owner")
    with refusal, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table))


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "SET ROLE daybook_owner",
        "CREATE TABLE public.mine (id bigint)",
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql RETURN now()",
        "CREATE SCHEMA public_too AUTHORIZATION daybook_owner",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY eventstore_event TO '/tmp/events'",
        "SELECT pg_read_file('/etc/passwd')",
        "SET session_replication_role = replica",
        "ALTER ROLE daybook_app SUPERUSER",
    ],
)
def test_it_takes_no_rights_that_it_was_not_given(statement: str) -> None:
    with pytest.raises((ProgrammingError, OperationalError), match=r"permission denied|must be"), transaction.atomic():
        connection.cursor().execute(statement)


# The schema of the table that a name means.
MEANT = "SELECT relnamespace::regnamespace::text FROM pg_catalog.pg_class WHERE oid = 'eventstore_event'::regclass"


def test_it_cannot_put_a_table_of_its_own_in_the_place_of_history(fresh_database: Database) -> None:
    mine = sql.Identifier(fresh_database.name)
    with psycopg.connect(fresh_database.app_url, autocommit=True) as app:
        app.execute("CREATE TABLE readmodel.eventstore_event (LIKE public.eventstore_event)")
        app.execute(sql.SQL("ALTER ROLE daybook_app IN DATABASE {} SET search_path = readmodel, public").format(mine))
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE eventstore_event (LIKE public.eventstore_event)")
        cursor.execute(MEANT)
        assert cursor.fetchone() == ("public",)
    connection.close()


@pytest.mark.django_db
@pytest.mark.parametrize("schema", ["readmodel", "readmodel_shadow"])
def test_it_may_build_and_drop_read_models(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {schema}.built_by_a_test (id bigint)")
        cursor.execute(f"DROP TABLE {schema}.built_by_a_test")


def test_a_session_left_in_the_middle_of_a_transaction_is_ended(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("30s",)


def test_a_transaction_that_does_not_end_is_ended(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version_num')::int, current_setting('transaction_timeout', true)"
        )
        (version, bound) = cursor.fetchone()
    assert bound == ("2min" if version >= 170000 else None)  # older servers have no such setting


def test_a_server_that_nothing_reaches_any_more_is_given_up_within_half_a_minute(db: None) -> None:
    connection.ensure_connection()
    asked = connection.connection.info.get_parameters()
    silence = int(asked["keepalives_idle"]) + int(asked["keepalives_interval"]) * int(asked["keepalives_count"])
    assert silence <= 30
    assert int(asked["tcp_user_timeout"]) <= 30_000
    assert int(asked["connect_timeout"]) <= 5
