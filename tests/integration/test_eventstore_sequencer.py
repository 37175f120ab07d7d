"""The sequencer: each committed event gets one position, without a gap, in the order of its stream."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from eventstore.ids import new_id
from eventstore.sequencer import Outcome, SequencerInconsistent, sequence
from eventstore.store import Unit
from tests.integration.shops import Shop, rows, story_of, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART

pytestmark = pytest.mark.usefixtures("shop_database")

# The log with what each entry is.
SELECT_LOG = """
SELECT l.position, e.stream_id, e.version FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
ORDER BY l.position
"""


@pytest.fixture
def shop() -> Shop:
    """A shop that nobody follows."""
    return Shop()


def _sequence_all() -> None:
    while sequence() is not Outcome.EMPTY:
        pass


# --- Many at once -------------------------------------------------------------------------------------------


class Traffic:
    """Writers, sequencers and readers at work on one database at the same time."""

    def __init__(self, *, writers: int, transactions: int) -> None:
        self.shop = Shop()
        self.read: list[list[int]] = []
        self._transactions = transactions
        self._writing = writers
        self._lock = threading.Lock()
        self._late = threading.Barrier(2)  # the first two writers commit in the other order of their ids

    def write(self, number: int) -> None:
        """Fills carts in transactions of different sizes."""
        chance = random.Random(number)
        try:
            for _ in range(self._transactions):
                self._shop_once(adds=chance.randrange(6), late=number < 2)
        finally:
            with self._lock:
                self._writing -= 1

    def _shop_once(self, *, adds: int, late: bool) -> None:
        cart_id = new_id()
        metadata = story_of(cart_id)
        with transaction.atomic():
            unit = Unit(self.shop.store)
            unit.execute(CART, cart_id, facts.OpenCart(), metadata=metadata, creates=True)
            for _ in range(adds):
                unit.execute(CART, cart_id, facts.AddItem(sku="tea"), metadata=metadata)
            if late:
                self._late.wait(timeout=20)

    def sequence(self) -> None:
        """Sequences until everything is written and nothing is left."""
        while self._writing or sequence(limit=7) is not Outcome.EMPTY:
            sequence(limit=50)

    def follow(self) -> None:
        """Reads the log like a subscription: whatever is behind the last position, again and again."""
        seen: list[int] = []
        while self._writing or value("SELECT count(*) FROM eventstore_outbox") or self._is_behind(seen):
            after = seen[-1] if seen else 0
            statement = "SELECT position FROM eventstore_log WHERE position > %s ORDER BY position LIMIT 40"
            seen += [position for (position,) in rows(statement, [after])]
        self.read.append(seen)

    def _is_behind(self, seen: list[int]) -> bool:
        return bool(value("SELECT position FROM eventstore_sequencer") > (seen[-1] if seen else 0))


def test_four_sequencers_and_readers_under_concurrent_commits_miss_and_double_nothing() -> None:
    traffic = Traffic(writers=5, transactions=25)
    works: list[Callable[[], None]] = [lambda number=number: traffic.write(number) for number in range(5)]  # type: ignore[misc]
    together([*works, *[traffic.sequence] * 4, *[traffic.follow] * 2])

    log = rows(SELECT_LOG)
    events = value("SELECT count(*) FROM eventstore_event")
    assert [position for position, _, _ in log] == list(range(1, events + 1))
    assert traffic.read == [list(range(1, events + 1))] * 2
    assert value("SELECT count(*) FROM eventstore_outbox") == 0
    assert value("SELECT position FROM eventstore_sequencer") == events
    _assert_streams_in_order(log)


def _assert_streams_in_order(log: list[tuple[Any, ...]]) -> None:
    last: dict[Any, int] = {}
    for _, stream_id, version in log:
        assert version == last.get(stream_id, 0) + 1
        last[stream_id] = version


# --- Commits out of order -----------------------------------------------------------------------------------


def test_an_event_with_a_low_id_that_commits_late_is_neither_skipped_nor_put_before_others(shop: Shop) -> None:
    early, late = shop.open(), new_id()
    has_id, may_commit = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            Unit(shop.store).execute(CART, late, facts.OpenCart(), metadata=story_of(late), creates=True)
            has_id.set()
            assert may_commit.wait(timeout=10)

    def others() -> None:
        assert has_id.wait(timeout=10)
        shop.add(early, "tea")  # a higher id, committed first
        assert sequence() is Outcome.MOVED
        may_commit.set()

    together([slow, others])
    shop.add(late, "cup")
    _sequence_all()
    assert rows(SELECT_LOG) == [(1, early, 1), (2, early, 2), (3, late, 1), (4, late, 2)]
    ids = [id for (id,) in rows("SELECT event_id FROM eventstore_log ORDER BY position")]
    assert ids != sorted(ids)


def test_an_event_that_commits_while_it_is_at_work_is_left_for_its_next_run(shop: Shop) -> None:
    early, late = shop.open(), new_id()
    has_id, may_commit, committed = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            Unit(shop.store).execute(CART, late, facts.OpenCart(), metadata=story_of(late), creates=True)
            has_id.set()
            assert may_commit.wait(timeout=10)
        committed.set()

    def look(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        answer = execute(statement, parameters, many, context)
        if "FROM eventstore_outbox" in statement:
            may_commit.set()
            assert committed.wait(timeout=10)
        return answer

    def work() -> None:
        assert has_id.wait(timeout=10)
        shop.add(early, "tea")  # its id is higher than that of the one that commits meanwhile
        with connection.execute_wrapper(look):
            assert sequence() is Outcome.MOVED

    together([slow, work])
    assert rows(SELECT_LOG) == [(1, early, 1), (2, early, 2)]
    _sequence_all()
    assert rows(SELECT_LOG) == [(1, early, 1), (2, early, 2), (3, late, 1)]


def test_events_are_sequenced_from_the_lowest_id_wherever_their_rows_stand(shop: Shop) -> None:
    cart = shop.open()
    for sku in ("tea", "cup", "pot"):
        shop.add(cart, sku)
    with transaction.atomic():  # the table's own order is now the other way round
        rows("CREATE TEMPORARY TABLE waiting ON COMMIT DROP AS SELECT * FROM eventstore_outbox")
        rows("DELETE FROM eventstore_outbox")
        rows("INSERT INTO eventstore_outbox SELECT * FROM waiting ORDER BY event_id DESC")
    assert sequence(limit=2) is Outcome.MOVED
    assert [version for _, _, version in rows(SELECT_LOG)] == [1, 2]
    _sequence_all()
    assert [version for _, _, version in rows(SELECT_LOG)] == [1, 2, 3, 4]


def test_it_sequences_in_no_transaction_of_another_s(shop: Shop) -> None:
    shop.open()
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        sequence()


def test_a_rolled_back_append_leaves_no_gap(shop: Shop) -> None:
    first = shop.open()
    with pytest.raises(facts.NotInCart):
        shop.tell(first, facts.RemoveItem(sku="tea"))
    with transaction.atomic():
        Unit(shop.store).execute(CART, new_id(), facts.OpenCart(), metadata=story_of(first), creates=True)
        transaction.set_rollback(True)
    shop.add(first, "tea")
    _sequence_all()
    assert rows(SELECT_LOG) == [(1, first, 1), (2, first, 2)]


def test_it_takes_no_more_than_it_is_told_and_goes_on_there(shop: Shop) -> None:
    shop.add(shop.open(), "tea", "cup", "pot")
    assert [sequence(limit=3), sequence(limit=3), sequence(limit=3)] == [Outcome.MOVED, Outcome.MOVED, Outcome.EMPTY]
    assert [position for position, _, _ in rows(SELECT_LOG)] == [1, 2, 3, 4]


# --- One at a time ------------------------------------------------------------------------------------------


def test_one_that_is_at_work_makes_another_busy_rather_than_wait_or_find_nothing(
    shop: Shop, app: psycopg.Connection
) -> None:
    shop.open()
    rows("SET lock_timeout = '5s'")  # one that waits all the same shall not do so for ever
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_sequencer FOR UPDATE")
        assert sequence() is Outcome.BUSY
    assert sequence() is Outcome.MOVED
    rows("RESET lock_timeout")


def test_it_runs_at_read_committed_whatever_the_server_s_default_is(shop: Shop) -> None:
    shop.open()
    rows("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    levels: list[str] = []

    def look(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        answer = execute(statement, parameters, many, context)
        if "eventstore_outbox" in statement:
            levels.append(connection.connection.execute("SHOW transaction_isolation").fetchone()[0])
        return answer

    with connection.execute_wrapper(look):
        assert sequence() is Outcome.MOVED
    assert set(levels) == {"read committed"}


def test_it_reads_the_outbox_only_after_it_has_the_lock(shop: Shop) -> None:
    shop.open()
    statements: list[str] = []

    def look(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        statements.append(statement)
        return execute(statement, parameters, many, context)

    with connection.execute_wrapper(look):
        sequence()
    locking = next(index for index, statement in enumerate(statements) if "FOR UPDATE SKIP LOCKED" in statement)
    reading = next(index for index, statement in enumerate(statements) if "FROM eventstore_outbox" in statement)
    assert locking < reading
    assert "outbox" not in statements[locking]


# --- What contradicts itself --------------------------------------------------------------------------------


def test_the_database_refuses_an_event_a_second_position(shop: Shop, app: psycopg.Connection) -> None:
    shop.open()
    _sequence_all()
    with pytest.raises(psycopg.errors.UniqueViolation):
        app.execute("""
            INSERT INTO eventstore_log (position, event_id, stream_bucket, route_bucket, sequenced_at)
            SELECT 2, event_id, stream_bucket, route_bucket, sequenced_at FROM eventstore_log
        """)


def test_it_writes_nothing_when_it_cannot_delete_what_it_read(shop: Shop, owner: psycopg.Connection) -> None:
    owner.execute("""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER keep BEFORE DELETE ON eventstore_outbox FOR EACH ROW EXECUTE FUNCTION keep();
    """)
    shop.open()
    with pytest.raises(SequencerInconsistent, match="read 1, logged 1, removed 0"):
        sequence()
    assert value("SELECT count(*) FROM eventstore_log") == 0
    assert value("SELECT position FROM eventstore_sequencer") == 0


def test_it_writes_nothing_when_the_log_does_not_take_what_it_read(shop: Shop, owner: psycopg.Connection) -> None:
    owner.execute("""
        CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER lose BEFORE INSERT ON eventstore_log FOR EACH ROW EXECUTE FUNCTION lose();
    """)
    shop.open()
    with pytest.raises(SequencerInconsistent, match="read 1, logged 0, removed 1"):
        sequence()
    assert value("SELECT count(*) FROM eventstore_outbox") == 1


# --- The clock ----------------------------------------------------------------------------------------------


def test_its_times_never_decrease_though_the_clock_is_set_back(shop: Shop) -> None:
    future = datetime.now(UTC) + timedelta(hours=1)
    shop.open()
    sequence()
    # As it is after an hour's work of a machine whose clock was ahead, until somebody set it right.
    rows("UPDATE eventstore_sequencer SET sequenced_at = %s", [future])
    shop.open()
    sequence()
    before, after = [at for (at,) in rows("SELECT sequenced_at FROM eventstore_log ORDER BY position")]
    assert before < future
    assert after == future
    assert value("SELECT sequenced_at FROM eventstore_sequencer") == future


def test_it_shows_that_it_lives_though_there_is_nothing_to_do() -> None:
    rows("UPDATE eventstore_sequencer SET heartbeat_at = heartbeat_at - interval '1 hour'")
    assert sequence() is Outcome.EMPTY
    assert value("SELECT clock_timestamp() - heartbeat_at < interval '1 minute' FROM eventstore_sequencer")


def test_it_shows_that_it_lives_no_more_than_once_a_second() -> None:
    """Each write leaves a dead row behind."""

    def leaves_it_alone() -> bool:
        rows("UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp()")
        before = value("SELECT heartbeat_at FROM eventstore_sequencer")
        assert sequence() is Outcome.EMPTY
        return bool(value("SELECT heartbeat_at FROM eventstore_sequencer") == before)

    assert any(leaves_it_alone() for _ in range(5))  # the machine may be busy for a second


def test_it_shows_that_it_lives_when_the_clock_was_set_back() -> None:
    rows("UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp() + interval '1 hour'")
    assert sequence() is Outcome.EMPTY
    assert value("SELECT heartbeat_at <= clock_timestamp() FROM eventstore_sequencer")
