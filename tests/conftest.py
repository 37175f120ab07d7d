"""Shared fixtures: a real Postgres and Redis, and databases for tests that roll back and for tests that commit.

| fixture | what a test gets |
| --- | --- |
| `db` (or `@pytest.mark.django_db`) | this process's database; everything is rolled back |
| `committed_db` | a second database of this process; commits are real and stay, so use fresh ids |
| `fresh_database` | a database of its own, cloned from the migrated template; commits are real |
| `empty_database` | a database of its own without any table |
| `redis_url` | a Redis database of this process, emptied first; Django's cache and Celery's broker use it |

`transaction=True` and `transactional_db` are refused: they truncate tables, which the database forbids for history.
In every database the default connection is the app role; migrations ran as the owner.
"""

import gc
import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import pytest
import redis as redis_client
from celery import current_app
from django.conf import settings
from django.core.cache import caches
from django.core.management import call_command
from django.db import connections
from django.test import RequestFactory
from django.test.client import MULTIPART_CONTENT
from django.utils.http import urlencode
from pytest_django.plugin import DjangoDbBlocker
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling

from config.settings import broker_url
from tests.servers import EmbeddedServers, Login, Servers, external_servers

FORM: Final = "application/x-www-form-urlencoded"
NOWHERE = "/nowhere/tests-must-ask-for-a-database"
_running = pytest.StashKey[EmbeddedServers]()
_servers = pytest.StashKey[Servers]()
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Database:
    """One database of the test run and how to reach it."""

    name: str
    app_url: str
    owner_url: str
    redis_url: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a real process (a worker, a web server, a command) that is to work on this database."""
        return {
            **{key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG", "TMPDIR"}},
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SECRET_KEY": "only-for-tests",
            "SEALING_KEYS": ",".join(settings.EVENTSTORE["SEALING_KEYS"]),
            "DATABASE_URL": self.app_url,
            "DATABASE_OWNER_URL": self.owner_url,
            "REDIS_URL": self.redis_url,
        }


# --- The servers: started by the process that the developer started, known to its workers -------------------


def pytest_configure(config: pytest.Config) -> None:
    """Cut this process off from a developer's own data, and start the servers early when workers will share them."""
    _point_at_nowhere()
    settings.EVENTSTORE["WAKE"] = None  # nobody is woken unless a test starts somebody
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, 0)  # and nobody is limited unless a test says so
    _look_for_static_files_once()
    _send_forms_as_browsers_do()
    if hasattr(config, "workerinput"):
        config.stash[_servers] = Servers.from_plain(config.workerinput["daybook_servers"])
    elif getattr(config.option, "numprocesses", None):
        _start_servers(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell a worker process where the servers are."""
    node.workerinput["daybook_servers"] = node.config.stash[_servers].as_plain()  # type: ignore[attr-defined]


SHARING: Final = (
    "tests/browser/",
    "tests/faults/test_faults.py",
    "tests/integration/bad_input/test_raw_requests.py",
    "tests/integration/security/test_secrets.py",
    "tests/integration/test_readme.py",
    "tests/integration/test_redis_away.py",
)
"""Where tests share a Daybook that takes seconds to start."""


class OneDaybook(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Deals tests out one by one, except that those which share a Daybook all go to one worker process.

    (`--dist loadgroup` would do; xdist 3.8 cannot, with pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((place for place in SHARING if nodeid.startswith(place)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneDaybook:
    """Say who gets which test."""
    return OneDaybook(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what `pytest_configure` or the first test started."""
    if hasattr(config, "workerinput") or _servers not in config.stash:
        return
    config.stash[_servers].forget_lock()
    running = config.stash.get(_running, None)
    if running is None:
        config.stash[_servers].drop_all()
    else:
        running.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that would truncate tables."""
    for item in items:
        marker = item.get_closest_marker("django_db")
        truncates = marker is not None and (marker.kwargs.get("transaction") or bool(marker.args))
        if truncates or "transactional_db" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid}: tables are never truncated; use committed_db or fresh_database")


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from going through what stays, thousands of tests, again and again."""
    gc.collect()
    gc.freeze()


def _start_servers(config: pytest.Config) -> Servers:
    if _servers not in config.stash:
        run = uuid.uuid4().hex[:10]
        servers = external_servers(run=run)
        if servers is None:
            config.stash[_running] = EmbeddedServers(run=run)
            servers = config.stash[_running].servers
        config.stash[_servers] = servers
    return config.stash[_servers]


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    """The run's Postgres and Redis."""
    return _start_servers(request.config)


@pytest.fixture(scope="session")
def worker_name(request: pytest.FixtureRequest) -> str:
    """The name of this process of the run: `gw0`, `gw1` … or `main`."""
    return str(getattr(request.config, "workerinput", {}).get("workerid", "main"))


# --- Databases ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_setup(
    servers: Servers, worker_name: str, process_redis: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Give this process a database cloned from the migrated template (in place of pytest-django's own fixture)."""
    name = f"daybook_test_{servers.run}_{worker_name}"
    with django_db_blocker.unblock():
        servers.ensure_template(migrate=lambda empty: _migrate(servers, empty))
        servers.clone(name=name)
        _point_at(servers, name)
    yield
    with django_db_blocker.unblock():
        connections.close_all()


@pytest.fixture(scope="session")
def _committed_database(django_db_setup: None, servers: Servers, worker_name: str) -> str:
    name = f"daybook_test_{servers.run}_{worker_name}_committed"
    servers.clone(name=name)
    return name


@pytest.fixture
def committed_db(
    _committed_database: str, servers: Servers, redis_url: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[Database]:
    """A database in which commits are real and stay; other tests' rows are there too, so use fresh ids."""
    with django_db_blocker.unblock(), _default_connection_at(servers, _committed_database):
        yield _describe(servers, _committed_database, redis_url)


@pytest.fixture
def fresh_database(
    django_db_setup: None, servers: Servers, worker_name: str, redis_url: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[Database]:
    """A database of the test's own, as it is right after the migrations; commits are real."""
    name = f"daybook_test_{servers.run}_{worker_name}_{next(_numbers)}"
    servers.clone(name=name)
    with django_db_blocker.unblock(), _default_connection_at(servers, name):
        yield _describe(servers, name, redis_url)
    servers.drop(name=name)


@pytest.fixture
def empty_database(servers: Servers, worker_name: str, redis_url: str) -> Iterator[Database]:
    """A database of the test's own without any table; the default connection does not go there."""
    name = f"daybook_test_{servers.run}_{worker_name}_{next(_numbers)}"
    servers.create(name=name)
    yield _describe(servers, name, redis_url)
    servers.drop(name=name)


def _look_for_static_files_once() -> None:
    """Each client of a test has middleware of its own, and would look through all folders for itself."""
    look = WhiteNoiseMiddleware.add_files_from_finders
    found: dict[str, Any] = {}

    def look_once(middleware: Any) -> None:
        if not found:
            look(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    WhiteNoiseMiddleware.add_files_from_finders = look_once


def _send_forms_as_browsers_do() -> None:
    """Django's test client sends every form in parts, as one with files; none of ours is sent so, and none is taken."""
    post = RequestFactory.post

    def post_fields(factory: RequestFactory, path: str, data: Any = None, content_type: str = FORM, **more: Any) -> Any:
        if content_type in {FORM, MULTIPART_CONTENT}:
            return post(factory, path, urlencode(data or {}, doseq=True), FORM, **more)
        return post(factory, path, data, content_type, **more)

    RequestFactory.post = post_fields  # type: ignore[assignment,method-assign]


def _migrate(servers: Servers, name: str) -> None:
    _point_at(servers, name)
    call_command("prepare_database", verbosity=0)
    connections["default"].close()


def _describe(servers: Servers, name: str, redis_url: str) -> Database:
    return Database(
        name=name,
        app_url=servers.database_url(name=name, login=servers.app),
        owner_url=servers.database_url(name=name, login=servers.owner),
        redis_url=redis_url,
    )


@contextmanager
def _default_connection_at(servers: Servers, name: str) -> Iterator[None]:
    before = connections["default"].settings_dict["NAME"]
    _point_at(servers, name)
    try:
        yield
    finally:
        _point_at(servers, before)


def _point_at(servers: Servers, name: str) -> None:
    """Let the default connection, of this thread and of threads to come, go to a database as the app role."""
    connections["default"].close()
    connections.settings["default"].update(NAME=name, HOST=servers.host, PORT=servers.port, **_login(servers.app))
    settings.DATABASE_APP_ROLE = servers.app.user
    settings.DATABASE_OWNER_LOGIN = _login(servers.owner)


def _login(login: Login) -> dict[str, str]:
    return {"USER": login.user, "PASSWORD": login.password}


def _point_at_nowhere() -> None:
    connections.settings["default"].update(HOST=NOWHERE)
    _use_redis(f"unix://{NOWHERE}")


# --- Redis --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def process_redis(servers: Servers, worker_name: str) -> str:
    """The address of this process's Redis database."""
    number = int(worker_name.removeprefix("gw")) + 1 if worker_name.startswith("gw") else 0
    url = servers.redis_database_url(number=number)
    _use_redis(url)
    return url


@pytest.fixture
def redis_url(process_redis: str) -> str:
    """The address of this process's Redis database, emptied."""
    with redis_client.Redis.from_url(process_redis) as client:
        client.flushdb()
    return process_redis


def _use_redis(url: str) -> None:
    caches.settings["default"]["LOCATION"] = url
    caches.close_all()
    with suppress(AttributeError):  # it had not been used yet
        del caches["default"]
    settings.REDIS_URL = url
    settings.CELERY_BROKER_URL = broker_url(url)
    current_app.conf.broker_url = broker_url(url)
