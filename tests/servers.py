"""The real Postgres and Redis of a test run, and the databases on them.

Invariants: one pair of servers per run, started only when a test needs it; a database is made by cloning a template
that the owner role migrated once; tests talk to it as the app role, so that every test proves the grants.
Imported by `tests/conftest.py`; tests use its fixtures.
"""

import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
import psycopg
from psycopg import sql

from config import processes
from config.embedded import binaries, credentials, postgres, redis
from config.embedded.home import APP_ROLE, OWNER_ROLE, find_home
from tests.folders import passing_folder, remove_folder, short_folder

# A test run's own roles may be gone at any time; the owner clones and drops databases.
ALLOW_CREATING_DATABASES = "ALTER ROLE {owner} CREATEDB"
CLONE_DATABASE = "CREATE DATABASE {name} TEMPLATE {template}"
CREATE_DATABASE = "CREATE DATABASE {name}"
RENAME_DATABASE = "ALTER DATABASE {old} RENAME TO {new}"
DROP_DATABASE = "DROP DATABASE IF EXISTS {name} WITH (FORCE)"
DROP_IDLE_DATABASE = "DROP DATABASE IF EXISTS {name}"

# The databases that this run has made.
SELECT_RUN_DATABASES = "SELECT datname FROM pg_catalog.pg_database WHERE datname LIKE %s"

# Whether a database of that name exists.
SELECT_DATABASE = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s"


@dataclass(frozen=True, kw_only=True)
class Login:
    """A database role and its password."""

    user: str
    password: str


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where a test run's servers are; plain values, so that a run's worker processes can be told."""

    run: str
    host: str
    port: str
    owner: Login
    app: Login
    redis_url: str
    maintenance_database: str = "postgres"

    def as_plain(self) -> dict[str, Any]:
        """The same as built-in types."""
        return asdict(self)

    @staticmethod
    def from_plain(plain: dict[str, Any]) -> "Servers":
        """The servers that `as_plain` described."""
        return Servers(**{**plain, "owner": Login(**plain["owner"]), "app": Login(**plain["app"])})

    def database_url(self, *, name: str, login: Login) -> str:
        """The address of a database, as `DATABASE_URL` and libpq take it."""
        port = f"&port={self.port}" if self.port else ""
        return (
            f"postgresql://{quote(login.user)}:{quote(login.password, safe='')}@/{name}?host={quote(self.host)}{port}"
        )

    def redis_database_url(self, *, number: int) -> str:
        """The address of one numbered Redis database."""
        address, _, _ = self.redis_url.partition("?")
        if address.startswith("unix:"):
            return f"{address}?db={number}"
        scheme, _, rest = address.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}/{number}"

    @property
    def template(self) -> str:
        """The database that all others of the run are cloned from."""
        return f"daybook_test_{self.run}_template"

    @contextmanager
    def maintenance(self) -> Iterator[psycopg.Connection]:
        """A connection that creates and drops databases."""
        url = self.database_url(name=self.maintenance_database, login=self.owner)
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            yield connection

    def clone(self, *, name: str) -> None:
        """Make a database with the template's schema and rows."""
        names = {"name": sql.Identifier(name), "template": sql.Identifier(self.template)}
        with self.maintenance() as connection:
            connection.execute(sql.SQL(CLONE_DATABASE).format(**names))

    def create(self, *, name: str) -> None:
        """Make an empty database."""
        with self.maintenance() as connection:
            connection.execute(sql.SQL(CREATE_DATABASE).format(name=sql.Identifier(name)))

    def drop(self, *, name: str) -> None:
        """Remove a database, whoever is connected."""
        names = {"name": sql.Identifier(name)}
        with self.maintenance() as connection:
            try:
                connection.execute(sql.SQL(DROP_DATABASE).format(**names))
            except psycopg.errors.InsufficientPrivilege:
                # The owner may not end an autovacuum worker; without FORCE the server itself sends it away.
                connection.execute(sql.SQL(DROP_IDLE_DATABASE).format(**names))

    def drop_all(self) -> None:
        """Remove every database of this run."""
        with self.maintenance() as connection:
            found = connection.execute(SELECT_RUN_DATABASES, [f"daybook\\_test\\_{self.run}\\_%"]).fetchall()
        for (name,) in found:
            self.drop(name=name)

    def ensure_template(self, *, migrate: Callable[[str], None]) -> None:
        """Make the template once per run: `migrate` is given the name of an empty database to migrate."""
        lock_path = Path(tempfile.gettempdir()) / f"daybook-test-{self.run}.lock"
        with lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of one run take turns; the first does the work
            with self.maintenance() as connection:
                if connection.execute(SELECT_DATABASE, [self.template]).fetchone():
                    return
            unfinished = f"{self.template}_unfinished"
            self.drop(name=unfinished)
            self.create(name=unfinished)
            migrate(unfinished)
            names = {"old": sql.Identifier(unfinished), "new": sql.Identifier(self.template)}
            with self.maintenance() as connection:
                connection.execute(sql.SQL(RENAME_DATABASE).format(**names))

    def forget_lock(self) -> None:
        """Remove the file that the run's processes took turns on."""
        (Path(tempfile.gettempdir()) / f"daybook-test-{self.run}.lock").unlink(missing_ok=True)


class EmbeddedServers:
    """Embedded servers in a folder of their own, for one run; the thread that starts them must outlive them.

    `durable=False` is for tests: commits do not wait for the disk.
    """

    def __init__(self, *, run: str, durable: bool = False) -> None:
        self.folder = (short_folder if durable else passing_folder)(prefix="daybook-test-")
        self.home = find_home(data_dir=self.folder)
        self.binaries = binaries.find_binaries(home=self.home)
        self.credentials = credentials.load_or_create_credentials(path=self.home.credentials_file)
        self.log = (self.folder / "servers.log").open("wb")
        postgres.prepare_cluster(home=self.home, binaries=self.binaries, credentials=self.credentials, durable=durable)
        self.postgres = self._spawn(postgres.server_command(home=self.home, binaries=self.binaries))
        redis.prepare_redis(home=self.home, credentials=self.credentials)
        self.redis = self._spawn(redis.server_command(home=self.home, binaries=self.binaries))
        self._wait()
        self.servers = Servers(
            run=run,
            host=str(self.home.socket_dir),
            port="",
            owner=Login(user=OWNER_ROLE, password=self.credentials.owner_password),
            app=Login(user=APP_ROLE, password=self.credentials.app_password),
            redis_url=self.home.redis_url(password=self.credentials.redis_password),
        )

    def _spawn(self, argv: list[str]) -> "subprocess.Popen[bytes]":
        return processes.spawn(
            argv=argv,
            cwd=self.home.servers_dir,
            environment={"PATH": os.defpath, "TZ": "UTC"},
            user=self.home.service_user,
            orphan_signal=signal.SIGKILL,
            output=self.log,
        )

    def _wait(self) -> None:
        postgres.wait_until_ready(home=self.home, credentials=self.credentials, process=self.postgres)
        redis.wait_until_ready(home=self.home, credentials=self.credentials, process=self.redis)
        postgres.ensure_database(home=self.home, credentials=self.credentials)
        with postgres.superuser_connection(home=self.home, credentials=self.credentials) as connection:
            connection.execute(sql.SQL(ALLOW_CREATING_DATABASES).format(owner=sql.Identifier(OWNER_ROLE)))

    def stop(self) -> None:
        """End both servers at once and remove their folder: nothing in it is wanted again."""
        for process in (self.redis, self.postgres):
            processes.stop(process=process, signal_number=signal.SIGKILL, timeout_seconds=5.0)
        self.log.close()
        remove_folder(self.folder)


def external_servers(*, run: str) -> Servers | None:
    """The servers that DATABASE_URL, DATABASE_OWNER_URL and REDIS_URL name, or None when they name none.

    The owner must be allowed to create databases.
    """
    app_url = os.environ.get("DATABASE_URL", "")
    redis_url = os.environ.get("REDIS_URL", "")
    if not app_url or not redis_url:
        return None
    app = environ.Env.db_url_config(app_url)
    owner = environ.Env.db_url_config(os.environ.get("DATABASE_OWNER_URL") or app_url)
    return Servers(
        run=run,
        host=str(app.get("OPTIONS", {}).get("host") or app["HOST"]),
        port=str(app["PORT"]),
        owner=Login(user=owner["USER"], password=owner["PASSWORD"]),
        app=Login(user=app["USER"], password=app["PASSWORD"]),
        redis_url=redis_url,
    )
