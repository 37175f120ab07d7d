"""`manage.py up` on real processes: it starts, survives, recovers and leaves nothing behind."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from config.embedded import binaries
from config.embedded.credentials import read_credentials
from config.embedded.home import APP_ROLE, MAX_SOCKET_PATH_BYTES, find_home
from config.processes import wait_until
from tests.conftest import Database
from tests.daybook_process import ROOT, STOP_SECONDS, Daybook
from tests.folders import passing_folder, remove_folder

RECOVERY_SECONDS = 30.0
SETTLED_SECONDS = 5.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder."""
    folder = passing_folder()
    yield folder
    remove_folder(folder)


def _app_connection(daybook: Daybook) -> psycopg.Connection:
    home = find_home(data_dir=daybook.data_dir)
    credentials = read_credentials(path=home.credentials_file)
    assert credentials is not None
    return psycopg.connect(home.database_url(user=APP_ROLE, password=credentials.app_password))


def _ready(daybook: Daybook) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", daybook.port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        answer: dict[str, str] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()
    return answer


def _database_answers(daybook: Daybook) -> bool:
    """Whether it does now; what `/health/ready` says may be a second old."""
    try:
        _app_connection(daybook).close()
    except psycopg.OperationalError:
        return False
    return True


def _is_ready(daybook: Daybook) -> bool:
    return _ready(daybook).get("status") == "ok"


def test_it_stops_on_ctrl_c_leaving_nothing_and_finds_its_data_again(folder: Path) -> None:
    with Daybook(data_dir=folder).ready() as daybook:
        assert {**_ready(daybook), "posting": "ok"} == {
            "status": "ok",
            "database": "ok",
            "broker": "ok",
            "migrations": "ok",
            "posting": "ok",
        }
        with _app_connection(daybook) as connection:
            connection.execute("INSERT INTO django_session VALUES ('kept', '', now())")
        assert daybook.stop(signal.SIGINT) < STOP_SECONDS
        assert daybook.process.returncode == 0
        assert daybook.family() == []
        secrets = (folder / "credentials.json").read_text()
    with Daybook(data_dir=folder).ready() as daybook:
        with _app_connection(daybook) as connection:
            found = connection.execute("SELECT count(*) FROM django_session WHERE session_key = 'kept'").fetchone()
        assert found == (1,)
        assert (folder / "credentials.json").read_text() == secrets
        assert daybook.stop(signal.SIGTERM) < STOP_SECONDS
        assert daybook.process.returncode == 0
        assert daybook.family() == []


def test_it_recovers_after_it_was_killed(folder: Path) -> None:
    with Daybook(data_dir=folder).ready() as daybook:
        daybook.process.kill()
        daybook.process.wait()
        # Its children are told of its death; whatever does not go by then, the next start ends.
        with Daybook(data_dir=folder, port=daybook.port).ready() as again:
            assert _is_ready(again)
            again.stop()
            assert again.family() == []


def test_its_children_end_when_it_is_killed(folder: Path) -> None:
    with Daybook(data_dir=folder).ready() as daybook:
        daybook.process.kill()
        daybook.process.wait()
        assert wait_until(lambda: daybook.family() == [], timeout_seconds=STOP_SECONDS), daybook.family()


def test_no_process_of_a_server_outlives_it_though_it_hangs(folder: Path) -> None:
    with Daybook(data_dir=folder).ready() as daybook:
        servers = [child for child in daybook.children() if {"celery", "granian"} & set(child.cmdline())]
        hanging = [grandchild for server in servers for grandchild in server.children(recursive=True)]
        assert len(servers) == 3, daybook.family()  # the web, the worker and the clock
        assert len(hanging) >= 2, daybook.family()
        # What has just been forked has not said yet that it ends with its parent; it would find out when it went on.
        assert wait_until(
            lambda: min(time.time() - process.create_time() for process in hanging) > SETTLED_SECONDS,
            timeout_seconds=RECOVERY_SECONDS,
        )
        for process in hanging:
            process.suspend()
        for process in (daybook.process, *servers):
            process.kill()
        daybook.process.wait()
        _, left = psutil.wait_procs(hanging, timeout=STOP_SECONDS)
        assert left == []


@pytest.mark.parametrize("victim", ["celery", "granian", "bin/postgres", "redis-server"])
def test_it_starts_a_child_again_that_died(running: Daybook, victim: str) -> None:
    said = len(running.lines)
    killed = [process for process in running.children() if any(victim in part for part in process.cmdline())]
    for process in killed:
        process.kill()
    running.wait_for_line(r"was killed by SIGKILL; it starts again", since=said)
    assert wait_until(lambda: _is_ready(running), timeout_seconds=RECOVERY_SECONDS), running.output
    alive = {process.pid for process in running.family()}
    assert alive.isdisjoint(process.pid for process in killed)


@pytest.fixture(scope="module")
def shared() -> Iterator[Daybook]:
    """A Daybook for several tests, as the test before left it."""
    folder = passing_folder()
    with Daybook(data_dir=folder).ready() as daybook:
        yield daybook
    remove_folder(folder)


@pytest.fixture
def running(shared: Daybook) -> Daybook:
    """The shared one, once it has recovered from what the test before did to it."""
    assert wait_until(lambda: _database_answers(shared) and _is_ready(shared), timeout_seconds=RECOVERY_SECONDS), (
        shared.output
    )
    return shared


def test_a_second_one_on_the_same_folder_says_so_in_one_line(running: Daybook) -> None:
    second = subprocess.run(
        running.command, cwd=ROOT, env=running.environment, capture_output=True, text=True, check=False
    )
    assert second.returncode == 1
    (line,) = (second.stdout + second.stderr).strip().splitlines()
    assert f"already runs on {running.data_dir} (process {running.process.pid})" in line
    assert wait_until(lambda: _is_ready(running), timeout_seconds=RECOVERY_SECONDS)


def test_a_command_from_another_terminal_finds_the_servers(running: Daybook) -> None:
    command = [sys.executable, "manage.py", "migrate", "--check"]
    found = subprocess.run(command, cwd=ROOT, env=running.environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_another_copy_in_another_folder_does_not_meet_it(running: Daybook, folder: Path) -> None:
    with Daybook(data_dir=folder).ready() as other:
        assert _is_ready(running)
        assert _is_ready(other)
        with _app_connection(other) as connection:
            connection.execute("INSERT INTO django_session VALUES ('of the other', '', now())")
        with _app_connection(running) as connection:
            assert connection.execute("SELECT count(*) FROM django_session").fetchone() == (0,)
        other.stop()
    assert _is_ready(running)


def test_it_loads_demo_data_and_says_how_to_sign_in(folder: Path) -> None:
    with Daybook(data_dir=folder, demo=True).ready() as daybook:
        line = daybook.wait_for_line("Log in as ")
        password = line.split()[-1]
        for name in ("teller", "supervisor", "auditor", "operator"):
            assert name in line
            assert _sign_in(daybook, name=name, password=password) == 200
        assert _sign_in(daybook, name="teller", password="guessed") == 401


def _sign_in(daybook: Daybook, *, name: str, password: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", daybook.port, timeout=5)
    try:
        body = json.dumps({"username": name, "password": password})
        connection.request("POST", "/api/v1/auth/login", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_starts_no_server_where_it_is_given_some(folder: Path, empty_database: Database) -> None:
    with Daybook(data_dir=folder, environment=empty_database.environment).ready() as daybook:
        assert _is_ready(daybook)
        assert {path.name for path in folder.iterdir()} == {"id", "lock", "metrics"}
        daybook.stop()
        assert daybook.family() == []


def test_it_says_which_child_does_not_start_and_never_that_it_is_ready(folder: Path, empty_database: Database) -> None:
    broken = {**empty_database.environment, "CELERY_BROKER_URL": "sqs://nowhere"}
    with Daybook(data_dir=folder, environment=broken) as daybook:
        assert daybook.wait_for_end() == 1
        assert "Daybook is ready" not in daybook.output
        assert "Daybook cannot start: " in daybook.lines[-1]
        assert "does not start (3 attempts); the last it said is: " in daybook.lines[-1]
        assert daybook.family() == []


def test_a_port_in_use_is_named_and_nothing_is_started(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with Daybook(data_dir=folder, port=taken.getsockname()[1]) as daybook:
            assert daybook.wait_for_end() == 1
            (line,) = daybook.lines
            assert f"Port {daybook.port} is taken" in line
            assert f"PORT={daybook.port + 1}" in line
            assert daybook.family() == []
            assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"DATABASE_URL": "postgresql://app:guessed@127.0.0.1:1/daybook"}, "The database of DATABASE_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "The Redis of REDIS_URL"),
    ],
)
def test_a_server_that_does_not_answer_is_named_and_nothing_is_started(
    folder: Path, empty_database: Database, broken: dict[str, str], why: str
) -> None:
    with Daybook(data_dir=folder, environment={**empty_database.environment, **broken}) as daybook:
        assert daybook.wait_for_end() == 1
        (line,) = daybook.lines
        assert f"{why} does not answer: " in line
        assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(folder: Path) -> None:
    with Daybook(data_dir=Path("/proc/self/fdinfo")) as daybook:  # not even root may
        assert daybook.wait_for_end() == 1
        (line,) = daybook.lines
        assert "DAYBOOK_DATA_DIR cannot be /proc/self/fdinfo" in line


def test_it_runs_in_a_folder_whose_path_is_too_long_for_a_socket(folder: Path) -> None:
    deep = folder / "a-folder-with-quite-a-long-name" / "and-another-one-below-it-that-is-no-shorter" / "and-a-third"
    with Daybook(data_dir=deep).ready() as daybook:
        assert _is_ready(daybook)
        assert len(os.fsencode(deep / "run" / ".s.PGSQL.5432.lock")) > MAX_SOCKET_PATH_BYTES
        daybook.stop()
        assert daybook.family() == []


def test_data_without_its_credentials_is_told_in_one_line_and_left_alone(folder: Path) -> None:
    cluster = folder / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("18\n")
    with Daybook(data_dir=folder) as daybook:
        assert daybook.wait_for_end() == 1
        assert any("credentials.json is missing" in line for line in daybook.lines)
        assert daybook.family() == []
    assert (cluster / "PG_VERSION").read_text() == "18\n"


def test_it_runs_as_a_plain_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix, environment = _as_plain_user(folder, monkeypatch)
    with Daybook(data_dir=folder, prefix=prefix, environment=environment).ready() as daybook:
        assert _is_ready(daybook)
        users = {process.uids().real for process in daybook.family()}
        assert users == {folder.stat().st_uid}
        assert 0 not in users
        daybook.stop()
        assert daybook.family() == []


def _as_plain_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, str]]:
    """What to put before a command, and into its environment, so that a plain user runs it, who owns the folder then.

    For root that is a user who may read everywhere, because the interpreter may stand in root's home, and write only
    what is its own. PostgreSQL checks for itself whether it may run its programs, so those have to stand openly.
    """
    if os.geteuid() != 0:
        return [], {}
    programs = folder / "programs"
    with monkeypatch.context() as patch:
        patch.setattr(binaries, "ROOT_FALLBACK_DIR", programs)
        patch.setattr(binaries, "can_enter", lambda **_: False)
        binaries.find_binaries(home=find_home(data_dir=folder))
    os.chown(folder, 65534, 65534)
    rights = "-all,+dac_read_search"
    user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    prefix = ["setpriv", *user, f"--inh-caps={rights}", f"--ambient-caps={rights}", "--"]
    return prefix, {"PYTHONPATH": os.pathsep.join(str(path) for path in programs.iterdir())}
