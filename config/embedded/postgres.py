"""The embedded PostgreSQL: made once, started and checked; whoever starts it owns its life.

Invariants: the server listens on a private socket alone (folder 0700) and asks for a password; the cluster folder
appears whole or not at all; nothing counts as running until it answered a query.
Imported by the supervisor and by the tests' servers.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from config import processes
from config.embedded.binaries import Binaries
from config.embedded.credentials import Credentials
from config.embedded.home import APP_ROLE, DATABASE_NAME, OWNER_ROLE, Home, can_enter

SUPERUSER = "postgres"
STOP_SIGNAL = signal.SIGINT  # "fast shutdown": sessions are ended, the data is left clean
START_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5
NO_ANSWER = f"The embedded Postgres did not answer within {START_TIMEOUT_SECONDS:.0f} s; its lines above say why"
LEFTOVER_TIMEOUT_SECONDS = 10.0

# Written into postgresql.conf when the cluster is made, and an operator's to change afterwards.
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than these short queries take
    "max_locks_per_transaction": "256",  # a batch takes a lock per stream
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
}

# For tests, which kill their server and remove its folder: a power cut may destroy what is in it, and nothing of it
# stands anywhere else.
PASSING_SETTINGS = SETTINGS | {"fsync": "off", "full_page_writes": "off", "dynamic_shared_memory_type": "mmap"}

# Whether a role of that name exists.
SELECT_ROLE = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s"

# Whether a database of that name exists.
SELECT_DATABASE = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s"

CREATE_ROLE = "CREATE ROLE {role} LOGIN PASSWORD {password}"

# Only a member of a role may create what that role will own: the schemas of the read models.
GRANT_APP_TO_OWNER = "GRANT {app} TO {owner}"

# A session that was left in the middle of a transaction holds its locks: the sequencer's row, and all money stands. A
# setting of the role, so that it holds behind a pooler too.
END_IDLE_TRANSACTIONS = "ALTER ROLE {app} SET idle_in_transaction_session_timeout = '30s'"

# A transaction that never ends holds its locks, and keeps dead rows from being cleared for everybody. The longest that
# Daybook's own code makes is some seconds, and a worker is ended after fifty.
END_LONG_TRANSACTIONS = "ALTER ROLE {app} SET transaction_timeout = '2min'"

CREATE_DATABASE = "CREATE DATABASE {database} OWNER {owner}"


class PostgresUnusable(Exception):
    """The embedded Postgres cannot be made or started."""


def prepare_cluster(*, home: Home, binaries: Binaries, credentials: Credentials, durable: bool = True) -> None:
    """Make the cluster when there is none, and clear what a crash left behind.

    The caller holds the data folder's lock, so nobody else starts this server. `durable=False` is for tests: a power
    cut may then destroy the cluster. Raises PostgresUnusable with one line that says what is wrong.
    """
    _check_place(home=home)
    make_private_dir(home=home, folder=home.socket_dir)
    for unfinished in home.servers_dir.glob("postgres.new-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    if not home.cluster_dir.exists():
        _make_cluster(home=home, binaries=binaries, credentials=credentials, durable=durable)
    elif not (home.cluster_dir / "PG_VERSION").is_file():
        _set_aside(home=home)
        _make_cluster(home=home, binaries=binaries, credentials=credentials, durable=durable)
    _check_version(home=home)
    _stop_leftover(home=home)


def server_command(*, home: Home, binaries: Binaries) -> list[str]:
    """The command that runs the server in the foreground."""
    return [
        str(binaries.postgres),
        *("-D", str(home.cluster_dir)),
        *("-k", str(home.socket_dir)),
        *("-c", "listen_addresses="),
        *("-c", "unix_socket_permissions=0700"),
        # A statement that fails, and the row in its way, may hold somebody's name: its log tells neither.
        *("-c", "log_min_error_statement=panic"),
        *("-c", "log_error_verbosity=terse"),
    ]


def wait_until_ready(*, home: Home, credentials: Credentials, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers a query. Raises PostgresUnusable when it ends or does not answer in time."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not answers(home=home, credentials=credentials):
        if process.poll() is not None:
            raise PostgresUnusable(
                f"The embedded Postgres ended with code {process.returncode}; its lines above say why"
            )
        if time.monotonic() > deadline:
            raise PostgresUnusable(NO_ANSWER)
        time.sleep(processes.POLL_SECONDS)


def answers(*, home: Home, credentials: Credentials) -> bool:
    """Whether the server answers a query now. Raises PostgresUnusable when it does not take our password."""
    if not _says_ready(home=home):  # asked earlier it would answer, but log each refusal
        return False
    try:
        with superuser_connection(home=home, credentials=credentials) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise PostgresUnusable(
                f"{home.credentials_file} does not belong to the data in {home.cluster_dir}; restore the file that does"
            ) from error
        return False
    return True


def _says_ready(*, home: Home) -> bool:
    """Whether the server's own pid file says that it takes connections (PostgreSQL keeps that in its eighth line)."""
    try:
        lines = (home.cluster_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


@contextmanager
def superuser_connection(*, home: Home, credentials: Credentials) -> Iterator[psycopg.Connection]:
    """A connection of the cluster's superuser, in autocommit mode, to the maintenance database."""
    address = home.database_url(user=SUPERUSER, password=credentials.superuser_password, database="postgres")
    with psycopg.connect(address, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS) as connection:
        yield connection


def ensure_database(*, home: Home, credentials: Credentials) -> None:
    """Create the two roles and the database where they are missing; harmless when repeated."""
    with superuser_connection(home=home, credentials=credentials) as connection:
        for role, password in ((OWNER_ROLE, credentials.owner_password), (APP_ROLE, credentials.app_password)):
            if not connection.execute(SELECT_ROLE, [role]).fetchone():
                names = {"role": sql.Identifier(role), "password": sql.Literal(password)}
                connection.execute(sql.SQL(CREATE_ROLE).format(**names))
        names = {"app": sql.Identifier(APP_ROLE), "owner": sql.Identifier(OWNER_ROLE)}
        for statement in (GRANT_APP_TO_OWNER, END_IDLE_TRANSACTIONS, END_LONG_TRANSACTIONS):
            connection.execute(sql.SQL(statement).format(**names))
        if not connection.execute(SELECT_DATABASE, [DATABASE_NAME]).fetchone():
            database = {"database": sql.Identifier(DATABASE_NAME), "owner": sql.Identifier(OWNER_ROLE)}
            connection.execute(sql.SQL(CREATE_DATABASE).format(**database))


def make_private_dir(*, home: Home, folder: Path) -> None:
    """Make a folder that the servers' user alone may enter.

    Raises PostgresUnusable when the folder is there already and somebody else's (a socket folder may stand in /tmp).
    """
    uid = home.service_user.uid if home.service_user else os.geteuid()
    folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        if home.service_user:
            os.chown(folder, home.service_user.uid, home.service_user.gid)
    except FileExistsError:
        status = folder.lstat()
        if status.st_uid not in {uid, 0} or folder.is_symlink():
            raise PostgresUnusable(
                f"{folder} belongs to another user; remove it, or run Daybook as that user"
            ) from None
        if home.service_user:
            os.chown(folder, home.service_user.uid, home.service_user.gid)
        folder.chmod(0o700)


def _make_cluster(*, home: Home, binaries: Binaries, credentials: Credentials, durable: bool) -> None:
    """Run initdb in a folder of its own and move the result into place in one step."""
    unfinished = home.servers_dir / f"postgres.new-{os.getpid()}"
    make_private_dir(home=home, folder=unfinished)
    with tempfile.NamedTemporaryFile("w", dir=home.socket_dir, prefix="initdb-") as password_file:
        password_file.write(credentials.superuser_password)
        password_file.flush()
        if home.service_user:
            os.chown(password_file.name, home.service_user.uid, home.service_user.gid)
        argv = _initdb_command(binaries=binaries, folder=unfinished, password_file=password_file.name, durable=durable)
        process = processes.spawn(
            argv=argv,
            cwd=unfinished,
            environment={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            user=home.service_user,
            orphan_signal=signal.SIGKILL,
            output=subprocess.PIPE,
        )
        said, _ = process.communicate()
    if process.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = said.decode(errors="replace").strip().splitlines()
        raise PostgresUnusable(f"The embedded Postgres could not be made: {' '.join(reason[-2:])}")
    unfinished.rename(home.cluster_dir)


def _initdb_command(*, binaries: Binaries, folder: Path, password_file: str, durable: bool) -> list[str]:
    settings = SETTINGS if durable else PASSING_SETTINGS
    return [
        str(binaries.initdb),
        *("-D", str(folder)),
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        # Text sorts and folds the same on every machine, whatever its C library.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        *([] if durable else ["--no-sync"]),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
    ]


def _check_place(*, home: Home) -> None:
    """Refuse to begin anew where an older cluster of this folder stands at another place; note a place outside it."""
    if home.service_user and not can_enter(user=home.service_user, folder=home.servers_dir):
        raise PostgresUnusable(
            f"{home.cluster_dir} can no longer be reached by user {home.service_user.name}, who runs the servers for"
            " root: let others traverse the folders above it, or move the data folder"
        )
    if home.elsewhere_file.exists():
        noted = Path(home.elsewhere_file.read_text(encoding="utf-8").strip())
        if noted != home.servers_dir and noted.exists():
            raise PostgresUnusable(
                f"The data of {home.data_dir} is in {noted}, made when the folder stood elsewhere: move that to"
                f" {home.servers_dir}, or remove {home.elsewhere_file} to begin anew"
            )
    if not home.is_reachable:
        home.elsewhere_file.write_text(f"{home.servers_dir}\n", encoding="utf-8")


def _set_aside(*, home: Home) -> None:
    """Keep a cluster folder that is no cluster, under another name: deleting is for people."""
    broken = home.servers_dir / f"postgres.broken-{time.strftime('%Y%m%dT%H%M%S')}"
    home.cluster_dir.rename(broken)


def _check_version(*, home: Home) -> None:
    try:
        found = (home.cluster_dir / "PG_VERSION").read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise PostgresUnusable(
            f"{home.cluster_dir} belongs to another user; run Daybook as that user, or set DAYBOOK_DATA_DIR"
        ) from error
    if found != "18":
        raise PostgresUnusable(f"{home.cluster_dir} is of PostgreSQL {found}, and the embedded server is of 18")


def _stop_leftover(*, home: Home) -> None:
    """Stop a server of this very folder that a killed start left behind, and clear its pid and socket files.

    Without this, a pid file whose number another process has since been given would refuse every start.
    """
    pid_file = home.cluster_dir / "postmaster.pid"
    try:
        pid = int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        pid = 0
    if pid and _is_our_server(pid=pid, home=home):
        _end(pid=pid)
    pid_file.unlink(missing_ok=True)
    home.postgres_socket.unlink(missing_ok=True)
    home.postgres_socket.with_name(home.postgres_socket.name + ".lock").unlink(missing_ok=True)


def _is_our_server(*, pid: int, home: Home) -> bool:
    arguments = processes.command_line(pid=pid).split(" ")
    return arguments[0].endswith("postgres") and str(home.cluster_dir) in " ".join(arguments)


def _end(*, pid: int) -> None:
    """Stop a server that is not our child: cleanly, else at once (it then recovers from its log)."""
    for signal_number in (STOP_SIGNAL, signal.SIGQUIT, signal.SIGKILL):
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            return
        if processes.wait_until(lambda: not processes.is_alive(pid=pid), timeout_seconds=LEFTOVER_TIMEOUT_SECONDS):
            return
    raise PostgresUnusable(f"A Postgres that an earlier start left behind (process {pid}) does not stop")
