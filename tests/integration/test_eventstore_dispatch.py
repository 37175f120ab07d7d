"""Rounds of a drain: whose turn it is, when another worker is called for, and what is not taken for the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import psycopg
import pytest

from eventstore import dispatch, sequencer
from eventstore.dispatch import drain
from eventstore.events import RecordedEvent
from eventstore.seals import sealer
from eventstore.subscriptions import parking
from eventstore.subscriptions.registry import Answer, Execute, SubscriptionRegistry, handles
from tests.integration.shops import Shop, make_due, note, notes, parked, rows, together, value, watching
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART

pytestmark = pytest.mark.usefixtures("shop_database")

Added = RecordedEvent[facts.ItemAdded]
SELECT_SEQUENCED: Final = "SELECT count(*) FROM eventstore_log"


def _taking_turns(turns: list[str], *, answer: Callable[[Added], Answer] = lambda _: None) -> SubscriptionRegistry:
    """A saga and a projection that follow the same events and say when it is their turn."""
    registry = SubscriptionRegistry()

    @registry.subscriber(id="saga")
    class Saga:
        @handles(facts.ItemAdded)
        def added(self, recorded: Added) -> Answer:
            turns.append("saga")
            return answer(recorded)

    @registry.projection(id="page", version=1, handles=[facts.ItemAdded], schema="readmodel", ddl="", tables=())
    class Page:
        def project(self, events: Sequence[RecordedEvent[Any]], tables: object) -> None:
            turns.append("page")

    return registry


@pytest.fixture
def a_second_a_round(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by a second whenever a drain looks at it, which is once a round; answers with its sleeps."""
    seconds, sleeps = itertools.count(), list[float]()
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)), sleep=sleeps.append)
    monkeypatch.setattr(dispatch, "time", clock)
    return sleeps


@pytest.mark.usefixtures("a_second_a_round")
def test_a_projection_has_its_turn_in_every_eighth_round_of_sagas_without_end() -> None:
    turns: list[str] = []

    def ask_for_more(recorded: Added) -> Execute:
        return Execute(aggregate=CART, stream_id=recorded.stream_id, command=facts.AddItem(sku="more"))

    shop = Shop(_taking_turns(turns, answer=ask_for_more))
    shop.add(shop.open(), "a")
    assert not shop.drain()
    until_the_page = [*["saga"] * 8, "page"]
    assert turns[:18] == until_the_page * 2
    assert "page" not in turns[18:]


@pytest.mark.usefixtures("a_second_a_round")
def test_a_projection_waits_for_no_saga_that_has_nothing_to_do() -> None:
    turns: list[str] = []
    registry = _taking_turns(turns)
    shop = Shop(registry)
    shop.add(shop.open(), "a")
    assert not drain(store=shop.store, budget_seconds=1.5)  # one round
    assert turns == ["saga"]
    assert not drain(store=shop.store, budget_seconds=1.5)
    assert turns == ["saga", "page"]
    rows("UPDATE eventstore_checkpoint SET status = 'paused' WHERE subscription = 'saga'")
    shop.add(shop.open(), "b")
    assert not drain(store=shop.store, budget_seconds=1.5)
    assert turns == ["saga", "page", "page"]


@pytest.mark.usefixtures("a_second_a_round")
def test_a_projection_waits_for_no_saga_that_another_is_at(app: psycopg.Connection) -> None:
    turns: list[str] = []
    shop = Shop(_taking_turns(turns))
    assert shop.drain()
    shop.add(shop.open(), "a")
    Shop().drain()  # which only sequences
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_checkpoint WHERE subscription = 'saga' FOR UPDATE")
        assert not drain(store=shop.store, budget_seconds=1.5)
    assert turns == ["page"]


def test_another_worker_is_called_for_when_a_batch_was_full_and_else_not() -> None:
    calls: list[str] = []

    def call() -> None:
        calls.append("help")

    shop = Shop(watching(note))
    shop.add(shop.open(), "a")
    assert drain(store=shop.store, on_more=call, batch_size=3)
    assert calls == []
    shop.add(shop.open(), "b")
    assert drain(store=shop.store, on_more=call, batch_size=2)
    assert calls == ["help"]


def test_it_looks_again_a_few_times_at_what_another_has(
    app: psycopg.Connection, a_second_a_round: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "BUSY_PAUSES", 3)
    monkeypatch.setattr(sealer, "seal_quietly", lambda **_: False)
    shop = Shop(watching(note))
    assert shop.drain()
    shop.add(shop.open(), "a")
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_checkpoint FOR UPDATE")
        assert not shop.drain()  # sequences first, which is something
        assert a_second_a_round == [0.005] * 3
        assert not shop.drain()
        assert a_second_a_round == [0.005] * 6


def test_a_sequencer_in_other_hands_is_not_taken_for_an_empty_outbox(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "BUSY_PAUSES", 2)
    shop = Shop()
    shop.open()
    with app.transaction():
        app.execute("SELECT 1 FROM eventstore_sequencer FOR UPDATE")
        assert not shop.drain()
    assert shop.drain()
    assert value(SELECT_SEQUENCED) == 1


def test_it_goes_on_sequencing_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencer, "sequence", partial(sequencer.sequence, limit=1))
    shop = Shop()
    shop.add(shop.open(), "a", "b")
    assert shop.drain()
    assert value(SELECT_SEQUENCED) == 3


@pytest.mark.parametrize(
    ("is_time", "expected"),
    [
        (False, [*["work"] * 3, "seal", "seal"]),
        (True, ["seal", "work", "seal", "work", "seal", "work", "seal", "seal"]),
    ],
)
def test_sealing_comes_last_unless_it_is_time_and_ends_no_other_work(
    is_time: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[str] = []

    def seal(**_: object) -> bool:
        turns.append("seal")
        return not is_time and turns.count("seal") == 1  # then there may be more to seal

    monkeypatch.setattr(sealer.Pace, "is_up", lambda _: is_time)
    monkeypatch.setattr(sealer, "seal_quietly", seal)
    shop = Shop(watching(lambda _: turns.append("work")))
    shop.add(shop.open(), *"abc")
    assert shop.drain(batch_size=1)
    assert turns == expected


@pytest.mark.parametrize("keys", [1, 9])
def test_retries_have_two_seconds_before_what_is_not_parked_has_its_turn(
    keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    skus = [*"abcdefghi"]
    now, sick, retried = [1_000.0], set(skus), list[str]()

    def take_half_a_second(recorded: Added) -> None:
        if recorded.data.sku in sick:
            raise ArithmeticError
        if not retried:  # somebody shops meanwhile
            together([lambda: shop.add(shop.open(), "live")])
        retried.append(recorded.data.sku)
        now[0] += 0.5
        note(recorded)

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None)
    for module in (dispatch, parking):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(parking, "RETRIED_AT_ONCE", 1)
    shop = Shop(watching(take_half_a_second))
    carts = [shop.open() for _ in range(keys)]
    for number, sku in enumerate(skus):
        shop.add(carts[number % keys], sku)
    assert shop.drain()
    sick.clear()
    make_due()
    assert shop.drain()
    assert notes().index("live") == 5
    assert sorted(notes()) == [*skus, "live"]
    assert parked() == []
