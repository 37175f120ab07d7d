"""`manage.py replay_projections` as an operator meets it, and that migrations and replays exclude each other."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from config.processes import wait_until
from eventstore import exclusion, replay, shadow
from eventstore.exclusion import MigrationRunning, begin_migration
from eventstore.management.commands import replay_projections
from eventstore.replay import Progress
from eventstore.shadow import Shadow
from eventstore.tables import ADVISORY_CLASS
from tests.conftest import Database
from tests.integration.history import History, dispatch
from tests.integration.test_projections import contents
from tests.integration.test_replay import LEFT_OVER, elsewhere, projection, query

ROOT = Path(__file__).resolve().parents[2]
NO_PLAN: list[object] = []
REPLAY = "manage.py replay_projections"


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("replay_projections", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("fresh_database")
def test_it_rebuilds_every_read_model_and_says_so() -> None:
    History().everything().write()
    dispatch()
    live = contents()
    told = run("--all").splitlines()
    assert [line.split(" ")[0] for line in told] == ["views.accounts", "views.customers", "views.transfers"]
    assert all("live at position" in line for line in told)
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
def test_a_dry_run_says_what_would_be_done_and_does_nothing() -> None:
    History().everything().write()
    told = run("views.accounts", "--dry-run")
    head = query("SELECT position FROM eventstore_sequencer")[0][0]
    assert f"views.accounts (version 2): {head} events to read; about 1 s" in told
    assert query(LEFT_OVER) == []
    assert query("SELECT 1 FROM eventstore_checkpoint WHERE position > 0 OR status <> 'running'") == []
    assert contents()["account"] == []


@pytest.mark.usefixtures("fresh_database")
def test_nothing_is_changed_when_every_read_model_is_of_this_version() -> None:
    History().everything().write()
    dispatch()
    assert "nothing to do" in run("--changed")
    assert "nothing to do" in run("--changed", "--dry-run")


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (["--all"], f"`{REPLAY} views.customers views.transfers`"),
        (["--all", "--restart"], f"`{REPLAY} views.customers`, then `{REPLAY} views.transfers --restart`"),
        (["views.customers"], f"`{REPLAY} views.customers`"),
    ],
)
def test_an_interrupted_replay_names_the_command_for_what_is_left(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], again: str
) -> None:
    rebuild = replay.rebuild

    def interrupted(projection: Any, **more: Any) -> Any:
        if projection.id == "views.customers":
            raise KeyboardInterrupt
        return rebuild(projection, **more)

    monkeypatch.setattr(replay, "rebuild", interrupted)
    with pytest.raises(CommandError) as stopped:
        run(*arguments)
    assert str(stopped.value).endswith(f"interrupted. Its live read model is untouched; go on with {again}.")
    assert stopped.value.returncode == 130


def test_a_database_that_there_is_not_is_refused_before_anything_else() -> None:
    with pytest.raises(CommandError, match="invalid choice: 'nope'"):
        run("--all", "--database", "nope")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Name projections, or give --all or --changed. There are: views.accounts, "),
        (["--all", "views.accounts"], "Name projections"),
        (["accounts.saga"], "accounts.saga is not a projection, and only those are replayed"),
        (["views.nothing"], "views.nothing is unknown"),
    ],
)
def test_it_says_in_one_line_what_it_does_not_take(arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)


def test_it_writes_a_line_now_and_then_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_projections, "LINE_EVERY_SECONDS", 0.0)
    out = io.StringIO()
    lines = replay_projections._Lines(replay_projections.Command(stdout=out))
    lines(Progress(projection="views.accounts", position=1_500, head=3_000, doing="building"))
    assert out.getvalue() == "views.accounts: building, 1,500 of 3,000 (50 %)\n"


def test_it_gives_back_its_lease_when_it_is_stopped_and_goes_on_at_once_the_next_time(
    fresh_database: Database,
) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    with psycopg.connect(fresh_database.app_url) as reader:
        reader.execute("SELECT count(*) FROM readmodel.account")  # holds up the swap
        process = subprocess.Popen(
            [sys.executable, "manage.py", "replay_projections", "views.accounts"],
            cwd=ROOT,
            env=fresh_database.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert wait_until(_is_built, timeout_seconds=30)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 130
    again = "`manage.py replay_projections views.accounts`"
    lines = [line for line in told.splitlines(keepends=True) if "[psycopg]" not in line]  # the driver's own words
    assert (
        "".join(lines)
        == f"CommandError: views.accounts: interrupted. Its live read model is untouched; go on with {again}.\n"
    )
    assert "Traceback" not in told
    assert contents() == live
    position, running = shadow.progress_of(projection(), using="default") or (0, True)
    assert (position > 0, running) == (True, False)
    assert "views.accounts version 2: 0 events read" in run("views.accounts")
    assert contents() == live


def _is_built() -> bool:
    return bool(query("SELECT 1 FROM eventstore_checkpoint WHERE status = 'replaying' AND position > 0"))


@pytest.mark.usefixtures("fresh_database")
def test_no_migration_begins_while_a_replay_runs() -> None:
    replaying = Shadow(projection(), using="default")
    replaying.claim()

    def renew() -> None:
        with replaying.transaction() as cursor:
            replaying.move(cursor, replaying.lock(cursor))

    with (
        elsewhere(renew) as failures,
        pytest.raises(CommandError, match=r"views\.accounts@shadow is being built: wait for the replay"),
    ):
        call_command("migrate", "sessions", "zero", verbosity=0)
    assert failures == []
    replaying.release()
    call_command("migrate", "sessions", "zero", verbosity=0)
    replaying.claim()  # the lock has gone with the migration
    replaying.release()


@pytest.mark.usefixtures("fresh_database")
def test_a_migration_waits_out_a_replay_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "LEASE_SECONDS", 0.3)
    Shadow(projection(), using="default").claim()
    call_command("migrate", "sessions", "zero", verbosity=0)


@pytest.mark.usefixtures("fresh_database")
def test_a_migration_does_not_wait_for_a_replay_from_before_the_clock_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exclusion, "_PATIENCE_SECONDS", 0.2)
    Shadow(projection(), using="default").claim()
    query("UPDATE eventstore_checkpoint SET held_until = held_until + interval '1 hour' WHERE status = 'replaying'")
    call_command("migrate", "sessions", "zero", verbosity=0)


@pytest.mark.usefixtures("fresh_database")
def test_a_migration_without_anything_to_do_asks_nobody() -> None:
    Shadow(projection(), using="default").claim()
    begin_migration(plan=NO_PLAN, using="default")
    call_command("migrate", verbosity=0)


def test_no_replay_begins_or_goes_on_while_a_migration_runs(fresh_database: Database) -> None:
    History().everything().write()
    running = Shadow(projection("views.transfers"), using="default")
    running.claim()
    with psycopg.connect(fresh_database.owner_url, autocommit=True) as migrating:
        migrating.execute("SELECT pg_advisory_lock(%s, %s)", [ADVISORY_CLASS, exclusion._LOCK])
        with pytest.raises(CommandError, match=r"views\.accounts: the database is being migrated"):
            run("views.accounts")
        with pytest.raises(MigrationRunning), running.transaction() as cursor:
            running.lock(cursor)
        migrating.execute("SELECT pg_advisory_unlock_all()")  # the end of a session comes some time after it is closed
    with running.transaction() as cursor:
        running.lock(cursor)
    assert "live at position" in run("views.accounts")


def test_two_migrations_at_once_are_told_apart(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exclusion, "_PATIENCE_SECONDS", 0.2)
    with psycopg.connect(fresh_database.owner_url, autocommit=True) as migrating:
        migrating.execute("SELECT pg_advisory_lock(%s, %s)", [ADVISORY_CLASS, exclusion._LOCK])
        with pytest.raises(CommandError, match="another migration is running"):
            call_command("migrate", "sessions", "zero", verbosity=0)


@pytest.mark.usefixtures("fresh_database")
def test_it_fails_visibly_when_streams_could_not_be_handled() -> None:
    history = History().everything()
    never_opened = UUID(int=9)
    history.balances[never_opened] = 0
    history.deposit(never_opened, 5_00)
    history.write()
    with pytest.raises(CommandError, match=r"rebuilt and live, but 1 stream could not be handled\. It is parked"):
        run("--all")


@pytest.mark.usefixtures("fresh_database")
def test_preparing_a_database_rebuilds_what_an_earlier_version_made() -> None:
    History().everything().write()
    dispatch()
    live = contents()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE eventstore_checkpoint SET projection_version = 0 WHERE subscription = 'views.accounts'")
        cursor.execute("ALTER TABLE readmodel.account DROP COLUMN search")
    call_command("prepare_database", verbosity=0)
    assert contents() == live
    assert query("SELECT projection_version FROM eventstore_checkpoint WHERE subscription = 'views.accounts'") == [(2,)]
    assert query("SELECT count(search) FROM readmodel.account") == [(len(live["account"]),)]
