"""The event store's commands: what an operator reads, what is recorded, and one clear line for each refusal."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connections
from msgspec.structs import replace

from config.processes import wait_until
from config.staff.models import StaffMember
from eventstore import inspection, operations, wakeup
from eventstore.appending import lock_key
from eventstore.buckets import bucket_of
from eventstore.dispatch import drain
from eventstore.ids import new_id
from eventstore.management.commands import dispatch
from eventstore.management.operating import duration
from eventstore.registry import EventRegistry
from eventstore.sealing import ERASED, erase
from eventstore.seals import sealer
from eventstore.store import EventStore
from eventstore.subscriptions import parking
from eventstore.subscriptions.registry import SubscriptionRegistry
from tests.conftest import Database
from tests.integration.shops import POISON, Shop, note, notes, parked, rows, value, watching
from tests.shopping_cart import facts
from tests.shopping_cart.handlers import SUBSCRIPTIONS

pytestmark = pytest.mark.usefixtures("shop_database")

ROOT: Final = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS: Final = 30.0
SELECT_OPERATIONS: Final = """
SELECT actor, action, subscription, detail ->> 'reason' FROM eventstore_operation ORDER BY id
"""
ME: Final = f"os:{getpass.getuser()}"


def run(shop: Shop, *arguments: str) -> str:
    """What the command prints. Raises CommandError."""
    out = StringIO()
    call_command(*arguments, store=shop.store, stdout=out, stderr=out)
    return out.getvalue()


def documents(shop: Shop, *arguments: str) -> list[dict[str, Any]]:
    """What the command prints as JSON, a document a line."""
    return [json.loads(line) for line in run(shop, *arguments, "--json").splitlines()]


def choking() -> tuple[Shop, set[str]]:
    """A shop whose watcher chokes on these skus."""
    skus = {POISON}

    def note_or_choke(recorded: Any) -> None:
        if recorded.data.sku in skus:
            raise ArithmeticError(f"cannot digest {recorded.data.sku}")
        note(recorded)

    return Shop(watching(note_or_choke)), skus


def olga_works_here() -> None:
    """Makes the member who is named with --as."""
    StaffMember.objects.update_or_create(username="olga", defaults={"is_active": True})


class Terminal(StringIO):
    """Where a person looks."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def shown(shop: Shop, monkeypatch: pytest.MonkeyPatch, columns: int, *arguments: str) -> str:
    """What a terminal of so many columns is given."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")  # without them, rich takes every dumb terminal to be 80 columns wide
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    call_command(*arguments, store=shop.store, stdout=terminal)
    return terminal.getvalue()


def an_order_that_cannot_be_picked() -> tuple[Shop, UUID]:
    """A cart whose order is parked: what it names as a warehouse is another cart."""
    shop = Shop(SUBSCRIPTIONS)
    cart_id = shop.order(shop.open())
    shop.drain()
    assert [key for _, key, _ in parked()] == [cart_id]
    return shop, cart_id


def one_in_each_half() -> tuple[UUID, UUID]:
    """Ids for carts, one in the lower half of the buckets and one in the upper."""
    low, high = (next(id for id in iter(new_id, None) if bucket_of(id) // 128 == half) for half in (0, 1))
    return low, high


def once_it_waits(app: psycopg.Connection, statement: str, work: Callable[[], str]) -> Future[str]:
    """Does the work beside a transaction that has done the statement, and commits when somebody waits for it."""

    def do() -> str:
        try:
            return work()
        finally:
            connections.close_all()

    def somebody_waits() -> bool:
        return bool(app.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone())

    with ThreadPoolExecutor(1) as pool, app.transaction():
        app.execute(statement)
        done = pool.submit(do)
        assert wait_until(somebody_waits, timeout_seconds=PATIENCE_SECONDS)
    return done


# --- dispatch -----------------------------------------------------------------------------------------------


class TestDispatch:
    """`dispatch` does what the workers do."""

    def test_it_ends_when_nothing_is_left_and_says_how_far_it_came(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        carts = [shop.order(new_id()) for _ in range(3)]
        told = run(shop, "dispatch", "--until-empty")
        assert told == "Nothing is left: 15 events sequenced, the log is at position 15.\n"
        assert {shop.status(cart) for cart in carts} == {"picked"}
        assert run(shop, "dispatch", "--until-empty").startswith("Nothing is left: 0 events sequenced")

    def test_it_says_what_is_left_for_a_person(self) -> None:
        shop, _ = choking()
        shop.add(shop.open(), POISON)
        assert run(shop, "dispatch", "--until-empty").endswith(" 1 parked: see `parked list`.\n")
        operations.pause("watcher", actor="o", reason="test")
        shop.add(shop.open(), "a")
        assert "Paused and behind: watcher." in run(shop, "dispatch", "--until-empty")

    def test_it_says_who_waits_for_a_replay(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.drain()
        rows("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE subscription = 'shop.carts'")
        shop.open()
        assert "Waiting for a replay: shop.carts." in run(shop, "dispatch", "--until-empty")

    def test_it_waits_for_what_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failures = iter(["40P01"])

        def fail_once(recorded: Any) -> None:
            note(recorded)
            for state in failures:
                rows(f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{state}'; END $$")

        monkeypatch.setattr("eventstore.subscriptions.runner.RACES", 1)
        monkeypatch.setattr("eventstore.subscriptions.runner.HOLD_SECONDS", 0.1)
        shop = Shop(watching(fail_once))
        shop.add(shop.open(), "a")
        run(shop, "dispatch", "--until-empty")
        assert notes() == ["a"]

    def test_it_fails_with_the_reason_when_something_stays_held(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dispatch, "HELD_SECONDS", 0.0)
        shop = Shop(watching(note))
        shop.add(shop.open(), "a")
        fewer = EventRegistry()
        fewer.event("ItemAdded", schema_version=2, upcasters={1: dict})(facts.ItemAdded)
        shop.store = EventStore(registry=fewer, subscriptions=shop.store.subscriptions)
        with pytest.raises(CommandError, match=r"^watcher is held at position 0: .*CartOpened"):
            run(shop, "dispatch", "--until-empty")

    def test_a_hold_that_ends_while_it_looks_is_not_taken_for_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shop = Shop(watching(note))
        shop.add(shop.open(), "a")
        fewer = EventRegistry()
        fewer.event("ItemAdded", schema_version=2, upcasters={1: dict})(facts.ItemAdded)
        known, shop.store = shop.store, EventStore(registry=fewer, subscriptions=shop.store.subscriptions)

        def drain_and_be_let_go(**options: Any) -> bool:
            is_empty = drain(**options)
            rows("UPDATE eventstore_checkpoint SET held_until = clock_timestamp()")
            return is_empty

        monkeypatch.setattr(dispatch, "HELD_SECONDS", 0.0)
        monkeypatch.setattr(dispatch, "drain", drain_and_be_let_go)
        with pytest.raises(CommandError, match=r"^watcher is held at position 0: .*CartOpened"):
            run(shop, "dispatch", "--until-empty")
        shop.store = known
        assert run(shop, "dispatch", "--until-empty").startswith("Nothing is left: ")
        assert notes() == ["a"]

    def test_what_is_written_while_it_looks_is_dispatched_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shop, late = Shop(watching(note)), iter("ab")

        def drain_and_shop(**options: Any) -> bool:
            is_empty = drain(**options)
            for sku in late:
                shop.add(shop.open(), sku)
                break
            return is_empty

        monkeypatch.setattr(dispatch, "POLL_SECONDS", 0.0)
        monkeypatch.setattr(dispatch, "drain", drain_and_shop)
        assert run(shop, "dispatch", "--until-empty").startswith("Nothing is left: 4 events sequenced")
        assert notes() == ["a", "b"]

    def test_it_does_not_wait_for_ever_for_what_nobody_comes_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shop = Shop(watching(note))
        shop.add(shop.open(), "a")
        monkeypatch.setattr(dispatch, "HELD_SECONDS", 0.0)
        monkeypatch.setattr(dispatch, "drain", lambda **_: True)
        with pytest.raises(CommandError, match=r"^2 events left, and no fewer for 0 s\.$"):
            run(shop, "dispatch", "--until-empty")

    def test_what_waits_for_a_locked_stream_is_not_taken_for_nothing(
        self, app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop, stuck = Shop(SUBSCRIPTIONS), new_id()
        cart_id = shop.order(stuck)
        with app.transaction(), monkeypatch.context() as patch:
            app.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(stuck)])
            patch.setattr(dispatch, "HELD_SECONDS", 0.0)
            with pytest.raises(CommandError, match=r"waits for a stream that another transaction has locked: 1 left$"):
                run(shop, "dispatch", "--until-empty")
        assert run(shop, "dispatch", "--until-empty").startswith("Nothing is left: ")
        assert shop.status(cart_id) == "picked"

    def test_it_goes_on_until_it_is_told_to_stop(self, shop_database: Database) -> None:
        process = _start(shop_database, "dispatch")
        try:
            assert wait_until(
                lambda: value("SELECT count(*) FROM eventstore_checkpoint") > 0, timeout_seconds=PATIENCE_SECONDS
            )
            Shop().open()
            assert wait_until(
                lambda: value("SELECT count(*) FROM eventstore_log") == 1, timeout_seconds=PATIENCE_SECONDS
            )
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
        assert process.returncode == 0, err
        assert out.splitlines() == ["Dispatching; Ctrl-C stops.", "Stopped after 1 event; the log is at position 1."]

    def test_it_survives_a_database_that_throws_it_out(
        self, shop_database: Database, superuser: psycopg.Connection
    ) -> None:
        process = _start(shop_database, "dispatch")
        assert process.stdout is not None
        assert process.stdout.readline() == "Dispatching; Ctrl-C stops.\n"
        throw_out = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'dispatcher' AND datname = current_database()
        """
        try:
            thrown_out = partial(superuser.execute, throw_out)
            assert wait_until(lambda: bool(thrown_out().fetchall()), timeout_seconds=PATIENCE_SECONDS)
            Shop().open()
            assert wait_until(
                lambda: value("SELECT count(*) FROM eventstore_log") == 1, timeout_seconds=PATIENCE_SECONDS
            )
        finally:
            process.terminate()
            _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, err


def _start(database: Database, *arguments: str, log_level: str = "ERROR") -> subprocess.Popen[str]:
    environment = {**database.environment, "PGAPPNAME": "dispatcher", "LOG_LEVEL": log_level}
    return subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


# --- events -------------------------------------------------------------------------------------------------


class TestEvents:
    """`events` reads the store."""

    def test_it_shows_a_stream_by_its_id_or_with_its_type(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        shop.add(cart_id, "tea")
        shop.drain()
        shop.add(cart_id, "cup")
        told = run(shop, "events", "show", str(cart_id))
        assert told == run(shop, "events", "show", f"cart/{cart_id}")
        lines = told.splitlines()
        assert len(lines) == 4
        assert lines[2].split()[:1] == ["2"]
        assert "ItemAdded v2" in lines[2]
        assert "sku=tea quantity=1 total=1" in lines[2]
        assert "shopper" in lines[2]
        assert lines[3].split()[0] == "-"  # it has no position yet

    def test_it_shows_a_stream_as_json(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        shop.add(cart_id, "tea")
        first, second = documents(shop, "events", "show", str(cart_id))
        assert (first["name"], second["name"]) == ("CartOpened", "ItemAdded")
        assert second["data"] == {"sku": "tea", "quantity": 1, "total": 1}
        assert second["version"] == 2
        assert second["correlation_id"] == str(cart_id)
        assert second["position"] is None

    def test_it_traces_a_story_across_streams(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        cart_id = shop.order(new_id())
        shop.order(new_id())
        shop.drain()
        names = [event["name"] for event in documents(shop, "events", "trace", str(cart_id))]
        assert names == ["CartOpened", "ItemAdded", "CartCheckedOut", "OrderPicked", "CartPicked"]

    def test_it_shows_the_end_of_the_log(self) -> None:
        shop = Shop()
        shop.add(shop.open(), *"abcde")
        shop.drain()
        assert [event["position"] for event in documents(shop, "events", "tail", "--limit", "2")] == [5, 6]
        assert len(documents(shop, "events")) == 6

    def test_it_says_so_when_there_is_nothing(self) -> None:
        assert run(Shop(), "events") == "No events.\n"

    def test_it_says_that_there_is_more(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        shop.add(cart_id, *"abc")
        told = run(shop, "events", "show", str(cart_id), "--limit", "2")
        assert told.splitlines()[-1] == "These are the first 2 events; give --limit for more."

    def test_personal_fields_stay_sealed(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        shop.tell(cart_id, facts.NameRecipient(name="Alice Archer"))
        told = run(shop, "events", "show", str(cart_id))
        assert "name=[sealed] street=null country=DE" in told
        assert rows(SELECT_OPERATIONS) == []

    def test_personal_fields_are_shown_to_who_asks_and_that_is_recorded(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        shop.tell(cart_id, facts.NameRecipient(name="Alice Archer"))
        olga_works_here()
        told = run(shop, "events", "show", f"cart/{cart_id}", "--unseal", "--as", "olga", "--reason", "a court order")
        assert "name=Alice Archer street=null" in told
        statement = "SELECT actor, action, detail FROM eventstore_operation"
        ((actor, action, detail),) = rows(statement)
        assert (actor, action) == ("staff:olga", "unseal")
        assert json.loads(detail) == {
            "action": "show",
            "what": f"cart/{cart_id}",
            "key": str(cart_id),
            "reason": "a court order",
            "os_user": getpass.getuser(),
        }
        erase(cart_id)
        told = run(shop, "events", "show", str(cart_id), "--unseal", "--reason", "a complaint")
        assert f"name={ERASED}" in told

    def test_personal_fields_stay_sealed_to_who_does_not_say_why(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        shop.tell(cart_id, facts.NameRecipient(name="Alice Archer"))
        for asked in (("show", str(cart_id)), ("trace", str(cart_id)), ("tail",)):
            for reason in ((), ("--reason", ""), ("--reason", " \u200b"), ("--reason", "x" * 501)):
                line = "Say why, in at most 500 characters: --reason TEXT."
                _assert_refused(shop, "events", *asked, "--unseal", *reason, line=line)
        assert rows(SELECT_OPERATIONS) == []

    def test_an_event_that_no_code_knows_is_shown_as_it_is(self) -> None:
        shop = Shop()
        cart_id = shop.open()
        rows(
            """
            INSERT INTO eventstore_event
                (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
            VALUES (gen_random_uuid(), 'cart', %s, 2, 'CartTeleported', 3, '{"where": ["x", 1]}',
                '{"actor": "x", "correlation_id": "01990000-0000-7000-8000-000000000000"}', clock_timestamp())
            """,
            [cart_id],
        )
        assert 'where=["x",1]' in run(shop, "events", "show", str(cart_id))

    def test_it_refuses_in_one_line(self) -> None:
        nowhere = str(UUID(int=7))
        for arguments, line in {
            ("show",): "Say which: ",
            ("tail", "x"): "Say which: ",
            ("show", "nonsense"): "'nonsense' names nothing: an id looks like ",
            ("show", nowhere): f"There is no stream {nowhere}.",
            ("show", f"warehouse/{nowhere}"): f"There is no stream warehouse/{nowhere}.",
            ("trace", nowhere): f"There is no story {nowhere}.",
            ("show", nowhere, "--follow"): "Only the tail of the log can be followed.",
            ("show", nowhere, "--reason", "x"): "--reason goes with --unseal, which alone is recorded.",
            ("show", nowhere, "--as", "olga"): "--as goes with --unseal, which alone is recorded.",
            (
                "tail",
                "--unseal",
                "--reason",
                "x",
                "--as",
                "nobody",
            ): "--as 'nobody': there is no active member of the staff of that",
        }.items():
            _assert_refused(Shop(), "events", *arguments, line=line)


def _assert_refused(shop: Shop, *arguments: str, line: str) -> None:
    with pytest.raises(CommandError) as refusal:
        run(shop, *arguments)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)
    assert refusal.value.returncode != 0


# --- subscriptions ------------------------------------------------------------------------------------------


class TestSubscriptions:
    """`subscriptions` tells how far everybody has come, and operates them."""

    def test_it_lists_lag_in_events_and_seconds_and_what_is_parked(self) -> None:
        shop, _ = choking()
        shop.add(shop.open(), POISON)
        shop.drain()
        operations.pause("watcher", actor=ME, reason="look into it")
        shop.add(shop.open(), "a")
        Shop().drain()
        rows("UPDATE eventstore_sequencer SET heartbeat_at = heartbeat_at - interval '3 hours'")
        (watcher,) = documents(shop, "subscriptions", "list")
        assert (watcher["subscription"], watcher["kind"]) == ("watcher", "reactor")
        assert (watcher["position"], watcher["lag_events"], watcher["parked_keys"]) == (2, 2, 1)
        assert 0 < watcher["lag_seconds"] < 3600
        assert (watcher["status"], watcher["paused_reason"]) == ("paused", "look into it")
        told = run(shop, "subscriptions")
        assert f"paused by {ME}: look into it" in told
        assert "The log is at position 4; 0 events wait for theirs; a sequencer was there 3 h ago." in told

    def test_it_lists_why_somebody_is_held(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        rows("""
            UPDATE eventstore_checkpoint
            SET held_until = clock_timestamp() + interval '1 minute', held_reason = 'UnknownEventType: no code'
        """)
        assert "held: UnknownEventType: no code" in run(shop, "subscriptions", "list", "watcher")

    def test_somebody_is_held_between_two_tries_too_and_no_longer_once_it_goes_on(self) -> None:
        is_full = True

        def fail(recorded: Any) -> None:
            if is_full:
                rows("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '53100'; END $$")
            note(recorded)

        shop = Shop(watching(fail))
        shop.add(shop.open(), "a")
        shop.drain()
        rows("UPDATE eventstore_checkpoint SET held_until = clock_timestamp()")
        assert "held: OperationalError: made up" in run(shop, "subscriptions", "list", "watcher")
        is_full = False
        shop.drain()
        assert "held" not in run(shop, "subscriptions", "list", "watcher")

    def test_it_lists_what_no_program_knows_and_what_waits_for_a_replay(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.drain()
        rows("UPDATE eventstore_checkpoint SET projection_version = 7 WHERE subscription = 'shop.carts'")
        rows("UPDATE eventstore_checkpoint SET subscription = 'shop.former' WHERE subscription = 'shop.picking'")
        told = run(shop, "subscriptions")
        assert "of version 7: waits for a replay" in told
        kinds = {part["subscription"]: part["kind"] for part in documents(shop, "subscriptions")}
        assert kinds == {"shop.carts": "projection", "shop.former": "unknown"}

    def test_a_paused_subscription_stands_until_it_is_resumed_and_both_are_recorded(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        assert "watcher is paused (1 range)" in run(shop, "subscriptions", "pause", "watcher", "--reason", "a look")
        shop.add(shop.open(), "a")
        shop.drain()
        assert notes() == []
        olga_works_here()
        assert "goes on" in run(shop, "subscriptions", "resume", "watcher", "--as", "olga")
        shop.drain()
        assert notes() == ["a"]
        assert rows(SELECT_OPERATIONS) == [
            (ME, "pause", "watcher", "a look"),
            ("staff:olga", "resume", "watcher", "by hand"),
        ]
        assert rows("SELECT detail ->> 'os_user' FROM eventstore_operation ORDER BY id") == [(None,), (ME[3:],)]

    def test_who_is_named_must_be_one_who_works_here(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        olga_works_here()
        StaffMember.objects.filter(username="olga").update(is_active=False)
        for name in ("olga", "OLGA", "nobody", ""):
            line = f"--as {name!r}: there is no active member of the staff of that name."
            arguments = ("subscriptions", "pause", "watcher", "--reason", "x", "--as", name)
            _assert_refused(shop, *arguments, line=line)
        assert rows(SELECT_OPERATIONS) == []
        assert rows("SELECT status FROM eventstore_checkpoint") == [("running",)]

    def test_a_split_subscription_goes_on_where_it_stood(self) -> None:
        shop = Shop(watching(note))
        for sku in "abcdefgh":
            shop.add(shop.open(), sku)
        shop.drain()
        told = run(shop, "subscriptions", "split", "watcher", "--into", "4", "--reason", "more workers")
        assert told == "watcher is handled in 4 ranges now; it was 1.\n"
        ranges = "SELECT bucket_low, bucket_high, position, status FROM eventstore_checkpoint ORDER BY bucket_low"
        assert rows(ranges) == [(low, low + 63, 16, "running") for low in (0, 64, 128, 192)]
        for sku in "ijklmnop":
            shop.add(shop.open(), sku)
        shop.drain()
        assert sorted(notes()) == list("abcdefghijklmnop")
        # Each range stands where its own last event was; nobody has anything to handle up to the foremost.
        run(shop, "subscriptions", "split", "watcher", "--into", "2")
        shop.add(shop.open(), "q")
        shop.drain()
        assert sorted(notes()) == list("abcdefghijklmnopq")
        assert [row[:2] for row in rows(SELECT_OPERATIONS)] == [(ME, "split"), (ME, "split")]

    def test_ranges_that_stand_apart_are_not_split(self) -> None:
        shop = Shop(watching(note, partitions=2))
        low, high = one_in_each_half()
        shop.add(shop.open(low), *"abcd")
        shop.add(shop.open(high), *"efgh")
        shop.drain()
        rows("UPDATE eventstore_checkpoint SET position = 3 WHERE bucket_low = 0")
        _assert_refused(
            shop,
            *("subscriptions", "split", "watcher", "--into", "4"),
            line="The range 0-127 stands at 3 and has events to handle before ",
        )
        shop.add(low, "i")  # the last one, where the other range stands
        Shop().drain()
        rows("UPDATE eventstore_checkpoint SET position = 10 + bucket_low / 128")
        _assert_refused(
            shop,
            *("subscriptions", "split", "watcher", "--into", "4"),
            line="The range 0-127 stands at 10 and has events to handle before 11, ",
        )
        assert len(rows("SELECT 1 FROM eventstore_checkpoint")) == 2
        assert rows(SELECT_OPERATIONS) == []

    def test_ranges_of_which_some_are_paused_are_not_split(self) -> None:
        shop = Shop(watching(note, partitions=2))
        shop.drain()
        rows("UPDATE eventstore_checkpoint SET status = 'paused' WHERE bucket_low = 0")
        line = "Some ranges of watcher are paused and some are not: "
        _assert_refused(shop, "subscriptions", "split", "watcher", "--into", "4", line=line)

    def test_ranges_that_stand_apart_and_have_nothing_to_handle_in_between_are_split(self) -> None:
        shop, (low, high) = Shop(watching(note, partitions=2)), one_in_each_half()
        shop.add(shop.open(low), "a")
        shop.add(shop.open(high), "b")
        shop.drain()
        shop.add(low, "c")
        Shop().drain()
        rows("UPDATE eventstore_checkpoint SET position = 2 + bucket_low / 64")  # each where its own last event is
        run(shop, "subscriptions", "split", "watcher", "--into", "1")
        shop.drain()
        assert notes() == ["a", "b", "c"]

    def test_a_split_waits_for_a_worker_and_goes_on_where_that_has_come_to(self, app: psycopg.Connection) -> None:
        shop = Shop(watching(note))
        shop.drain()
        split = partial(run, shop, "subscriptions", "split", "watcher", "--into", "2")
        once_it_waits(app, "UPDATE eventstore_checkpoint SET position = 7", split).result()
        assert rows("SELECT position FROM eventstore_checkpoint") == [(7,), (7,)]

    @pytest.mark.parametrize(
        ("before", "arguments", "told"),
        [
            ("running", ["pause", "watcher", "--reason", "a look"], "watcher is paused (2 ranges)"),
            ("paused", ["resume", "watcher"], "watcher goes on where it stood."),
            ("running", ["split", "watcher", "--into", "4"], "watcher is handled in 4 ranges now; it was 2."),
        ],
    )
    def test_who_waits_for_a_split_finds_the_ranges_that_it_has_made(
        self, before: str, arguments: list[str], told: str, app: psycopg.Connection
    ) -> None:
        shop = Shop(watching(note))
        shop.drain()
        rows("UPDATE eventstore_checkpoint SET status = %s", [before])
        split = f"""
            DELETE FROM eventstore_checkpoint;
            INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position, status)
            SELECT 'watcher', 'stream', low, low + 127, 0, '{before}' FROM unnest(ARRAY[0, 128]) AS low
        """
        assert once_it_waits(app, split, partial(run, shop, "subscriptions", *arguments)).result().startswith(told)

    def test_a_split_keeps_to_parts_as_small_as_before_where_a_worker_has_died(self) -> None:
        shop = Shop(watching(note, partitions=2))
        shop.drain()
        careful = "SELECT DISTINCT careful_until, careful_entries FROM eventstore_checkpoint"
        run(shop, "subscriptions", "split", "watcher", "--into", "3")
        assert rows(careful) == [(None, 1)]
        rows("UPDATE eventstore_checkpoint SET careful_until = 9, careful_entries = 31 WHERE bucket_low = 0")
        run(shop, "subscriptions", "split", "watcher", "--into", "2")
        assert rows(careful) == [(9, 31)]
        rows("UPDATE eventstore_checkpoint SET careful_until = 12, careful_entries = 4 WHERE bucket_low = 0")
        run(shop, "subscriptions", "split", "watcher", "--into", "1")
        assert rows(careful) == [(12, 4)]

    def test_a_paused_subscription_stays_paused_when_it_is_split(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        run(shop, "subscriptions", "pause", "watcher", "--reason", "a look")
        run(shop, "subscriptions", "split", "watcher", "--into", "3")
        states = rows("SELECT status, paused_by, paused_reason FROM eventstore_checkpoint")
        assert states == [("paused", ME, "a look")] * 3

    def test_who_pauses_after_somebody_else_is_told_so_and_changes_nothing(self, app: psycopg.Connection) -> None:
        shop = Shop(watching(note))
        shop.drain()
        pause = partial(run, shop, "subscriptions", "pause", "watcher", "--reason", "so do I")
        first = "UPDATE eventstore_checkpoint SET status = 'paused', paused_by = 'olga', paused_reason = 'a look'"
        with pytest.raises(CommandError, match=r"^No checkpoint of watcher is running\.$"):
            once_it_waits(app, first, pause).result()
        assert rows("SELECT paused_by, paused_reason FROM eventstore_checkpoint") == [("olga", "a look")]

    def test_what_is_done_to_one_subscription_is_done_to_no_other(self) -> None:
        registry = watching(note)
        (watcher,) = registry.all()
        registry._add(replace(watcher, id="other"))
        shop = Shop(registry)
        shop.drain()
        operations.pause("other", actor=ME, reason="its own")
        other = "SELECT * FROM eventstore_checkpoint WHERE subscription = 'other'"
        before = rows(other)
        for action in (["pause", "--reason", "x"], ["resume"], ["split", "--into", "2"]):
            run(shop, "subscriptions", action[0], "watcher", *action[1:])
            assert rows(other) == before

    def test_a_replay_is_no_subscription(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        shop.drain()
        rows("""
            INSERT INTO eventstore_checkpoint
                (subscription, follows, bucket_low, bucket_high, position, projection_version, status)
            VALUES ('shop.carts@shadow', 'stream', 0, 255, 0, 1, 'replaying')
        """)
        for action in (["pause", "--reason", "x"], ["resume"], ["split", "--into", "2"]):
            _assert_refused(
                shop,
                *("subscriptions", action[0], "shop.carts@shadow", *action[1:]),
                line="There is no subscription 'shop.carts@shadow'.",
            )

    def test_a_resumed_subscription_begins_with_a_clean_slate(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        run(shop, "subscriptions", "pause", "watcher", "--reason", "x" * operations.MAX_REASON_LENGTH)
        rows("UPDATE eventstore_checkpoint SET attempts = 9, held_until = 'infinity', held_reason = 'made up'")
        run(shop, "subscriptions", "resume", "watcher")
        state = "SELECT paused_by, paused_reason, attempts, held_until, held_reason FROM eventstore_checkpoint"
        assert rows(state) == [("", "", 0, None, "")]

    def test_workers_are_woken_when_there_may_be_something_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        woken: list[str] = []
        monkeypatch.setattr(wakeup, "wake", woken.append)
        shop = Shop(watching(note))
        shop.drain()
        run(shop, "subscriptions", "pause", "watcher", "--reason", "x")
        assert woken == []
        run(shop, "subscriptions", "resume", "watcher")
        assert woken == ["default"]
        run(shop, "subscriptions", "split", "watcher", "--into", "2")
        assert woken == ["default", "default"]

    def test_it_leaves_its_connection_as_patient_as_it_was(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        before = rows("SHOW lock_timeout")
        run(shop, "subscriptions", "pause", "watcher", "--reason", "x")
        assert rows("SHOW lock_timeout") == before

    def test_another_failure_of_the_database_is_not_taken_for_a_busy_worker(
        self, app: psycopg.Connection, settings: Any
    ) -> None:
        settings.EVENTSTORE = {**settings.EVENTSTORE, "LOCK_TIMEOUT_MS": 60_000}
        Shop(watching(note)).drain()
        with app.transaction():
            app.execute("SELECT 1 FROM eventstore_checkpoint FOR UPDATE")
            rows("SET statement_timeout = '50ms'")
            with pytest.raises(OperationalError, match="statement timeout"):
                operations.pause("watcher", actor=ME, reason="x")

    def test_a_worker_in_the_middle_of_a_batch_is_not_waited_for_for_ever(
        self, app: psycopg.Connection, settings: Any
    ) -> None:
        settings.EVENTSTORE = {**settings.EVENTSTORE, "LOCK_TIMEOUT_MS": 50}
        shop = Shop(watching(note))
        shop.drain()
        with app.transaction():
            app.execute("SELECT 1 FROM eventstore_checkpoint FOR UPDATE")
            for action in (["pause", "--reason", "x"], ["split", "--into", "2"]):
                _assert_refused(
                    shop,
                    *("subscriptions", action[0], "watcher", *action[1:]),
                    line="A worker is in the middle of a batch; try again.",
                )

    def test_it_refuses_in_one_line_and_records_nothing(self) -> None:
        shop = Shop(watching(note))
        shop.drain()
        for arguments, line in {
            ("pause",): "Say which: `subscriptions pause NAME`.",
            ("pause", "watcher"): "Say why, in at most 500 characters: --reason TEXT.",
            ("pause", "watcher", "--reason", "a \x07 bell"): "Say why in characters that can be printed",
            ("pause", "nobody", "--reason", "x"): "There is no subscription 'nobody'.",
            ("resume", "watcher"): "No checkpoint of watcher is paused.",
            ("split", "watcher"): "Say into how many ranges: --into 4.",
            ("split", "watcher", "--into", "1"): "Nothing to split: watcher is handled in 1 range already.",
            ("list", "--into", "3"): "--into says nothing to `list`: it is for split.",
            ("list", "--reason", "x"): "--reason says nothing to `list`: it is for pause and resume and split.",
            ("pause", "watcher", "--into", "3", "--reason", "x"): "--into says nothing to `pause`: it is for split.",
            ("resume", "watcher", "--json"): "--json says nothing to `resume`: it is for list.",
            ("list", "--as", "olga"): "--as says nothing to `list`: ",
            ("split", "watcher", "--into", "300"): "Cannot split 256 buckets into 300 ranges.",
            ("split", "nobody", "--into", "2"): "There is no subscription 'nobody'.",
            ("list", "nobody"): "There is no subscription 'nobody'.",
        }.items():
            _assert_refused(shop, "subscriptions", *arguments, line=line)
        assert rows(SELECT_OPERATIONS) == []


# --- parked -------------------------------------------------------------------------------------------------


class TestParked:
    """`parked` tells what could not be handled, and operates it."""

    def test_it_lists_counts_ages_and_reasons(self) -> None:
        shop, _ = choking()
        cart_id = shop.open()
        shop.add(cart_id, POISON, "a", "b")
        shop.drain()
        rows("UPDATE eventstore_parked_key SET parked_at = parked_at - interval '5 hours'")
        told = run(shop, "parked")
        assert told.startswith("watcher: 1 key with 3 events parked, the oldest for 5 h.\n")
        assert "ArithmeticError: cannot digest poison" in told
        assert str(cart_id) in told
        (found,) = documents(shop, "parked", "list")
        assert (found["subscription"], found["key"]) == ("watcher", str(cart_id))
        assert (found["events"], found["first_position"], found["attempts"]) == (3, 2, 1)

    def test_it_says_so_when_nothing_is_parked(self) -> None:
        assert run(Shop(), "parked") == "Nothing is parked.\n"

    def test_one_key_is_retried_and_that_is_recorded(self) -> None:
        shop, skus = choking()
        shop.add(shop.open(), POISON)
        shop.drain()
        cart_id = shop.open()
        shop.add(cart_id, POISON, "a")
        shop.drain()
        skus.clear()
        olga_works_here()
        told = run(shop, "parked", "retry", str(cart_id), "--as", "olga", "--reason", "mended")
        assert told == f"{cart_id} is free again: 2 events were handled.\n"
        assert notes() == [POISON, "a"]
        assert rows(SELECT_OPERATIONS) == [("staff:olga", "retry", "watcher", "mended")]
        assert value("SELECT detail ->> 'key' FROM eventstore_operation") == str(cart_id)

    def test_a_retry_that_fails_says_why(self) -> None:
        shop, _ = choking()
        cart_id = shop.open()
        shop.add(cart_id, POISON)
        shop.drain()
        _assert_refused(
            shop,
            *("parked", "retry", str(cart_id)),
            line=f"{cart_id} is still parked: ArithmeticError: cannot digest poison",
        )
        assert [row[1] for row in rows(SELECT_OPERATIONS)] == ["retry"]

    def test_a_retry_asks_for_the_version_of_its_own_tables_alone(self) -> None:
        shop = Shop(SUBSCRIPTIONS)
        cart_id = shop.open()
        shop.drain()
        rows(
            """
            WITH parked AS (
                INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
                VALUES ('shop.carts', %s, clock_timestamp(), clock_timestamp(), 'made up') RETURNING id
            )
            INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
            SELECT id, 'shop.carts', 1, clock_timestamp() FROM parked
            """,
            [cart_id],
        )
        rows("""
            INSERT INTO eventstore_checkpoint
                (subscription, follows, bucket_low, bucket_high, position, projection_version)
            VALUES ('shop.former', 'stream', 0, 255, 0, 7)
        """)
        assert run(shop, "parked", "retry", str(cart_id)) == f"{cart_id} is free again: 1 event was handled.\n"

    def test_all_are_retried_up_to_a_limit_the_oldest_first(self) -> None:
        shop, skus = choking()
        carts = [shop.open() for _ in range(5)]
        for cart_id in carts:
            shop.add(cart_id, POISON)
        shop.drain()
        skus.clear()
        told = run(shop, "parked", "retry", "--all", "--limit", "3")
        assert told == "3 of 3 keys are free again; 2 more are parked.\n"
        assert [key for _, key, _ in parked()] == carts[3:]
        recorded = rows("SELECT detail ->> 'key' FROM eventstore_operation ORDER BY id")
        assert recorded == [(str(cart_id),) for cart_id in carts[:3]]
        assert run(shop, "parked", "retry", "--all", "--subscription", "watcher") == "2 of 2 keys are free again.\n"
        assert run(shop, "parked", "retry", "--all", "--subscription", "watcher") == "Nothing is parked.\n"

    def test_all_are_more_than_one_page_of_the_list(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("eventstore.management.commands.parked.MOST_LISTED", 2)
        shop, skus = choking()
        for _ in range(3):
            shop.add(shop.open(), POISON)
        shop.drain()
        skus.clear()
        assert run(shop, "parked", "retry", "--all") == "3 of 3 keys are free again.\n"
        assert parked() == []

    def test_a_subscription_that_nobody_knows_is_refused_and_one_that_left_something_parked_is_not(self) -> None:
        shop, _ = choking()
        cart_id = shop.open()
        shop.add(cart_id, POISON)
        shop.drain()
        for action in (["list"], ["retry", "--all"], ["retry", str(cart_id)], ["discard", str(cart_id)]):
            line = "There is no subscription 'nope'; there are watcher."
            _assert_refused(shop, "parked", *action, "--subscription", "nope", line=line)
        former = Shop(SUBSCRIPTIONS)  # a program that does not have the watcher any more
        assert str(cart_id) in run(former, "parked", "list", "--subscription", "watcher")
        for action in (["retry", str(cart_id)], ["discard", str(cart_id), "--reason", "x"]):
            _assert_refused(former, "parked", *action, line="This program has no subscription 'watcher'.")

    def test_a_bulk_retry_that_leaves_some_fails_and_counts_them(self) -> None:
        shop, skus = choking()
        skus.add("worse")
        for sku in (POISON, "worse", POISON):
            shop.add(shop.open(), sku)
        shop.drain()
        skus.remove(POISON)
        _assert_refused(shop, "parked", "retry", "--all", line="2 of 3 keys are free again; 1 is still parked.")

    def test_what_only_waits_is_not_taken_for_parked(self, app: psycopg.Connection) -> None:
        shop, stuck = Shop(SUBSCRIPTIONS), new_id()
        cart_id = shop.order(stuck)
        with app.transaction():
            app.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key(stuck)])
            shop.drain()
            assert "waits for a stream" in run(shop, "parked")
            assert run(shop, "parked", "retry", "--all") == "Nothing is parked.\n"
            line = (
                "Nothing has failed: it waits for a stream that another transaction has locked, and goes on by itself."
            )
            _assert_refused(shop, "parked", "discard", str(cart_id), "--reason", "tired of it", line=line)
        assert rows(SELECT_OPERATIONS) == []
        assert shop.status(cart_id) == "ordered"

    def test_a_bulk_retry_tells_what_was_handled_in_part_from_what_was_not_tried(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop, skus = choking()
        for _ in range(2):
            shop.add(shop.open(), POISON, "a", "b")
        shop.drain()
        skus.clear()
        monkeypatch.setattr("eventstore.management.commands.parked.BUDGET_SECONDS", 1.0)
        monkeypatch.setattr(operations, "time", SimpleNamespace(monotonic=iter([0.0, 0.0, 2.0, 2.0]).__next__))
        told = (
            "0 of 2 keys are free again; 1 was handled in part and goes on by itself, 1 was not tried, for the time was"
        )
        _assert_refused(shop, "parked", "retry", "--all", line=told)

    def test_a_discarded_event_ends_its_story_and_that_is_recorded(self) -> None:
        shop, cart_id = an_order_that_cannot_be_picked()
        olga_works_here()
        told = run(shop, "parked", "discard", str(cart_id), "--reason", "no such warehouse", "--as", "olga")
        assert told == "The event at position 4 is given up, and its story ended.\n"
        assert shop.status(cart_id) == "given up"
        assert parked() == []
        assert rows(SELECT_OPERATIONS) == [("staff:olga", "discard", "shop.picking", "no such warehouse")]
        assert value("SELECT detail ->> 'os_user' FROM eventstore_operation") == getpass.getuser()

    def test_an_event_that_cannot_be_read_is_not_discarded_and_that_is_said_in_a_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop, cart_id = an_order_that_cannot_be_picked()

        def unreadable(*_: object, **__: object) -> None:
            raise msgspec.ValidationError("Object missing required field `total`")

        monkeypatch.setattr(parking, "decode_rows", unreadable)
        _assert_refused(
            shop,
            *("parked", "discard", str(cart_id), "--reason", "it is broken"),
            line="ValidationError: Object missing required field `total`.",
        )
        assert len(parked()) == 1
        assert rows(SELECT_OPERATIONS) == []

    def test_what_cannot_be_discarded_soundly_is_refused_in_a_line(self) -> None:
        shop, _ = choking()
        cart_id = shop.open()
        shop.add(cart_id, POISON)
        shop.drain()
        _assert_refused(
            shop,
            *("parked", "discard", str(cart_id), "--reason", "tired of it"),
            line="No sound end is known for ItemAdded in watcher.",
        )
        assert len(parked()) == 1
        assert rows(SELECT_OPERATIONS) == []

    def test_two_who_parked_the_same_key_must_be_told_apart(self) -> None:
        registry = SubscriptionRegistry()
        for id in ("one", "two"):
            (watcher,) = watching(_choke).all()
            registry._add(replace(watcher, id=id))
        shop = Shop(registry)
        cart_id = shop.open()
        shop.add(cart_id, "a")
        shop.drain()
        _assert_refused(
            shop,
            "parked",
            "retry",
            str(cart_id),
            line=f"Several have parked {cart_id}: give --subscription, one of one,",
        )

    def test_it_refuses_in_one_line(self) -> None:
        nowhere = str(UUID(int=7))
        for arguments, line in {
            ("retry",): "Say which: `parked retry KEY`, or `parked retry --all`.",
            ("retry", nowhere, "--all"): "Say which: ",
            ("retry", nowhere): f"Nothing is parked under {nowhere}.",
            ("retry", "nonsense"): "'nonsense' is no key: ",
            ("discard",): "Say which: `parked discard KEY --reason TEXT`.",
            ("discard", nowhere, "--reason", "x"): f"Nothing is parked under {nowhere}.",
            ("list", "--all"): "--all says nothing to `list`: it is for retry.",
            ("retry", nowhere, "--limit", "3"): "--limit goes with --all: a key is one.",
            ("retry", "--all", "--json"): "--json says nothing to `retry`: it is for list.",
            ("discard", nowhere, "--limit", "3"): "--limit says nothing to `discard`: ",
        }.items():
            _assert_refused(Shop(), "parked", *arguments, line=line)


def _choke(recorded: Any) -> None:
    raise ArithmeticError


# --- On a terminal --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 130, 200])
def test_no_terminal_is_so_narrow_that_an_id_is_broken(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    shop, _ = choking()
    carts = [shop.open() for _ in range(2)]
    for cart_id in carts:
        shop.add(cart_id, POISON)
    shop.drain()
    sealer.seal_all()
    listed = shown(shop, monkeypatch, columns, "parked", "list")
    tail = shown(shop, monkeypatch, columns, "events", "tail")
    (seal,) = documents(shop, "seals", "list")
    for cart_id in carts:
        assert str(cart_id) in listed
        assert f"cart/{cart_id}" in tail
    assert "ArithmeticError: cannot digest poison" in " ".join(listed.split())
    assert seal["hash"] in shown(shop, monkeypatch, columns, "seals")
    assert "running" in shown(shop, monkeypatch, columns, "subscriptions")


def test_what_has_no_room_for_a_table_is_told_in_blocks_and_folds_its_end_where_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop, _ = choking()
    cart_id = shop.open()
    shop.add(cart_id, POISON)
    shop.drain()
    rows("UPDATE eventstore_parked_key SET error = %s", ["ArithmeticError: " + "so very long " * 10])
    block = shown(shop, monkeypatch, 80, "parked", "list").splitlines()
    assert block[1:3] == ["subscription  watcher", f"key           {cart_id}"]
    table = shown(shop, monkeypatch, 140, "parked", "list").splitlines()
    assert table[1].split()[:2] == ["subscription", "key"]
    assert max(map(len, table)) <= 140
    assert len(table) > 3  # the error goes on below its beginning


# --- As an operator runs them -------------------------------------------------------------------------------


def test_each_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("dispatch", "events", "subscriptions", "parked"):
        with pytest.raises(SystemExit) as ended:
            call_command(command, "--help")
        assert ended.value.code == 0
        assert "--database" in capsys.readouterr().out


def test_a_refusal_is_one_line_and_a_failure_to_the_shell(shop_database: Database) -> None:
    process = _start(shop_database, "subscriptions", "pause", "nobody", "--reason", "x")
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out) == (1, "")
    assert err == "CommandError: There is no subscription 'nobody'.\n"


def test_a_failing_retry_and_a_failing_replay_say_so_in_their_own_line_alone(shop_database: Database) -> None:
    shop, _ = choking()
    cart_id = shop.open()
    shop.add(cart_id, POISON)
    shop.drain()
    rows("UPDATE eventstore_parked_key SET subscription = 'accounts.saga'")
    rows("UPDATE eventstore_parked_event SET subscription = 'accounts.saga'")
    out, err = _start(shop_database, "parked", "retry", str(cart_id), log_level="INFO").communicate(
        timeout=PATIENCE_SECONDS
    )
    assert out == ""
    assert err.startswith(f"CommandError: {cart_id} is still parked: ")
    assert err.count("\n") == 1
    process = _start(shop_database, "replay_projections", "views.accounts", log_level="INFO")
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "eventstore." not in err
    assert err.count("\n") <= 1


@pytest.mark.parametrize(
    ("command", "code"),
    [("events", 1), ("subscriptions", 1), ("seals", 2), ("verify_ledger", 2), ("replay_projections --all", 1)],
)
def test_where_the_embedded_database_is_not_running_it_says_how_to_start_it(
    tmp_path: Path, command: str, code: int
) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.endswith("_URL")}
    process = subprocess.run(
        [sys.executable, "manage.py", *command.split()],
        cwd=ROOT,
        env={**environment, "DAYBOOK_DATA_DIR": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    line = "The embedded database is not running. Start it with `make run`, then repeat this command.\n"
    assert (process.returncode, process.stdout, process.stderr) == (code, "", line)


def test_a_database_that_is_away_is_one_line(shop_database: Database) -> None:
    environment = {**shop_database.environment, "DATABASE_URL": "postgresql://a:b@127.0.0.1:9/nowhere"}
    process = subprocess.run(
        [sys.executable, "manage.py", "events"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 1
    assert process.stderr.startswith("The database does not answer: ")
    assert process.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough_is_no_failure(shop_database: Database) -> None:
    shop = Shop()
    shop.add(shop.open(), *"abcdefgh")
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "manage.py", "events", "--json"],
        cwd=ROOT,
        env=shop_database.environment,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert process.stderr == ""


def test_ages_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (-1, 5.4, 119, 121, 7_300, 200_000)] == [
        "0 s",
        "5 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]


def test_lag_is_counted_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MOST_LAG", 3)
    monkeypatch.setattr("eventstore.management.commands.subscriptions.MOST_LAG", 3)
    shop = Shop(watching(note))
    shop.drain()
    operations.pause("watcher", actor=ME, reason="x")
    shop.add(shop.open(), *"abcdef")
    Shop().drain()
    assert "3 or more" in run(shop, "subscriptions")
