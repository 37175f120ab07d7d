"""Replays: the same rows as live, beside writers and readers, interrupted, doubled, and refused where they must be."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction
from msgspec.structs import replace

from accounts.published.events import AccountOpened
from config.processes import wait_until
from eventstore import replay, shadow
from eventstore.appending import NewEvent, append
from eventstore.buckets import BUCKETS, bucket_of
from eventstore.events import Event, RecordedEvent
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.registry import EventRegistry, UnknownEventType
from eventstore.replay import Progress, Rebuilt
from eventstore.shadow import ReplayInProgress, Shadow
from eventstore.store import EventStore
from eventstore.subscriptions.reading import Window, read_window
from eventstore.subscriptions.registry import Projection, SubscriptionRegistry, subscriptions
from tests.conftest import Database
from tests.integration.history import History, dispatch, sequence, store_of
from tests.integration.test_projections import contents
from views_readmodel import queries

INDEXES = """
SELECT tablename, indexname, replace(indexdef, schemaname, '') FROM pg_indexes
WHERE schemaname = 'readmodel' ORDER BY 1, 2
"""
TABLES = """
SELECT c.relname, c.relowner, c.reloptions, obj_description(c.oid) FROM pg_class c
WHERE c.relnamespace = 'readmodel'::regnamespace AND c.relkind = 'r' ORDER BY 1
"""
LEFT_OVER = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('readmodel_shadow', 'readmodel_old')"


# Somebody else's.
INSERT_PARKED = """
WITH parked AS (
    INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
    VALUES ('views.transfers', gen_random_uuid(), clock_timestamp() + interval '1 hour', clock_timestamp(), 'made up')
    RETURNING id
), behind AS (
    INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
    SELECT id, 'views.transfers', 1, clock_timestamp() FROM parked
)
SELECT id FROM parked
"""


def projection(id: str = "views.accounts") -> Projection:
    found = subscriptions.get(id)
    assert isinstance(found, Projection)
    return found


def rebuild_all(**options: Any) -> list[Rebuilt]:
    store = store_of()
    return [replay.rebuild(found, store=store, **options) for found in store.subscriptions.projections()]


def query(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, list(parameters))
        found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
    return found


@contextmanager
def elsewhere(work: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Does the work again and again in a thread of its own while the block runs; gives what it raised."""
    failures: list[BaseException] = []
    over = threading.Event()

    def run() -> None:
        try:
            while not over.is_set():
                work()
        except BaseException as failure:  # noqa: BLE001 - the test looks at it
            failures.append(failure)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join()


def positions_at_swaps(told: list[Progress]) -> set[int]:
    """What was built when it went about to swap: nobody waits for what could be done before."""
    return {progress.position for progress in told if progress.doing == "swapping"}


class Spy:
    """Stands in for a projection's handler."""

    def __init__(self, inner: Any, before: Callable[[RecordedEvent[Any]], None]) -> None:
        self._inner = inner
        self._before = before

    def project(self, events: Any, tables: Any) -> None:
        for event in events:
            self._before(event)
        self._inner.project(events, tables)


class Unheard(Event):
    """An event of a later version of the program."""

    text: str


def write_otherwise(name: str, *, stream_id: UUID, version: int) -> None:
    """Writes an event of this name to an account, such as this version of the program cannot read."""
    later = EventRegistry()
    later.event(name)(Unheard)
    unheard = NewEvent(
        event_id=new_id(),
        stream_type="account",
        stream_id=stream_id,
        version=version,
        data=Unheard(text="hello"),
        metadata=Metadata(actor="staff:carol", correlation_id=new_id()),
    )
    with transaction.atomic():
        append([unheard], registry=later, subscriptions=SubscriptionRegistry(), using="default")
    sequence()


def failing_on(*accounts: UUID) -> Projection:
    """The accounts' projection, which cannot open these accounts."""

    def refuse(recorded: RecordedEvent[Any]) -> None:
        if recorded.stream_id in accounts and isinstance(recorded.data, AccountOpened):
            raise ValueError("no such luck")

    healthy = projection()
    return replace(healthy, handler=Spy(healthy.handler, refuse))


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.parametrize("batch", [1, 7, 4_000])
def test_it_builds_what_live_handling_built_row_by_row_whatever_the_size_of_the_batch(batch: int) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    before = query(INDEXES), query(TABLES)
    for _ in range(2):
        rebuilt = rebuild_all(batch=batch)
        assert [done.parked_keys for done in rebuilt] == [0, 0, 0]
    assert contents() == live
    assert (query(INDEXES), [row[:2] + row[3:] for row in query(TABLES)]) == (
        before[0],
        [row[:2] + row[3:] for row in before[1]],
    )
    assert query(LEFT_OVER) == []
    assert not any("autovacuum" in str(row[2]) for row in query(TABLES))


@pytest.mark.usefixtures("fresh_database")
def test_it_builds_what_is_in_the_first_and_in_the_last_bucket() -> None:
    history = History()
    for bucket in (0, BUCKETS - 1):
        id = next(id for id in iter(new_id, None) if bucket_of(id) == bucket)
        history.customer("Alice", customer_id=id)
    history.write()
    replay.rebuild(projection("views.customers"), store=store_of())
    assert {row[0] for row in contents()["customer"]} == set(history.customers)


@pytest.mark.usefixtures("fresh_database")
def test_it_replays_an_empty_log() -> None:
    assert replay.plan(projection(), store=store_of()).seconds == 0.0
    assert [done.position for done in rebuild_all()] == [0, 0, 0]
    History().everything().write()
    dispatch()
    assert contents()["account"]


@pytest.mark.usefixtures("fresh_database")
def test_it_goes_on_live_from_where_the_replay_ended() -> None:
    history = History().everything().write()
    query("DELETE FROM eventstore_checkpoint")
    replay.rebuild(projection(), store=store_of())  # before anything was ever dispatched
    positions = dict(query("SELECT subscription, position FROM eventstore_checkpoint"))
    assert positions["views.accounts"] == max(positions.values())
    history.transfer(history.accounts[0], history.accounts[1], 1_00)
    history.write()
    dispatch()
    after = contents()
    rebuild_all()
    assert contents() == after


@pytest.mark.usefixtures("fresh_database")
def test_live_tables_that_were_lost_are_there_again_while_it_builds() -> None:
    History().everything().write()
    dispatch()
    live = contents()
    for table in projection().tables:
        query(f"DROP TABLE readmodel.{table}")

    def read(_: Progress) -> None:
        contents()

    replay.rebuild(projection(), store=store_of(), report=read)
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
def test_it_loses_nothing_that_is_written_while_it_builds_and_swaps() -> None:
    history = History().busy(accounts=20, transfers=300).write()
    dispatch()

    def go_on() -> None:
        history.transfer(history.accounts[0], history.accounts[1], 1)
        history.write()
        dispatch()

    with elsewhere(go_on) as failures:
        for _ in range(3):
            rebuild_all(batch=200)
    assert failures == []
    dispatch()
    live = contents()
    assert len(live["transfer"]) == len(history.transfers)
    rebuild_all()
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.parametrize("most_in_the_swap", [1_000, 3])
def test_a_swap_shows_nothing_older_than_what_it_replaces(
    monkeypatch: pytest.MonkeyPatch, most_in_the_swap: int
) -> None:
    monkeypatch.setattr(replay, "LAST_BATCH", most_in_the_swap)
    history = History().everything().write()
    dispatch()
    before = contents()["account"]
    tries: list[int] = []

    def go_on(progress: Progress) -> None:
        if progress.doing != "swapping":
            return
        tries.append(progress.position)
        assert len(tries) < 9  # what is too much for a swap is built before the next
        if len(tries) <= 2:  # all that was written until now is built
            history.transfer(history.accounts[0], history.accounts[1], 1_00)
            history.write()
            dispatch()

    replay.rebuild(projection(), store=store_of(), report=go_on)
    shown = contents()
    assert shown["account"] != before
    dispatch()
    assert contents() == shown


def test_nobody_advances_the_live_projection_while_its_tables_are_swapped(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    History().everything().write()
    dispatch()
    free: list[tuple[Any, ...]] = []
    replace_parked = replay._replace_parked

    def look(cursor: Any, built: Shadow) -> None:
        with psycopg.connect(fresh_database.app_url) as other:
            live = "SELECT 1 FROM eventstore_checkpoint WHERE subscription = 'views.accounts' FOR UPDATE SKIP LOCKED"
            free.extend(other.execute(live).fetchall())
        replace_parked(cursor, built)

    monkeypatch.setattr(replay, "_replace_parked", look)
    replay.rebuild(projection(), store=store_of())
    assert free == []


def test_a_swap_waits_for_nobody_but_its_own_projection(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    History().everything().write()
    dispatch()
    query(INSERT_PARKED)
    monkeypatch.setattr(replay, "SWAP_PATIENCE_SECONDS", 0.0)
    with psycopg.connect(fresh_database.app_url) as worker:
        worker.execute("SELECT 1 FROM eventstore_checkpoint WHERE subscription <> 'views.accounts' FOR UPDATE")
        worker.execute("SELECT 1 FROM eventstore_parked_key FOR UPDATE")
        replay.rebuild(projection(), store=store_of())


def test_a_swap_does_not_wait_for_ever_for_a_worker_in_the_middle_of_a_batch(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    History().everything().write()
    dispatch()
    monkeypatch.setattr(replay, "ADVANCE_WAIT_MS", 50)
    monkeypatch.setattr(replay, "SWAP_PATIENCE_SECONDS", 0.0)
    with psycopg.connect(fresh_database.app_url) as worker:
        worker.execute("SELECT 1 FROM eventstore_checkpoint WHERE subscription = 'views.accounts' FOR UPDATE")
        with pytest.raises(replay.SwapHeldUp):
            replay.rebuild(projection(), store=store_of())


@pytest.mark.usefixtures("fresh_database")
def test_a_swap_that_fails_for_want_of_the_database_is_not_told_as_one_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    History().everything().write()
    dispatch()
    live = contents()

    def fail(*_: Any) -> None:
        query("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '53100'; END $$")

    with monkeypatch.context() as patched:
        patched.setattr(replay, "_replace_parked", fail)
        patched.setattr(replay, "SWAP_PATIENCE_SECONDS", 0.0)
        with pytest.raises(OperationalError, match="made up"):
            replay.rebuild(projection(), store=store_of())
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
def test_it_leaves_its_connection_as_patient_as_it_was() -> None:
    ((before,),) = query("SHOW lock_timeout")
    replay.rebuild(projection(), store=store_of())
    assert query("SHOW lock_timeout") == [(before,)]


@pytest.mark.usefixtures("fresh_database")
def test_a_replay_ends_what_held_the_live_projection() -> None:
    History().everything().write()
    query(
        """
        UPDATE eventstore_checkpoint
        SET attempts = 3, careful_until = 9, held_until = clock_timestamp() + interval '1 hour', held_reason = 'made up'
        """
    )
    replay.rebuild(projection(), store=store_of())
    held = "SELECT attempts, careful_until, held_until, held_reason FROM eventstore_checkpoint WHERE subscription = %s"
    assert query(held, "views.accounts") == [(0, None, None, "")]


@pytest.mark.usefixtures("fresh_database")
def test_readers_see_no_error_no_gap_and_nothing_older_while_tables_are_swapped() -> None:
    history = History().busy(accounts=10, transfers=100).write()
    dispatch()
    hot = history.accounts[0]
    last = {"version": 0, "reads": 0}

    def read() -> None:
        found = queries.account(account_id=hot)
        assert found is not None
        assert found.version >= last["version"]
        newest = queries.entries(account_id=hot, limit=1)[0]
        assert newest.version >= found.version
        assert len(queries.transfers(account_id=hot, limit=200)) >= 10
        last.update(version=found.version, reads=last["reads"] + 1)

    def write() -> None:
        history.deposit(hot, 1)
        history.write()
        dispatch()

    with elsewhere(read) as reading, elsewhere(write) as writing:
        for _ in range(5):
            rebuild_all()
    assert (reading, writing) == ([], [])
    assert last["reads"] > 5


@pytest.mark.usefixtures("fresh_database")
def test_it_goes_on_where_it_was_interrupted() -> None:
    history = History().busy(accounts=10, transfers=100).write()
    dispatch()
    live = contents()

    def interrupt(progress: Progress) -> None:
        if progress.position >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay.rebuild(projection(), store=store_of(), batch=100, report=interrupt)
    assert contents() == live
    history.deposit(history.accounts[0], 5)
    history.write()
    resumed = replay.rebuild(projection(), store=store_of(), batch=100)
    assert resumed.resumed_from == 200
    dispatch()
    after = contents()
    assert replay.rebuild(projection(), store=store_of()).resumed_from == 0
    assert contents() == after


@pytest.mark.usefixtures("fresh_database")
def test_it_begins_anew_when_asked_to_or_when_the_tables_are_made_otherwise_by_now() -> None:
    History().busy(accounts=10, transfers=100).write()

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            replay.rebuild(projection(), store=store_of(), batch=100, report=interrupt, restart=True)
    position, running = shadow.progress_of(projection(), using="default") or (0, True)
    assert (position, running) == (100, False)
    today = projection()
    changed = replace(
        today, version=today.version + 1, ddl=today.ddl.replace("reverses uuid", "reverses uuid, more text")
    )
    assert replay.plan(changed, store=store_of(changed)).position == 0
    assert replay.rebuild(changed, store=store_of(changed)).resumed_from == 0


@pytest.mark.usefixtures("fresh_database")
def test_it_takes_over_from_a_process_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    monkeypatch.setattr(shadow, "LEASE_SECONDS", 0.3)
    killed = Shadow(projection(), using="default")
    killed.claim()
    replay.rebuild(projection(), store=store_of())
    assert contents() == live
    with pytest.raises(ReplayInProgress, match="finished"), killed.transaction() as cursor:
        killed.lock(cursor)


@pytest.mark.usefixtures("fresh_database")
def test_a_lease_from_before_the_clock_was_set_back_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    Shadow(projection(), using="default").claim()
    query("UPDATE eventstore_checkpoint SET held_until = held_until + interval '1 hour' WHERE status = 'replaying'")
    assert shadow.progress_of(projection(), using="default") == (0, False)

    def wait(_: float) -> None:
        raise AssertionError("it waits")

    monkeypatch.setattr(shadow, "time", SimpleNamespace(sleep=wait))
    replay.rebuild(projection(), store=store_of())
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
def test_it_gives_back_its_lease_whatever_it_fails_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: Any, **__: Any) -> None:
        raise OperationalError("gone")

    for part in ("unwanted_names", "_live_versions", "_drop_replaced"):
        with monkeypatch.context() as patched:
            patched.setattr(replay, part, lose)
            with pytest.raises(OperationalError, match="gone"):
                replay.rebuild(projection(), store=store_of())
        assert shadow.progress_of(projection(), using="default") == (0, False), part


@pytest.mark.usefixtures("fresh_database")
def test_who_was_taken_for_dead_builds_no_further_beside_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    History().everything().write()
    monkeypatch.setattr(shadow, "LEASE_SECONDS", 0.1)
    slow, other = Shadow(projection(), using="default"), Shadow(projection(), using="default")
    slow.claim()
    with slow.transaction() as cursor:
        slow.move(cursor, 7)
    monkeypatch.setattr(shadow, "LEASE_SECONDS", 60.0)
    assert other.claim() == 7
    with pytest.raises(ReplayInProgress, match="taken over"), slow.transaction() as cursor:
        slow.lock(cursor)
    slow.release()  # what is not its own any more
    assert shadow.progress_of(projection(), using="default") == (7, True)
    with other.transaction() as cursor:
        other.lock(cursor)


@pytest.mark.usefixtures("fresh_database")
def test_who_comes_in_the_middle_of_another_s_batch_sees_what_comes_of_it() -> None:
    History().everything().write()
    first = Shadow(projection(), using="default")
    first.claim()
    first.release()

    def claim() -> int:
        try:
            return Shadow(projection(), using="default").claim()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with first.transaction() as cursor:
            position = first.lock(cursor)
            claimed = pool.submit(claim)
            assert wait_until(lambda: bool(query("SELECT 1 FROM pg_locks WHERE NOT granted")), timeout_seconds=30)
            first.move(cursor, position)
        while not claimed.done():
            with first.transaction() as cursor:
                first.move(cursor, first.lock(cursor))
    with pytest.raises(ReplayInProgress, match="by another process"):
        claimed.result()


@pytest.mark.usefixtures("fresh_database")
def test_it_sees_what_others_commit_whatever_the_server_s_default_is() -> None:
    query("SET default_transaction_isolation = 'repeatable read'")
    with Shadow(projection(), using="default").transaction():
        assert query("SHOW transaction_isolation") == [("read committed",)]


@pytest.mark.usefixtures("fresh_database")
def test_it_is_refused_while_another_process_replays_the_same_projection() -> None:
    History().everything().write()
    other = Shadow(projection(), using="default")
    position = other.claim()

    def renew() -> None:
        with other.transaction() as cursor:
            other.move(cursor, other.lock(cursor))
        time.sleep(0.01)

    with elsewhere(renew) as failures:
        with pytest.raises(ReplayInProgress, match="by another process"):
            replay.rebuild(projection(), store=store_of())
        replay.rebuild(projection("views.transfers"), store=store_of())  # another one may
        planned = replay.plan(projection(), store=store_of())
        assert (planned.running, planned.seconds) == (True, None)
    assert failures == []
    assert position == 0
    other.release()
    replay.rebuild(projection(), store=store_of())


@pytest.mark.usefixtures("fresh_database")
def test_what_cannot_be_handled_is_parked_and_everything_else_is_built() -> None:
    history = History().everything().write()
    household = history.accounts[0]
    broken = failing_on(household)
    told: list[Progress] = []
    rebuilt = replay.rebuild(broken, store=store_of(broken), report=told.append)
    assert rebuilt.parked_keys == 1
    assert positions_at_swaps(told) == {rebuilt.position}
    assert household not in [row[0] for row in contents()["account"]]
    assert len(contents()["account"]) == 2
    parked = query("SELECT subscription, key, error FROM eventstore_parked_key")
    assert parked == [("views.accounts", household, "ValueError: no such luck")]
    assert query("SELECT count(*) FROM eventstore_parked_event WHERE subscription = 'views.accounts'") == [
        (history.versions[household],)
    ]
    # The live projection retries it like any other, in order.
    with connection.cursor() as cursor:
        cursor.execute("UPDATE eventstore_parked_key SET next_attempt_at = now()")
    dispatch()
    assert query("SELECT 1 FROM eventstore_parked_key") == []
    after = contents()
    assert household in [row[0] for row in after["account"]]
    rebuild_all()
    assert contents() == after


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_nothing_is_parked_for_what_stands_beside_it(batch: int) -> None:
    history = History().everything().write()
    broken = failing_on(history.accounts[1])
    assert replay.rebuild(broken, store=store_of(broken), batch=batch).parked_keys == 1
    assert query("SELECT key FROM eventstore_parked_key") == [(history.accounts[1],)]


@pytest.mark.usefixtures("fresh_database")
def test_what_cannot_even_be_read_is_parked() -> None:
    History().everything().write()
    dispatch()
    live = contents()
    write_otherwise("AccountOpened", stream_id=new_id(), version=1)
    assert replay.rebuild(projection(), store=store_of()).parked_keys == 1
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
def test_a_replay_that_succeeds_frees_what_the_live_projection_had_parked() -> None:
    history = History().everything().write()
    broken = failing_on(history.accounts[0])
    dispatch(broken)
    assert query("SELECT count(*) FROM eventstore_parked_key") == [(1,)]
    assert replay.rebuild(projection(), store=store_of()).parked_keys == 0
    assert query(
        "SELECT (SELECT count(*) FROM eventstore_parked_key), (SELECT count(*) FROM eventstore_parked_event)"
    ) == [(0, 0)]


@pytest.mark.usefixtures("fresh_database")
def test_a_projection_that_can_handle_next_to_nothing_never_becomes_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PARKED_LIMIT", 3)
    history = History().busy(accounts=10, transfers=10).write()
    dispatch()
    live = contents()
    broken = failing_on(*history.accounts)
    with pytest.raises(replay.TooManyFailures, match="no such luck"):
        replay.rebuild(broken, store=store_of(broken))
    assert contents() == live
    assert replay.rebuild(projection(), store=store_of(), restart=True).parked_keys == 0
    as_many_as_may_be = failing_on(*history.accounts[:3])
    assert replay.rebuild(as_many_as_may_be, store=store_of(as_many_as_may_be)).parked_keys == 3


def raising(state: str, *, times: int) -> Projection:
    """The accounts' projection, which the database fails so many times."""
    left = iter(range(times))

    def fail(_: RecordedEvent[Any]) -> None:
        if next(left, None) is not None:
            query(f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$")

    healthy = projection()
    return replace(healthy, handler=Spy(healthy.handler, fail))


@pytest.mark.usefixtures("fresh_database")
def test_a_batch_that_loses_a_race_is_begun_anew() -> None:
    History().everything().write()
    dispatch()
    live = contents()
    told: list[Progress] = []
    rebuilt = replay.rebuild(raising("40P01", times=2), store=store_of(), report=told.append)
    assert rebuilt.parked_keys == 0
    assert positions_at_swaps(told) == {rebuilt.position}
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
@pytest.mark.parametrize("state", ["53100", "25006", "42501", "42P01", "3F000"])
def test_what_is_not_an_event_s_fault_ends_the_replay_and_parks_nothing(state: str) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    with pytest.raises(DatabaseError, match="made up"):
        replay.rebuild(raising(state, times=99), store=store_of())
    assert contents() == live
    assert query("SELECT 1 FROM eventstore_parked_key") == []
    assert replay.rebuild(projection(), store=store_of()).parked_keys == 0  # whoever failed has let it go


@pytest.mark.usefixtures("fresh_database")
def test_a_replay_changes_nothing_of_another_projection() -> None:
    History().everything().write()
    dispatch()
    other = Shadow(projection("views.customers"), using="default")
    other.claim()
    query(INSERT_PARKED)
    of_others = (
        "SELECT * FROM eventstore_checkpoint WHERE subscription NOT LIKE 'views.accounts%%' ORDER BY id",
        "SELECT * FROM eventstore_parked_key ORDER BY id",
        "SELECT * FROM eventstore_parked_event ORDER BY id",
    )
    before = [query(statement) for statement in of_others]
    assert replay.rebuild(projection(), store=store_of()).parked_keys == 0
    assert [query(statement) for statement in of_others] == before
    other.release()


@pytest.mark.usefixtures("fresh_database")
def test_a_batch_that_takes_long_has_smaller_ones_follow_and_quick_ones_larger_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    History().busy(accounts=10, transfers=20).write()
    took, now = iter([1.5, 1.0, 0.5, 1.5, 1.5, 1.5, 0.4, 0.4, 0.4, 0.4]), [100.0]

    def read(*about: Any, **more: Any) -> Window:
        now[0] += next(took, 0.0)
        return read_window(*about, **more)

    monkeypatch.setattr(replay, "read_window", read)
    monkeypatch.setattr(replay, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told: list[int] = []
    done = replay.rebuild(
        projection(), store=store_of(), batch=8, report=lambda progress: told.append(progress.position)
    )
    assert done.seconds == pytest.approx(9.1)
    sizes = [after - before for before, after in itertools.pairwise([0, *told])]
    assert sizes[:11] == [8, 4, 4, 4, 2, 1, 1, 2, 4, 8, 8]


class Clock:
    """Two seconds go by between each look and the next."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    def perf_counter(self) -> float:
        """The time."""
        return 2.0 * next(self._looks)


@pytest.mark.usefixtures("fresh_database")
def test_a_plan_estimates_from_a_sample_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    History().busy(accounts=10, transfers=100).write()
    dispatch()
    ((head,),) = query("SELECT max(position) FROM eventstore_log")
    monkeypatch.setattr(replay, "SAMPLE", 20)

    def planned() -> tuple[Any, ...]:
        with monkeypatch.context() as patched:
            patched.setattr(replay, "time", Clock())
            plan = replay.plan(projection(), store=store_of())
        return plan.position, plan.running, plan.head, plan.seconds

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    assert planned() == (0, False, head, pytest.approx(head * 2 / 20))
    assert query(LEFT_OVER) == []
    with pytest.raises(KeyboardInterrupt):
        replay.rebuild(projection(), store=store_of(), batch=100, report=interrupt)
    built = query("SELECT * FROM readmodel_shadow.account ORDER BY 1")
    assert planned() == (100, False, head, pytest.approx((head - 100) * 2 / 20))
    monkeypatch.setattr(replay, "SAMPLE", head)
    assert planned() == (100, False, head, pytest.approx(2))
    assert query("SELECT * FROM readmodel_shadow.account ORDER BY 1") == built


@pytest.mark.usefixtures("fresh_database")
def test_a_plan_estimates_what_the_handler_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    History().everything().write()
    handled: list[UUID] = []  # a second for each
    today = projection()
    slow = replace(today, handler=Spy(today.handler, lambda recorded: handled.append(recorded.event_id)))
    monkeypatch.setattr(replay, "time", SimpleNamespace(perf_counter=lambda: float(len(handled))))
    assert replay.plan(slow, store=store_of(slow)).seconds == pytest.approx(len(handled))
    assert handled


@pytest.mark.usefixtures("fresh_database")
def test_it_tells_how_far_it_has_come_and_what_it_is_at() -> None:
    History().everything().write()
    dispatch()
    ((head,),) = query("SELECT max(position) FROM eventstore_log")
    told: list[Progress] = []
    replay.rebuild(projection(), store=store_of(), batch=head - 1, report=told.append)
    assert [(progress.doing, progress.position, progress.head) for progress in told] == [
        ("building", head - 1, head),
        ("building", head, head),
        ("swapping", head, head),
        ("live", head, head),
    ]


def look_before_the_swap(look: Callable[[], Any]) -> Any:
    """What is seen when the accounts' tables are built and not yet swapped; the lease has run out before they are."""
    seen: list[Any] = []

    def told(progress: Progress) -> None:
        if progress.doing == "building":
            query("UPDATE eventstore_checkpoint SET held_until = clock_timestamp() WHERE status = 'replaying'")
        elif progress.doing == "swapping":
            seen.append(look())

    replay.rebuild(projection(), store=store_of(), report=told)
    (found,) = seen
    return found


@pytest.mark.usefixtures("fresh_database")
def test_the_planner_knows_the_new_tables_before_anybody_reads_them() -> None:
    History().everything().write()
    known = "SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'readmodel_shadow' ORDER BY 1"
    assert look_before_the_swap(lambda: query(known)) == [(table,) for table in sorted(projection().tables)]


@pytest.mark.usefixtures("fresh_database")
def test_no_vacuum_holds_up_the_swap() -> None:
    History().everything().write()
    unvacuumed = """
        SELECT relname FROM pg_class WHERE relnamespace = 'readmodel_shadow'::regnamespace
        AND 'autovacuum_enabled=false' = ANY(reloptions) ORDER BY 1
    """
    assert look_before_the_swap(lambda: query(unvacuumed)) == [(table,) for table in sorted(projection().tables)]


@pytest.mark.usefixtures("fresh_database")
def test_it_keeps_its_lease_while_the_new_tables_are_analyzed() -> None:
    History().everything().write()
    ((head,),) = query("SELECT max(position) FROM eventstore_log")
    assert look_before_the_swap(lambda: shadow.progress_of(projection(), using="default")) == (head, True)


@pytest.mark.usefixtures("fresh_database")
def test_it_stops_at_an_event_that_no_code_knows_and_leaves_the_live_tables_alone() -> None:
    history = History().everything().write()
    dispatch()
    live = contents()
    account = history.accounts[0]
    write_otherwise("UnheardOf", stream_id=account, version=history.versions[account] + 1)
    with pytest.raises(UnknownEventType, match="UnheardOf"):
        replay.rebuild(projection(), store=store_of())
    assert contents() == live
    assert query("SELECT 1 FROM eventstore_parked_key") == []


def widened() -> Projection:
    """The customers' projection in the next version, with another column."""
    today = projection("views.customers")
    return replace(
        today, version=today.version + 1, ddl=today.ddl.replace("reference text,", "reference text,\n    note text,")
    )


@pytest.mark.usefixtures("fresh_database")
def test_a_changed_projection_is_rebuilt_beside_the_old_one_which_stands_still_meanwhile() -> None:
    history = History().everything().write()
    dispatch()
    assert replay.changed_projections(store=store_of()) == []
    wide = widened()
    store = store_of(wide)
    assert replay.changed_projections(store=store) == [wide]
    history.customer("Carol")
    history.write()
    dispatch(wide)
    assert len(contents()["customer"]) == 2  # not by code that is made for other tables
    replay.rebuild(wide, store=store)
    assert query("SELECT count(*), count(note) FROM readmodel.customer") == [(3, 0)]
    assert replay.changed_projections(store=store) == []
    assert replay.changed_projections(store=store_of()) == []  # an older program does not take them back unasked
    history.customer("Dave")
    history.write()
    dispatch()
    assert query("SELECT count(*) FROM readmodel.customer") == [(3,)]
    dispatch(wide)
    assert query("SELECT count(*) FROM readmodel.customer") == [(4,)]
    replay.rebuild(projection("views.customers"), store=store_of())  # asked, it does
    assert len(contents()["customer"]) == 4


@pytest.mark.usefixtures("fresh_database")
def test_what_was_no_projection_before_is_rebuilt_as_one() -> None:
    History().everything().write()
    dispatch()
    live = contents()
    query("UPDATE eventstore_checkpoint SET projection_version = NULL WHERE subscription = 'views.customers'")
    customers = projection("views.customers")
    assert replay.changed_projections(store=store_of()) == [customers]
    replay.rebuild(customers, store=store_of())
    assert replay.changed_projections(store=store_of()) == []
    assert contents() == live


@pytest.mark.usefixtures("fresh_database")
def test_a_program_that_is_overtaken_by_a_newer_one_does_not_swap() -> None:
    History().everything().write()
    dispatch()
    narrow = projection("views.customers")

    def overtake(progress: Progress) -> None:
        if progress.doing == "swapping":
            with connection.cursor() as cursor:
                cursor.execute("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE status = 'running'")

    with pytest.raises(replay.LiveVersionChanged, match="version 7"):
        replay.rebuild(narrow, store=store_of(), report=overtake)
    assert len(contents()["customer"]) == 2


@pytest.mark.usefixtures("fresh_database")
def test_a_table_that_a_new_version_does_without_goes_with_the_old_one() -> None:
    History().everything().write()
    dispatch()
    today = projection()
    both = replace(
        today,
        version=today.version + 1,
        ddl=today.ddl + "CREATE TABLE extra (id uuid PRIMARY KEY);",
        tables=(*today.tables, "extra"),
    )
    replay.rebuild(both, store=store_of(both))
    assert query("SELECT count(*) FROM readmodel.extra") == [(0,)]
    third = replace(today, version=today.version + 2)
    replay.rebuild(third, store=store_of(third))
    assert query("SELECT to_regclass('readmodel.extra')") == [(None,)]
    assert query(LEFT_OVER) == []


def test_a_reader_that_holds_on_delays_the_swap_and_is_not_disturbed(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    History().everything().write()
    dispatch()
    monkeypatch.setattr(replay, "SWAP_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(replay, "ADVANCE_WAIT_MS", 60_000)  # for which no reader waits
    with psycopg.connect(fresh_database.app_url) as reader:
        reader.execute("SELECT count(*) FROM readmodel.account")
        with pytest.raises(replay.SwapHeldUp, match="run this again"):
            replay.rebuild(projection(), store=store_of())
        reader.execute("SELECT count(*) FROM readmodel.account")
        assert queries.accounts(limit=1)  # others read as well
    resumed = replay.rebuild(projection(), store=store_of())
    assert resumed.resumed_from == resumed.position


def test_a_swap_waits_until_a_reader_lets_go(fresh_database: Database) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    with psycopg.connect(fresh_database.app_url) as reader:
        reader.execute("SELECT count(*) FROM readmodel.account")
        swaps = itertools.count(1)

        def let_go(progress: Progress) -> None:
            if progress.doing == "swapping" and next(swaps) == 2:
                reader.commit()

        replay.rebuild(projection(), store=store_of(), report=let_go)
    assert next(swaps) > 2
    assert contents() == live


def test_replaced_tables_that_could_not_be_dropped_are_dropped_by_the_next_replay(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    History().everything().write()
    dispatch()
    live = contents()
    monkeypatch.setattr(replay, "ADVANCE_WAIT_MS", 50)
    monkeypatch.setattr(replay, "SWAP_PATIENCE_SECONDS", 0.1)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE readmodel_old.account (id int)")
        cursor.execute("COMMENT ON TABLE readmodel_old.account IS 'views.accounts 1:0'")
    with psycopg.connect(fresh_database.app_url) as dump:
        dump.execute("SELECT count(*) FROM readmodel_old.account")
        with pytest.raises(replay.SwapHeldUp):
            replay.rebuild(projection(), store=store_of())
        assert contents() == live
    room_for_new_ones: list[bool] = []

    def look(progress: Progress) -> None:
        if progress.doing == "building":
            room_for_new_ones.append(("readmodel_old", "account") not in query(LEFT_OVER))

    replay.rebuild(projection(), store=store_of(), report=look)
    assert room_for_new_ones == [True]
    assert contents() == live
    assert query(LEFT_OVER) == []


@pytest.mark.usefixtures("fresh_database")
def test_it_holds_no_more_in_memory_for_a_longer_log() -> None:
    History().busy(accounts=200, transfers=10_000).write()  # 50,000 events and more
    held: list[int] = []
    before = sys.getallocatedblocks()
    replay.rebuild(
        projection(), store=store_of(), batch=1_000, report=lambda _: held.append(sys.getallocatedblocks() - before)
    )
    assert len(held) > 50
    # All events of the log at once would be more than a million.
    assert max(held) < 100_000


def test_only_projections_are_replayed() -> None:
    store = EventStore()
    assert replay.find_projections(["views.accounts"], store=store) == [projection()]
    assert len(replay.find_projections([], store=store)) == 3
    with pytest.raises(LookupError, match=r"accounts\.saga is not a projection"):
        replay.find_projections(["accounts.saga"], store=store)
    with pytest.raises(LookupError, match=r"views\.nothing is unknown; the projections are views\.accounts"):
        replay.find_projections(["views.nothing"], store=store)
