"""Fixtures of tests on the event store itself, away from the bank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from config.embedded.credentials import read_credentials
from config.embedded.postgres import SUPERUSER
from eventstore.loading import cache
from tests.conftest import Database
from tests.integration.shops import CREATE_JOURNAL, make_tables
from tests.servers import Login, Servers
from tests.workers import worker as worker  # a fixture for every test here


@pytest.fixture
def shop_database(fresh_database: Database) -> Iterator[Database]:
    """A database of the test's own, with the shop's read model and a journal."""
    cache.clear()
    with connection.cursor() as cursor:
        cursor.execute(CREATE_JOURNAL)
    make_tables()
    yield fresh_database
    cache.clear()


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
