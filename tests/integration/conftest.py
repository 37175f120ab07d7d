"""Fixtures of tests on the event store itself, away from the bank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from config.embedded.credentials import read_credentials
from config.embedded.postgres import SUPERUSER
from eventstore.loading import cache
from tests.conftest import Database, _default_connection_at, _describe
from tests.integration.shops import CREATE_JOURNAL, make_tables
from tests.servers import Login, Servers
from tests.workers import worker as worker  # a fixture for every test here

# Empties the event store, which nothing but a test may do: the owner takes the guards away for a moment.
EMPTY = """
SET lock_timeout = '10s';
ALTER TABLE eventstore_event DISABLE TRIGGER eventstore_event_append_only;
ALTER TABLE eventstore_log DISABLE TRIGGER eventstore_log_append_only;
ALTER TABLE eventstore_operation DISABLE TRIGGER eventstore_operation_append_only;
ALTER TABLE eventstore_seal DISABLE TRIGGER eventstore_seal_append_only;
TRUNCATE eventstore_event, eventstore_outbox, eventstore_log, eventstore_seal, eventstore_checkpoint,
    eventstore_parked_key, eventstore_parked_event, eventstore_operation, eventstore_snapshot, eventstore_subject_key,
    eventstore_idempotency_record RESTART IDENTITY;
ALTER TABLE eventstore_event ENABLE ALWAYS TRIGGER eventstore_event_append_only;
ALTER TABLE eventstore_log ENABLE ALWAYS TRIGGER eventstore_log_append_only;
ALTER TABLE eventstore_operation ENABLE ALWAYS TRIGGER eventstore_operation_append_only;
ALTER TABLE eventstore_seal ENABLE ALWAYS TRIGGER eventstore_seal_append_only;
UPDATE eventstore_sequencer
SET position = 0, log_id = gen_random_uuid(), sequenced_at = clock_timestamp(), heartbeat_at = clock_timestamp();
"""

# The same for what the app role owns.
EMPTY_READ_MODEL = "TRUNCATE readmodel.journal, readmodel.cart RESTART IDENTITY"


@pytest.fixture(scope="session", autouse=True)
def _pages_wait_for_nobody() -> Iterator[None]:
    """Nobody dispatches in a test's own process unless it does so itself: a page that waits would wait in vain."""
    with patch("views_readmodel.pages.commanding.VISIBLE_SECONDS", 0.0):
        yield


@pytest.fixture(scope="session")
def _shop_database(
    django_db_setup: None, servers: Servers, worker_name: str, django_db_blocker: DjangoDbBlocker
) -> str:
    """The database that this process's tests of the event store use one after the other."""
    name = f"daybook_test_{servers.run}_{worker_name}_shop"
    servers.clone(name=name)
    with django_db_blocker.unblock(), _default_connection_at(servers, name):
        _make_read_model()
    return name


@pytest.fixture
def shop_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An event store without events, with the shop's read model and a journal; commits are real.

    A test that looks at it as the owner may change it, and gets a database of its own; the others take turns on one,
    which costs a tenth of the time.
    """
    cache.clear()
    if {"owner", "superuser"} & set(request.fixturenames):
        database: Database = request.getfixturevalue("fresh_database")
        _make_read_model()
        yield database
    else:
        yield from _emptied(request)
    cache.clear()


def _emptied(request: pytest.FixtureRequest) -> Iterator[Database]:
    servers: Servers = request.getfixturevalue("servers")
    blocker: DjangoDbBlocker = request.getfixturevalue("django_db_blocker")
    name: str = request.getfixturevalue("_shop_database")
    database = _describe(servers, name, request.getfixturevalue("redis_url"))
    with blocker.unblock(), _default_connection_at(servers, name):
        with psycopg.connect(database.owner_url) as owner:
            owner.execute(EMPTY)
        with connection.cursor() as cursor:
            cursor.execute(EMPTY_READ_MODEL)
        yield database


def _make_read_model() -> None:
    with connection.cursor() as cursor:
        cursor.execute(CREATE_JOURNAL)
    make_tables()


@pytest.fixture
def owner(shop_database: Database) -> Iterator[psycopg.Connection]:
    """A connection of the role that owns the tables, in autocommit mode."""
    with psycopg.connect(shop_database.owner_url, autocommit=True) as found:
        yield found


@pytest.fixture
def app(shop_database: Database) -> Iterator[psycopg.Connection]:
    """A second connection of the app role, in autocommit mode."""
    with psycopg.connect(shop_database.app_url, autocommit=True) as found:
        yield found


@pytest.fixture
def superuser(shop_database: Database, servers: Servers) -> Iterator[psycopg.Connection]:
    """A superuser's connection; skips the test on servers elsewhere, whose superuser is not ours."""
    credentials = read_credentials(path=Path(servers.host).parent / "credentials.json")
    if credentials is None:
        pytest.skip("only the embedded server's superuser is known")
    login = Login(user=SUPERUSER, password=credentials.superuser_password)
    with psycopg.connect(servers.database_url(name=shop_database.name, login=login), autocommit=True) as found:
        yield found
