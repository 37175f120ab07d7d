"""A handler that kills its process: its batch is gone through in ever smaller parts; what died alone is parked."""

from __future__ import annotations

import os
import signal

import psycopg
import pytest

from eventstore.events import RecordedEvent
from eventstore.subscriptions import checkpoints, runner
from eventstore.subscriptions.registry import SubscriptionRegistry, handles
from eventstore.subscriptions.runner import Progress, advance
from tests.integration.shops import POISON, Shop, in_process, make_due, note, notes, parked, rows, value, watching
from tests.shopping_cart import facts

pytestmark = pytest.mark.usefixtures("shop_database")

Added = RecordedEvent[facts.ItemAdded]
EXIT = 9
FOREVER = 20.0


def _note_or_die(recorded: Added) -> None:
    """Writes the item down; the poisoned one ends the process, as a segmentation fault or a lack of memory does."""
    if recorded.data.sku == POISON:
        os._exit(EXIT)
    note(recorded)


def _fill(*skus: str) -> None:
    for sku in skus:
        shop = Shop()
        shop.add(shop.open(), sku)


def _careful() -> bool:
    return bool(value("SELECT COALESCE(careful_until > position, false) FROM eventstore_checkpoint"))


def test_what_killed_its_process_three_times_alone_is_parked_and_everything_else_goes_on() -> None:
    _fill("a", "b", POISON, "c", "d")
    exits, handled, careful = [], [], []
    for _ in range(12):
        exits.append(in_process(Shop(watching(_note_or_die)).drain))
        handled.append(len(notes()))
        careful.append(_careful())
        make_due()
        if exits[-1] == 0:
            break
    # Twice as a batch, of which nothing stays; then one at a time, which gets as far as the culprit; then it is alone.
    assert exits == [EXIT] * 5 + [0]
    assert handled == [0, 0, 2, 2, 2, 4]
    assert careful == [False, False, True, True, True, False]
    assert notes() == ["a", "b", "c", "d"]
    assert [position for _, _, position in parked()] == [6]
    assert "the process died or was stopped" in value("SELECT error FROM eventstore_parked_key")
    assert rows("SELECT position, attempts FROM eventstore_checkpoint") == [(10, 0)]


def test_a_large_batch_is_gone_through_in_parts_and_only_the_part_that_dies_one_at_a_time() -> None:
    skus = [str(number) for number in range(64)]  # two log entries each, so that a part holds four of them
    _fill(*skus[:30], POISON, *skus[30:])
    exits = []
    for _ in range(12):
        exits.append(in_process(Shop(watching(_note_or_die)).drain))
        make_due()
        if exits[-1] == 0:
            break
    assert exits == [EXIT] * 6 + [0]  # twice as a batch, once as a part, three times alone
    assert notes() == skus
    assert [position for _, _, position in parked()] == [62]
    # Seven parts before the one that died, two alone before the culprit in it; what comes after that is a batch again.
    assert value("SELECT count(DISTINCT xmin::text) FROM readmodel.journal") == 7 + 2 + 1


def test_other_subscriptions_go_on_while_one_dies_again_and_again() -> None:
    registry = SubscriptionRegistry()

    @registry.subscriber(id="deadly")
    class Deadly:
        @handles(facts.ItemAdded)
        def added(self, recorded: Added) -> None:
            os._exit(EXIT)

    @registry.subscriber(id="healthy")
    class Healthy:
        @handles(facts.ItemAdded)
        def added(self, recorded: Added) -> None:
            note(recorded)

    _fill("a", "b")
    for _ in range(2):  # the first dies in "deadly"; the second finds that being tried, and goes on to "healthy"
        in_process(Shop(registry).drain)
    assert notes() == ["a", "b"]
    assert value("SELECT attempts FROM eventstore_checkpoint WHERE subscription = 'deadly'") >= 1


def test_an_attempt_is_counted_before_it_is_made_and_forgotten_with_its_success() -> None:
    seen: list[int] = []

    def look(recorded: Added) -> None:
        seen.append(value("SELECT attempts FROM eventstore_checkpoint"))

    _fill("a", "b")
    assert Shop(watching(look)).drain()
    assert seen == [1, 1]
    assert value("SELECT attempts FROM eventstore_checkpoint") == 0


def test_a_worker_that_was_only_stopped_leaves_no_trace_once_another_goes_on() -> None:
    _fill("a", "b", "c")

    def stop_myself(recorded: Added) -> None:
        if recorded.data.sku == "b":
            os.kill(os.getpid(), signal.SIGKILL)
        note(recorded)

    assert in_process(Shop(watching(stop_myself)).drain) == -signal.SIGKILL
    make_due()
    assert Shop(watching(note)).drain()
    assert notes() == ["a", "b", "c"]
    assert parked() == []
    assert not _careful()


def test_workers_that_meet_on_a_checkpoint_are_not_taken_for_deaths() -> None:
    _fill("a")
    shop = Shop(watching(note))
    assert shop.drain()
    _fill("b")
    checkpoint_id = value("SELECT id FROM eventstore_checkpoint")
    first = checkpoints.stamp(checkpoint_id, using="default")
    assert first is not None
    assert first.attempts == 1
    # It is about to lock: whoever comes now is too late, not the second witness of a death.
    assert checkpoints.stamp(checkpoint_id, using="default") is None
    rows("UPDATE eventstore_checkpoint SET attempted_at = attempted_at - interval '2 seconds'")
    second = checkpoints.stamp(checkpoint_id, using="default")
    assert second is not None
    assert second.attempts == 2


def test_an_event_is_not_parked_for_the_one_before_it_that_somebody_has_handled_meanwhile(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill("a", "b")
    shop = Shop(watching(note))
    assert shop.drain()
    (watcher,) = shop.store.subscriptions.all()
    checkpoint_id = value("SELECT id FROM eventstore_checkpoint")
    # Three deaths are counted at "a"; just after this worker has counted, another handles "a" all the same.
    rows("UPDATE eventstore_checkpoint SET position = 1, careful_until = 4, attempts = 3")
    make_due()
    count = checkpoints.stamp

    def count_and_be_overtaken(checkpoint_id: int, *, using: str) -> checkpoints.Stamp | None:
        stamp = count(checkpoint_id, using=using)
        app.execute("UPDATE eventstore_checkpoint SET position = 2, attempts = 0")
        return stamp

    monkeypatch.setattr(checkpoints, "stamp", count_and_be_overtaken)
    assert advance(checkpoint_id, watcher, store=shop.store) is Progress.MOVED
    assert value("SELECT position FROM eventstore_checkpoint") == 2
    assert parked() == []


# --- Whose turn it is ---------------------------------------------------------------------------------------


def _at_the_beginning(change: str, *skus: str) -> tuple[Shop, int]:
    """A shop whose one checkpoint has a few events before it, and was changed; and the checkpoint's id."""
    shop = Shop(watching(lambda _: None))
    shop.add(shop.open(), *skus)
    assert shop.drain()
    rows(f"UPDATE eventstore_checkpoint SET position = 1, {change}")
    make_due()
    return shop, value("SELECT id FROM eventstore_checkpoint")


SELECT_POSITION = "SELECT position FROM eventstore_checkpoint"


def _advance(shop: Shop, checkpoint_id: int, *, batch_size: int | None = None) -> Progress:
    (watcher,) = shop.store.subscriptions.all()
    return advance(checkpoint_id, watcher, store=shop.store, batch_size=batch_size)


def test_one_event_at_a_time_is_as_many_as_there_is_time_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, checkpoint_id = _at_the_beginning("careful_until = 99", *"abc")
    monkeypatch.setattr(runner, "CAREFUL_SECONDS", 0.0)
    assert _advance(shop, checkpoint_id) is Progress.FULL
    assert value(SELECT_POSITION) == 2
    monkeypatch.setattr(runner, "CAREFUL_SECONDS", FOREVER)
    assert _advance(shop, checkpoint_id) is Progress.MOVED
    assert value(SELECT_POSITION) == 4


def test_what_died_alone_is_parked_and_the_next_ones_have_their_turn_in_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "CAREFUL_SECONDS", FOREVER)
    shop, checkpoint_id = _at_the_beginning("careful_until = 99, attempts = 3", *"ab")
    assert _advance(shop, checkpoint_id) is Progress.MOVED
    assert [position for _, _, position in parked()] == [2, 3]
    assert value(SELECT_POSITION) == 3


@pytest.mark.parametrize(("tried", "reached"), [(1, 3), (2, 1)])
def test_a_batch_that_ended_twice_without_a_result_is_gone_through_one_event_at_a_time_next_turn(
    tried: int, reached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CAREFUL_SECONDS", FOREVER)
    shop, checkpoint_id = _at_the_beginning(f"careful_until = NULL, attempts = {tried}", *"ab")
    _advance(shop, checkpoint_id)
    assert value(SELECT_POSITION) == reached
    assert _careful() is (reached == 1)


@pytest.mark.parametrize(("tried", "expected"), [(2, []), (3, [2])])
def test_what_ended_alone_three_times_without_a_result_is_parked(tried: int, expected: list[int]) -> None:
    shop, checkpoint_id = _at_the_beginning(f"careful_until = 2, attempts = {tried}", "a")
    _advance(shop, checkpoint_id)
    assert [position for _, _, position in parked()] == expected


def test_a_batch_is_followed_by_somebody_else_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CAREFUL_SECONDS", FOREVER)
    shop, checkpoint_id = _at_the_beginning("careful_until = NULL", *"abc")
    assert _advance(shop, checkpoint_id, batch_size=1) is Progress.FULL
    assert value(SELECT_POSITION) == 2


def test_once_what_died_alone_is_parked_the_others_are_a_batch_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "CAREFUL_SECONDS", 0.0)
    shop, checkpoint_id = _at_the_beginning("careful_until = 4, attempts = 3", *"abc")
    assert _advance(shop, checkpoint_id) is Progress.FULL
    assert [position for _, _, position in parked()] == [2]
    assert not _careful()
