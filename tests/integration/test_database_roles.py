"""The app role runs the bank and cannot rewrite its history."""

import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError

from config.database_roles import APPEND_ONLY_TABLES


@pytest.mark.django_db
def test_it_is_the_app_role_that_tests_talk_as() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER")
        assert cursor.fetchone() == ("daybook_app",)


@pytest.mark.django_db
@pytest.mark.parametrize("table", APPEND_ONLY_TABLES)
@pytest.mark.parametrize(
    ("right", "is_granted"),
    [("SELECT", True), ("INSERT", True), ("UPDATE", False), ("DELETE", False), ("TRUNCATE", False)],
)
def test_it_has_the_rights_on_history_that_it_needs_and_no_more(table: str, right: str, is_granted: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(%s, %s)", [table, right])
        assert cursor.fetchone() == (is_granted,)


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
@pytest.mark.parametrize("schema", ["readmodel", "readmodel_shadow"])
def test_it_may_build_and_drop_read_models(schema: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {schema}.built_by_a_test (id bigint)")
        cursor.execute(f"DROP TABLE {schema}.built_by_a_test")


def test_a_session_left_in_the_middle_of_a_transaction_is_ended(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("30s",)
