"""The embedded servers: private, repaired where they can be, and plain about it where they cannot."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_client

from config import processes
from config.embedded import binaries, postgres, redis
from config.embedded.credentials import Credentials, CredentialsUnreadable, load_or_create_credentials
from config.embedded.home import (
    APP_ROLE,
    MAX_SOCKET_PATH_BYTES,
    OWNER_ROLE,
    Home,
    ServiceUser,
    find_home,
)
from config.up import folder as up_folder
from tests.folders import passing_folder, remove_folder

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder."""
    folder = passing_folder()
    yield folder
    remove_folder(folder)


@contextmanager
def postgres_of(folder: Path, *, keep: bool = False) -> Iterator[tuple[Home, Credentials, psutil.Process]]:
    """The Postgres of a data folder, made where it is missing, while the block runs.

    `keep` leaves what stands outside the folder.
    """
    up_folder.make_data_dir(data_dir=folder)
    home = find_home(data_dir=folder)
    credentials = load_or_create_credentials(path=home.credentials_file)
    programs = binaries.find_binaries(home=home)
    postgres.prepare_cluster(home=home, binaries=programs, credentials=credentials, durable=False)
    process = _spawn(home, postgres.server_command(home=home, binaries=programs))
    try:
        postgres.wait_until_ready(home=home, credentials=credentials, process=process)
        postgres.ensure_database(home=home, credentials=credentials)
        yield home, credentials, psutil.Process(process.pid)
    finally:
        processes.stop(process=process, signal_number=signal.SIGINT, timeout_seconds=10.0)
        if home.servers_dir != home.data_dir and not keep:
            shutil.rmtree(home.servers_dir)
        shutil.rmtree(home.socket_dir, ignore_errors=True)


@contextmanager
def redis_of(folder: Path) -> Iterator[tuple[Home, Credentials]]:
    """The Redis of a data folder while the block runs."""
    home = find_home(data_dir=folder)
    credentials = load_or_create_credentials(path=home.credentials_file)
    redis.prepare_redis(home=home, credentials=credentials)
    process = _spawn(home, redis.server_command(home=home, binaries=binaries.find_binaries(home=home)))
    try:
        redis.wait_until_ready(home=home, credentials=credentials, process=process)
        yield home, credentials
    finally:
        processes.stop(process=process, signal_number=signal.SIGTERM, timeout_seconds=5.0)


def _spawn(home: Home, argv: list[str]) -> "subprocess.Popen[bytes]":
    return processes.spawn(
        argv=argv,
        cwd=home.servers_dir,
        environment={"PATH": os.defpath},
        user=home.service_user,
        orphan_signal=signal.SIGKILL,
        output=subprocess.DEVNULL,
    )


def _modes(path: Path) -> dict[Path, int]:
    return {place: stat.S_IMODE(place.stat().st_mode) for place in (path, *path.parents)}


# --- Private ----------------------------------------------------------------------------------------------------


def test_postgres_listens_on_a_private_socket_alone_and_asks_for_a_password(folder: Path) -> None:
    before = _modes(folder)
    with postgres_of(folder) as (home, _, server):
        assert stat.S_IMODE(home.socket_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(home.cluster_dir.stat().st_mode) == 0o700
        assert server.net_connections(kind="inet") == []
        assert server.uids().real != 0
        for password in ("", "guessed"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(home.database_url(user=APP_ROLE, password=password))
    assert _modes(folder) == before, "no folder's rights were changed"


def test_the_app_role_owns_nothing_and_the_owner_is_no_superuser(folder: Path) -> None:
    query = (
        "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname LIKE 'daybook%' ORDER BY 1"
    )
    with postgres_of(folder) as (home, credentials, _):
        address = home.database_url(user=APP_ROLE, password=credentials.app_password)
        with psycopg.connect(address) as connection:
            assert connection.execute(query).fetchall() == [
                (APP_ROLE, False, False, False),
                (OWNER_ROLE, False, False, False),
            ]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("CREATE TABLE mine (id bigint)")


def test_redis_listens_on_a_private_socket_alone_and_asks_for_a_password(folder: Path) -> None:
    with redis_of(folder) as (home, credentials):
        assert stat.S_IMODE(home.redis_socket.stat().st_mode) == 0o700
        with redis_client.Redis.from_url(home.redis_url(password=credentials.redis_password)) as client:
            assert client.ping()
            assert client.config_get("port") == {"port": "0"}
        stranger = redis_client.Redis(unix_socket_path=str(home.redis_socket))
        with stranger, pytest.raises(redis_client.AuthenticationError):
            stranger.ping()


def test_the_credentials_are_readable_by_their_owner_alone_and_made_once(folder: Path) -> None:
    path = folder / "credentials.json"
    made = load_or_create_credentials(path=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_credentials(path=path) == made
    assert len(set(vars(made).values())) == len(vars(made))


def test_damaged_credentials_are_told_and_never_replaced(folder: Path) -> None:
    path = folder / "credentials.json"
    path.write_text('{"secret_key": ')
    with pytest.raises(CredentialsUnreadable, match="damaged; restore it from a copy"):
        load_or_create_credentials(path=path)
    assert path.read_text() == '{"secret_key": '


# --- Repaired ---------------------------------------------------------------------------------------------------


def test_a_pid_file_whose_number_another_process_has_does_not_stop_the_start(folder: Path) -> None:
    with postgres_of(folder) as (home, _, _):
        cluster = home.cluster_dir
    (cluster / "postmaster.pid").write_text(f"{os.getppid()}\n{cluster}\n1\n5432\n{home.socket_dir}\n\n\nready\n")
    (home.socket_dir).mkdir(mode=0o700, exist_ok=True)
    home.postgres_socket.with_name(home.postgres_socket.name + ".lock").write_text(f"{os.getppid()}\n")
    with postgres_of(folder) as (home, credentials, _):
        assert postgres.answers(home=home, credentials=credentials)


def test_a_half_made_cluster_is_set_aside_and_made_anew(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "half").write_text("made")
    (folder / "postgres.new-1").mkdir()
    with postgres_of(folder) as (home, credentials, _):
        assert postgres.answers(home=home, credentials=credentials)
    (kept,) = folder.glob("postgres.broken-*")
    assert (kept / "half").read_text() == "made"
    assert not (folder / "postgres.new-1").exists()


def test_a_server_that_a_killed_start_left_behind_is_stopped_and_its_data_kept(folder: Path) -> None:
    with postgres_of(folder) as (home, credentials, left):
        owner = home.database_url(user=OWNER_ROLE, password=credentials.owner_password)
        with psycopg.connect(owner) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        with postgres_of(folder) as (_, _, server):
            assert server.pid != left.pid
            assert not processes.is_alive(pid=left.pid)
            with psycopg.connect(owner) as connection:
                assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_a_redis_that_a_killed_start_left_behind_is_stopped(folder: Path) -> None:
    with redis_of(folder) as (home, _):
        left = int((home.redis_dir / "redis.pid").read_text())
        with redis_of(folder) as (_, credentials):
            assert redis.answers(home=home, credentials=credentials)
            assert not processes.is_alive(pid=left)


def test_only_processes_that_carry_the_folder_s_mark_are_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up_folder, "STOP_LEFTOVERS_SECONDS", 0.3)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    )
    ours = {**os.environ, **up_folder.mark(data_dir=folder)}
    theirs = {**os.environ, **up_folder.mark(data_dir=folder / "another")}
    started = [
        subprocess.Popen([sys.executable, "-c", stubborn], env=environment, stdout=subprocess.PIPE)
        for environment in (ours, theirs)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
    left, stranger = started
    try:
        assert up_folder.stop_leftovers(data_dir=folder) == [left.pid]
        assert left.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for process in started:
            process.kill()
            process.communicate()


# --- Found, wherever the folder stands ----------------------------------------------------------------------------


def test_a_folder_with_a_long_path_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("long" * 30)
    with postgres_of(deep) as (home, credentials, _):
        assert len(str(deep)) > MAX_SOCKET_PATH_BYTES
        assert home.socket_dir.parent == Path("/tmp")
        assert stat.S_IMODE(home.socket_dir.stat().st_mode) == 0o700
        assert postgres.answers(home=home, credentials=credentials)


def test_a_folder_that_the_service_user_cannot_enter_works_without_widening_it(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with postgres_of(closed / "data") as (home, credentials, server):
        assert postgres.answers(home=home, credentials=credentials)
        assert home.is_reachable == (not IS_ROOT)
        assert server.uids().real == (home.service_user.uid if home.service_user else os.geteuid())
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.parametrize("is_moved", [False, True])
def test_data_that_stands_outside_the_folder_is_found_again_or_told(folder: Path, is_moved: bool) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with postgres_of(closed / "data", keep=True) as (first, _, _):
        pass
    if not is_moved:
        closed.chmod(0o711)
        with postgres_of(closed / "data") as (again, _, _):
            assert again.cluster_dir == first.cluster_dir
        return
    (closed / "data").rename(closed / "moved")
    try:
        if IS_ROOT:
            with pytest.raises(postgres.PostgresUnusable, match=f"is in {first.servers_dir}, made when"):
                postgres_of(closed / "moved").__enter__()
        else:
            with postgres_of(closed / "moved") as (again, _, _):
                assert again.cluster_dir == closed / "moved" / "postgres"
    finally:
        shutil.rmtree(first.servers_dir, ignore_errors=True)


def test_programs_that_the_service_user_cannot_reach_run_from_a_copy(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "ROOT_FALLBACK_DIR", folder / "copies")
    monkeypatch.setattr(binaries, "can_enter", lambda **_: False)
    user = ServiceUser(name="stranger", uid=os.geteuid(), gid=os.getegid())
    programs = binaries.find_binaries(home=replace(find_home(data_dir=folder), service_user=user))
    for program in (programs.initdb, programs.postgres, programs.redis_server):
        assert program.is_relative_to(folder / "copies")
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        assert "18." in said or "v=6.2" in said


def test_a_copied_folder_gets_sockets_of_its_own(folder: Path) -> None:
    original, copy = find_home(data_dir=folder / "one"), find_home(data_dir=folder / "two")
    assert original.socket_dir != copy.socket_dir
    assert original.cluster_dir != copy.cluster_dir


def test_the_way_to_the_folder_does_not_matter(folder: Path) -> None:
    (folder / "link").symlink_to(folder)
    assert find_home(data_dir=folder / "link") == find_home(data_dir=folder)


# --- Refused with a reason -------------------------------------------------------------------------------------------


def test_a_cluster_of_another_version_is_refused_with_a_reason(folder: Path) -> None:
    with postgres_of(folder) as (home, credentials, _):
        pass
    (home.cluster_dir / "PG_VERSION").write_text("15\n")
    with pytest.raises(postgres.PostgresUnusable, match="is of PostgreSQL 15, and the embedded server is of 18"):
        postgres.prepare_cluster(
            home=home, binaries=binaries.find_binaries(home=home), credentials=credentials, durable=False
        )


def test_credentials_of_another_folder_are_told_at_once(folder: Path) -> None:
    with (
        postgres_of(folder) as (home, _, _),
        pytest.raises(postgres.PostgresUnusable, match="does not belong to the data"),
    ):
        postgres.answers(home=home, credentials=Credentials())


def test_a_stranger_s_socket_folder_is_refused(folder: Path) -> None:
    home = find_home(data_dir=folder)
    (folder / "elsewhere").mkdir()
    home.socket_dir.symlink_to(folder / "elsewhere")
    with pytest.raises(postgres.PostgresUnusable, match="belongs to another user"):
        postgres.make_private_dir(home=home, folder=home.socket_dir)


def test_a_server_that_ends_at_once_is_told_apart_from_a_slow_one(folder: Path) -> None:
    home = find_home(data_dir=folder)
    credentials = load_or_create_credentials(path=home.credentials_file)
    process = _spawn(home, ["/bin/sh", "-c", "exit 3"])
    with pytest.raises(postgres.PostgresUnusable, match="ended with code 3"):
        postgres.wait_until_ready(home=home, credentials=credentials, process=process)
