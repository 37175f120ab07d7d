"""The read models on a real database: what they hold, and that handling twice or in pieces changes nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection, transaction
from msgspec.structs import replace

from eventstore.events import RecordedEvent
from eventstore.rows import decode_rows
from eventstore.subscriptions.handling import unwanted_names
from eventstore.subscriptions.reading import Range, read_window
from eventstore.subscriptions.registry import Projection, subscriptions
from eventstore.tables import ROWS_PER_STATEMENT, Tables, ensure_tables
from tests.integration.history import History, dispatch, store_of
from views_readmodel.projections.accounts import ACCOUNTS, ENTRIES
from views_readmodel.projections.customers import CUSTOMERS
from views_readmodel.projections.transfers import STEPS, TRANSFERS

ALL_TABLES = {table.name: table for table in (ACCOUNTS, ENTRIES, CUSTOMERS, TRANSFERS, STEPS)}


def contents(schema: str = "readmodel") -> dict[str, list[tuple[Any, ...]]]:
    """Every column of every row of the read models."""
    found = {}
    with connection.cursor() as cursor:
        for name, table in ALL_TABLES.items():
            columns, order = ", ".join(table.columns), ", ".join(table.key)
            cursor.execute(f"SELECT {columns} FROM {schema}.{name} ORDER BY {order}")
            found[name] = cursor.fetchall()
    return found


def recorded_events(projection: Projection) -> Sequence[RecordedEvent[Any]]:
    """What the projection handles, of the whole log."""
    store = store_of()
    with connection.cursor() as cursor:
        window = read_window(
            cursor, Range("stream", 0, 255), after=0, limit=100_000, unwanted=unwanted_names(projection, store)
        )
    return decode_rows(window.rows, registry=store.registry, using=store.using)


@pytest.mark.usefixtures("fresh_database")
def test_it_shows_what_happened() -> None:
    history = History().everything().write()
    dispatch()
    household, shop, _ = history.accounts
    found = contents()
    with transaction.atomic(), connection.cursor() as cursor:
        tables = Tables.live(cursor, subscriptions.projections()[0])
        account = tables.fetch(ACCOUNTS, [household])[household]
        assert (account.balance, account.version) == (history.balances[household], history.versions[household])
        assert tables.fetch(ENTRIES, [(shop, 1), (household, 999)]).keys() == {(shop, 1)}
    assert len(found["account"]) == len(history.accounts)
    assert len(found["transfer"]) == len(history.transfers)
    assert len(found["customer"]) == len(history.customers)
    assert len(found["transfer_step"]) == sum(history.versions[transfer] for transfer in history.transfers)


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.parametrize("batch_size", [1, 3])
def test_it_shows_the_same_whatever_the_size_of_the_batch(batch_size: int) -> None:
    History().everything().write()
    dispatch(batch_size=500)
    expected = contents()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE eventstore_checkpoint SET position = 0")
        for name in ALL_TABLES:
            cursor.execute(f"DELETE FROM readmodel.{name}")
    dispatch(batch_size=batch_size)
    assert contents() == expected


@pytest.mark.usefixtures("fresh_database")
def test_it_changes_nothing_when_each_event_comes_twice() -> None:
    History().everything().write()
    dispatch()
    expected = contents()
    for projection in subscriptions.projections():
        events = recorded_events(projection)
        doubled = [event for event in events for _ in range(2)]
        for batch in (events, doubled, list(reversed(events)), *([event] for event in events)):
            with transaction.atomic(), connection.cursor() as cursor:
                projection.handler.project(batch, Tables.live(cursor, projection))
    assert contents() == expected


@pytest.mark.usefixtures("fresh_database")
def test_it_fills_empty_tables_from_events_that_come_twice_in_one_batch() -> None:
    History().everything().write()
    for projection in subscriptions.projections():
        doubled = [event for event in recorded_events(projection) for _ in range(2)]
        with transaction.atomic(), connection.cursor() as cursor:
            projection.handler.project(doubled, Tables.live(cursor, projection))
    handled_directly = contents()
    dispatch()
    assert contents() == handled_directly


@pytest.mark.usefixtures("fresh_database")
def test_it_never_replaces_a_newer_row_by_an_older_one() -> None:
    history = History().everything().write()
    dispatch()
    projection = subscriptions.get("views.accounts")
    assert isinstance(projection, Projection)
    household = history.accounts[0]
    with transaction.atomic(), connection.cursor() as cursor:
        tables = Tables.live(cursor, projection)
        newer = tables.fetch(ACCOUNTS, [household])[household]
        older = replace(newer, version=newer.version - 1, balance=newer.balance + 1)
        tables.write(ACCOUNTS, [older])
        assert tables.fetch(ACCOUNTS, [household]) == {household: newer}


@pytest.mark.usefixtures("fresh_database")
def test_it_writes_more_rows_than_one_statement_takes() -> None:
    count = ROWS_PER_STATEMENT + 1
    history = History()
    alice = history.customer("Alice")
    for nth in range(count):
        history.account(alice, balance=nth + 1)
    history.write()
    dispatch(batch_size=count + 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), sum(balance) FROM readmodel.account")
        assert cursor.fetchone() == (count, count * (count + 1) // 2)


@pytest.mark.usefixtures("fresh_database")
def test_it_parks_a_stream_whose_beginning_is_missing_and_goes_on_with_the_others() -> None:
    history = History()
    alice = history.customer("Alice")
    never_opened = UUID(int=7)
    history.balances[never_opened] = 0
    history.deposit(never_opened, 5_00)
    household = history.account(alice)
    history.write()
    dispatch()
    assert [row[0] for row in contents()["account"]] == [household]
    with connection.cursor() as cursor:
        cursor.execute("SELECT subscription, key, error FROM eventstore_parked_key")
        error = "EventCannotFollow: CashDeposited cannot follow NoneType"
        assert cursor.fetchall() == [("views.accounts", never_opened, error)]


@pytest.mark.django_db
@pytest.mark.parametrize("table", ALL_TABLES.values(), ids=lambda table: table.name)
def test_the_table_the_row_and_the_model_have_the_same_columns(table: Any) -> None:
    model = next(
        model
        for model in apps.get_app_config("views_readmodel").get_models()
        if model._meta.db_table == f'"readmodel"."{table.name}"'
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT column_name, is_nullable = 'YES' FROM information_schema.columns
            WHERE table_schema = 'readmodel' AND table_name = %s AND is_generated = 'NEVER'
            ORDER BY ordinal_position
            """,
            [table.name],
        )
        columns = dict(cursor.fetchall())
    assert tuple(columns) == table.columns
    assert columns == {field.column: field.null for field in model._meta.concrete_fields}


@pytest.mark.django_db
def test_the_tables_belong_to_the_role_that_rebuilds_them() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tableowner = CURRENT_USER FROM pg_tables WHERE schemaname = 'readmodel'")
        assert cursor.fetchall() == [(True,)]


@pytest.mark.usefixtures("fresh_database")
def test_it_makes_lost_tables_again_and_fills_them_from_the_beginning() -> None:
    History().everything().write()
    dispatch()
    expected = contents()
    assert ensure_tables() == []
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE readmodel.account, readmodel.entry")
    assert ensure_tables() == ["views.accounts"]
    dispatch()
    assert contents() == expected


@pytest.mark.parametrize("projection", subscriptions.projections(), ids=lambda projection: projection.id)
def test_the_tables_have_names_without_a_schema(projection: Projection) -> None:
    named = re.findall(r"\b(?:TABLE|ON)\s+([\w.]+)", re.sub(r"--.*", "", projection.ddl))
    assert named
    assert set(named) == set(projection.tables)
