"""The app role runs the bank and cannot rewrite its history."""

import pytest
from django.db import connection, transaction
from django.db.utils import ProgrammingError


@pytest.mark.django_db
def test_the_tests_talk_to_the_database_as_the_app_role() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER, has_table_privilege('eventstore_event', 'INSERT')")
        assert cursor.fetchone() == ("daybook_app", True)


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["eventstore_event", "eventstore_log"])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET event_id = NULL", "DROP TABLE {}"]
)
def test_the_app_role_is_refused_when_it_rewrites_history(table: str, statement: str) -> None:
    refusal = pytest.raises(ProgrammingError, match=r"permission denied|must be owner")
    with refusal, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
