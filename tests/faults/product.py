"""The product under faults: what `manage.py up` runs, between proxies, and how its parts are found, killed and frozen.

`up` has the embedded servers, as a user has them; its children reach them through the proxies
(`inside/sitecustomize.py`), unless nobody wants to disturb them. Whoever audits goes past the
proxies. Imported by tests, benchmarks and the soak.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import psutil
import psycopg
import redis

from config.embedded.credentials import Credentials, read_credentials
from config.embedded.home import APP_ROLE, Home, find_home
from config.embedded.postgres import SUPERUSER
from config.processes import wait_until
from tests.daybook_process import ROOT, Daybook, free_port
from tests.faults.clients import Client, Load, Town
from tests.faults.proxies import Proxies
from tests.faults.tail import ENDS, Tail
from tests.faults.told import Model, Request, Told
from tests.folders import remove_folder

RETURN_SECONDS: Final = 90.0
"""How long a part that was killed may take to come back, on a busy machine."""
START_SECONDS: Final = 120.0
WORKER_PROCESSES: Final = 2
OPERATING: Final = "olga"
"""The member of the staff in whose name an operator's commands are given."""
INSIDE: Final = ROOT / "tests" / "faults" / "inside"

# A clock that can be told to go ahead. Processes under faults name it before the server's own in their search path
# (`tests.faults.inside`), so that the product's statements read this one; the machine's clock stays as it is.
_MAKE_CLOCK: Final = (
    "CREATE SCHEMA faults",
    "CREATE TABLE faults.clock (ahead interval NOT NULL)",
    "INSERT INTO faults.clock VALUES ('0')",
    """
    CREATE FUNCTION faults.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    RETURN pg_catalog.clock_timestamp() + (SELECT ahead FROM faults.clock)
    """,
    """
    CREATE FUNCTION faults.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN pg_catalog.statement_timestamp() + (SELECT ahead FROM faults.clock)
    """,
    "GRANT USAGE ON SCHEMA faults TO PUBLIC",
    "GRANT SELECT ON faults.clock TO PUBLIC",
)
_SET_CLOCK: Final = "UPDATE faults.clock SET ahead = make_interval(secs => %s)"

# Ends the connections of the app role.
_CUT_CONNECTIONS: Final = """
SELECT count(pg_terminate_backend(pid)) FROM (
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND usename = 'daybook_app' AND pid <> pg_backend_pid()
        AND application_name <> 'audit'
    ORDER BY state = 'idle', random() LIMIT %s
) AS chosen
"""

_COUNT_EVENTS: Final = "SELECT count(*) FROM eventstore_event"

# What has no position yet, is not handled yet, or is parked.
_COUNT_BEHIND: Final = """
SELECT (SELECT count(*) FROM eventstore_outbox) + (SELECT count(*) FROM eventstore_parked_key)
    + (SELECT count(*) FROM eventstore_checkpoint c, eventstore_sequencer s WHERE s.id = 1 AND c.position < s.position
        AND c.status <> 'replaying'  -- the tables of a replay that was cut off, until the next one
        AND EXISTS (SELECT FROM eventstore_log l WHERE l.position > c.position
            AND CASE c.follows WHEN 'route' THEN l.route_bucket ELSE l.stream_bucket END
                BETWEEN c.bucket_low AND c.bucket_high))
"""


_SELECT_VERSION: Final = "SELECT coalesce(max(version), 0) FROM eventstore_event WHERE stream_id = %s::uuid"

# Transfers that are shown as final.
_COUNT_SHOWN: Final = "SELECT count(*) FROM readmodel.transfer WHERE transfer_id = ANY(%s::uuid[]) AND state = ANY(%s)"


class Hung(AssertionError):
    """Something did not happen in time."""


class Product:
    """A running Daybook with clients, the model of what those were told, and a reader of its log."""

    def __init__(
        self, *, folder: Path, seed: int = 0, disturbed: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._disturbed = disturbed
        self._more = dict(environment or {})
        self.control = folder / "control"
        self.model = Model()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.proxies = Proxies(
            postgres=lambda: self.home.postgres_socket, redis=lambda: self.home.redis_socket, seed=seed
        )
        self.log: list[str] = []  # of runs of `up` that are over
        self.daybook: Daybook
        self.tail: Tail
        self.town: Town
        self.api_key = ""
        self._closed_account = ""
        self.pausing = threading.RLock()  # whoever has subscriptions stand still, or times how they go on, has it
        self.dating = threading.Lock()  # whoever sets the clock ahead, or looks how old things are, has it

    def __enter__(self) -> Self:
        """Starts everything, and settles a town."""
        self.control.mkdir(parents=True)
        self.proxies.__enter__()
        try:
            self.start()
            if self._disturbed:
                self._fake_clock()
            self.tail = Tail(database_url=self.database_url)
            self.tail.start()
            self.api_key = self.manage("create_api_key", "till", "--role", "supervisor").stdout.strip()
            self.manage("create_api_key", OPERATING, "--role", "operator")
            with self.client() as client:
                self.town = Town.settle(client, self.model)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process."""
        if hasattr(self, "tail"):
            self.tail.stop()
        if hasattr(self, "daybook"):
            with suppress(subprocess.TimeoutExpired):
                self.daybook.stop()
            self.daybook.__exit__()
        self.proxies.__exit__()

    def start(self) -> None:
        """Runs `up`, and waits until it is ready."""
        self.daybook = Daybook(data_dir=self.folder, port=self.port, environment=self._environment())
        self.daybook.__enter__()
        self.daybook.wait_for_line("Daybook is ready at", timeout_seconds=START_SECONDS)

    def kill_up(self) -> None:
        """SIGKILL to `up` alone; what it started is its next run's to find."""
        self.daybook.process.kill()
        self.daybook.forget()
        self.log += self.daybook.lines[-500:]

    def _environment(self) -> dict[str, str]:
        plain = {"WORKER_PROCESSES": str(WORKER_PROCESSES), "LOG_LEVEL": "WARNING", **self._more}
        if not self._disturbed:
            return plain
        return {
            **plain,
            "PYTHONPATH": str(INSIDE),
            "FAULTS_CONTROL": str(self.control),
            "FAULTS_POSTGRES_PORT": str(self.proxies.postgres.port),
            "FAULTS_REDIS_PORT": str(self.proxies.redis.port),
        }

    # --- Looking ------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Home:
        """Where the servers are."""
        return find_home(data_dir=self.folder)

    @property
    def credentials(self) -> Credentials:
        """The passwords. Raises LookupError before the first start."""
        found = read_credentials(path=self.home.credentials_file)
        if found is None:
            raise LookupError("there are no credentials yet")
        return found

    @property
    def database_url(self) -> str:
        """The database, past the proxy."""
        url = self.home.database_url(user=APP_ROLE, password=self.credentials.app_password)
        return f"{url}&application_name=audit"

    @contextmanager
    def database(self, *, superuser: bool = False) -> Iterator[psycopg.Connection]:
        """A connection past the proxy, in autocommit mode."""
        url = self.database_url
        if superuser:
            url = self.home.database_url(user=SUPERUSER, password=self.credentials.superuser_password)
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            yield connection

    def rows(self, statement: str, parameters: list[Any] | None = None) -> list[Any]:
        """What a query finds, past the proxy."""
        with self.database() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def redis_client(self) -> redis.Redis:
        """A client of Redis, past the proxy."""
        url = self.home.redis_url(password=self.credentials.redis_password)
        return redis.Redis.from_url(url, socket_timeout=5.0)

    def client(self) -> Client:
        """A program with our key."""
        return Client(url=self.url, api_key=self.api_key)

    def load(self, *, seed: int, clients: int = 6) -> Load:
        """Clients that ask while the block runs, and until they all know."""
        return Load(
            url=self.url,
            api_key=self.api_key,
            model=self.model,
            town=self.town,
            seed=seed,
            clients=clients,
            witness=self,
        )

    def manage(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a management command as an operator would, beside what is running."""
        process = self.spawn(*arguments, **environment)
        output, errors = process.communicate()
        assert not check or process.returncode == 0, output + errors
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def spawn(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts a management command."""
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.daybook.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def verify(self) -> dict[str, Any]:
        """The report of `manage.py verify_ledger`."""
        done = self.manage("verify_ledger", "--json", check=False)
        try:
            report: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"verify_ledger: {done.stdout[-2000:]} {done.stderr[-2000:]}") from None
        return report

    def behind(self) -> int:
        """How much is still to do: events without a position, subscriptions that lag, keys that are parked."""
        return int(self.rows(_COUNT_BEHIND)[0][0])

    def version_before(self, account_id: str) -> int:
        """The account's version, as far as the reader of the log has come."""
        return self.tail.version_of(account_id)

    def version_after(self, account_id: str) -> int:
        """The account's version in the store, once the store can be asked."""
        found: list[int] = []

        def ask() -> bool:
            found.append(int(self.rows(_SELECT_VERSION, [account_id])[0][0]))
            return True

        self.wait(ask, f"the version of {account_id} is known", seconds=RETURN_SECONDS)
        return found[-1]

    def shown(self, transfer_ids: Collection[str]) -> int:
        """How many of these transfers are shown as final."""
        return int(self.rows(_COUNT_SHOWN, [list(transfer_ids), list(ENDS.values())])[0][0])

    def wait_until_settled(self, *, seconds: float) -> None:
        """Waits until every transfer that was accepted is final, handled and shown. Raises `Hung`."""
        accepted = {told.body["transfer_id"] for told in self.model.acknowledged("transfer")}
        if not self.tail.wait_until_final(accepted, seconds=seconds):
            left = [id for id in accepted if id not in self.tail.states]
            raise Hung(f"{len(left)} transfers are not final: {left[:5]}\n{self.describe()}")
        self.wait(lambda: not self.behind(), "nothing is left to do", seconds=seconds)
        self.wait(
            lambda: self.tail.position == self.rows(_COUNT_EVENTS)[0][0], "the log holds every event", seconds=seconds
        )

    # --- Its parts ----------------------------------------------------------------------------------------------

    def part(self, *words: str) -> psutil.Process | None:
        """The child of `up` in whose command line each of these words stands, or None while there is none."""
        found = [child for child in self.daybook.children() if all(_names(child, word) for word in words)]
        return found[0] if found else None

    def wait_for_part(self, *words: str, with_children: bool = False, instead_of: int = 0) -> psutil.Process:
        """The same, once it is there, and another process than the one that was. Raises `Hung`."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            part = self.part(*words)
            if part is not None and part.pid != instead_of and (not with_children or children(part)):
                found.append(part)
            return bool(found)

        self.wait(is_there, f"{words} is there", seconds=RETURN_SECONDS)
        return found[0]

    def worker(self) -> psutil.Process:
        """The Celery worker's parent process, once it has children."""
        return self.wait_for_part("config.celery", "worker", with_children=True)

    def kill(self, *words: str) -> int:
        """SIGKILL to a part, which `up` starts again; answers with the process that it was."""
        while True:
            part = self.wait_for_part(*words)
            with suppress(psutil.NoSuchProcess):  # it has just been replaced by another
                part.kill()
                return int(part.pid)

    def kill_worker_child(self) -> None:
        """SIGKILL to one of the processes that do the work."""

        def is_killed() -> bool:
            for child in children(self.worker()):
                with suppress(psutil.NoSuchProcess):  # it has just been replaced by another
                    if child.status() != psutil.STATUS_ZOMBIE:
                        child.kill()
                        return True
            return False

        self.wait(is_killed, "a process that does the work is killed", seconds=RETURN_SECONDS)

    @contextmanager
    def frozen(self, *words: str) -> Iterator[None]:
        """The part stands still for the time of the block."""
        pid = self.wait_for_part(*words).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def cut_connections(self, *, most: int) -> int:
        """Terminates backends of the product, those that work before others, else at random; answers how many."""
        with self.database(superuser=False) as connection:
            found = connection.execute(_CUT_CONNECTIONS.encode(), [most]).fetchone()
        return int(found[0]) if found else 0

    def set_clock(self, *, ahead_seconds: float) -> None:
        """From now on the product's database clock goes ahead of the machine's by so much."""
        with self.database(superuser=True) as connection:
            connection.execute(_SET_CLOCK.encode(), [ahead_seconds])

    def _fake_clock(self) -> None:
        with self.database(superuser=True) as connection:
            for statement in _MAKE_CLOCK:
                connection.execute(statement.encode())
        self.cut_connections(most=1_000)  # the next look for it

    # --- Waiting ------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Waits until the condition holds. Raises `Hung`, with what did not happen and what the product said."""

        def holds() -> bool:
            with suppress(psycopg.OperationalError):
                return condition()
            return False

        if not wait_until(holds, timeout_seconds=seconds, poll_seconds=0.05):
            raise Hung(f"not within {seconds:.0f} s: {what}\n{self.describe()}")

    def describe(self) -> str:
        """What stands where, for who has to find out."""
        try:
            state = self.manage("subscriptions", "list", check=False).stdout
            parked = self.rows("SELECT subscription, key::text, attempts, error FROM eventstore_parked_key LIMIT 10")
            outbox = self.rows("SELECT count(*) FROM eventstore_outbox")[0][0]
        except psycopg.Error as error:
            return f"the database does not answer: {error}"
        said = "\n".join(self.daybook.lines[-40:])
        return f"{len(self.tail.open)} transfers not final, outbox {outbox}, parked {parked}\n{state}\n{said}"

    def closed_account(self) -> str:
        """An account in euro that is closed, and that nobody else asks anything of."""
        if not self._closed_account:
            with self.client() as client:
                opened = client.ask(Told(request=self.town.opening(currency="EUR", minor=0)))
                self.model.add(opened)
                assert opened.is_acknowledged, opened
                account_id = opened.body["account_id"]
                path, body = f"accounts/{account_id}/close", {"reason": "Moved away"}
                closed = client.ask(Told(request=Request(what="close", path=path, body=body, account_id=account_id)))
                self.model.add(closed)
                assert closed.is_acknowledged, closed
            self._closed_account = account_id
        return self._closed_account

    def probe(self, accounts: tuple[str, str], *, amount: str = "0.01", description: str = "") -> str:
        """A transfer of our own; answers with its id once it is accepted."""
        body = {"from_account_id": accounts[0], "to_account_id": accounts[1], "amount": amount}
        if description:
            body["description"] = description
        with self.client() as client:
            told = client.ask(
                Told(request=Request(what="transfer", path="transfers", body=body, account_id=accounts[0]))
            )
        assert told.is_acknowledged, told
        self.model.add(told)
        transfer_id: str = told.body["transfer_id"]
        return transfer_id


def _names(process: psutil.Process, word: str) -> bool:
    """Whether an argument is this word, or a path that ends in it or in it and a colon with more."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return False
    return any(argument.rpartition("/")[2].partition(":")[0] == word for argument in arguments)


def children(process: psutil.Process) -> list[psutil.Process]:
    """The processes that this one started."""
    try:
        found: list[psutil.Process] = process.children()
    except psutil.Error:
        return []
    return found


def remove(folder: Path) -> None:
    """Removes a data folder, and what stands elsewhere for it. Nothing may run on it any more."""
    home = find_home(data_dir=folder)
    for place in (home.socket_dir, home.servers_dir, folder):
        remove_folder(place)
