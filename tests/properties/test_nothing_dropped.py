"""Nothing is ever dropped silently: whatever goes wrong, an event is handled, parked, or holds its partition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import OperationalError
from hypothesis import given
from hypothesis import strategies as st

from eventstore.events import RecordedEvent
from eventstore.subscriptions.runner import _impatient_until
from tests.conftest import Database
from tests.integration.conftest import _make_read_model
from tests.integration.shops import Shop, make_due, note, parked, rows, value, watching
from tests.properties.profile import examples
from tests.shopping_cart import facts

CARTS: Final = 3

# What comes of handling an event each time that it is tried; the last holds for good until all is mended.
FATES: Final = st.lists(st.sampled_from(["ok", "ok", "fails", "passes"]), min_size=1, max_size=4)
PLANS: Final = st.lists(st.tuples(st.integers(0, CARTS - 1), FATES), min_size=1, max_size=12)
DRAINS: Final = st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=5)

SELECT_ADDED: Final = """
SELECT l.position, e.stream_id, e.data ->> 'sku' FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE e.event_type = 'ItemAdded' AND l.position > %s ORDER BY l.position
"""


@pytest.fixture
def shop_store(fresh_database: Database) -> Iterator[None]:
    """An event store of the test's own, with the shop's read model and a journal."""
    _make_read_model()
    _impatient_until.clear()
    yield
    _impatient_until.clear()


class Fates:
    """A handler that does to each event what is written for it, one word a try."""

    def __init__(self) -> None:
        self.written: dict[str, list[str]] = {}
        self.mended = False

    def handle(self, recorded: RecordedEvent[facts.ItemAdded]) -> None:
        """Writes the event down; then fails, if that is its fate."""
        note(recorded)
        words = self.written.get(recorded.data.sku, ["ok"])  # another example's leftovers
        word = words[0] if len(words) == 1 else words.pop(0)
        if self.mended or word == "ok":
            return
        raise ArithmeticError(word) if word == "fails" else OperationalError("the connection was lost")


def _check(start: int, *, complete: bool) -> None:
    """Every event is in exactly one place, and each cart's are handled in order."""
    added: list[tuple[int, UUID, str]] = [(int(a), b, c) for a, b, c in rows(SELECT_ADDED, [start])]
    handled = [
        int(position)
        for (position,) in rows("SELECT position FROM readmodel.journal WHERE position > %s ORDER BY id", [start])
    ]
    waiting = {int(position) for _, _, position in parked()}
    at = int(value("SELECT position FROM eventstore_checkpoint WHERE subscription = 'watcher'"))
    assert len(handled) == len(set(handled)), "handled twice"
    for position, _, _ in added:
        places = (position in handled, position in waiting, position > at)
        assert sum(places) == 1, f"position {position} is in {places}; the checkpoint stands at {at}"
    for cart_id in {cart_id for _, cart_id, _ in added}:
        mine = [position for position, of, _ in added if of == cart_id]
        in_order = [position for position in handled if position in mine]
        assert in_order == mine[: len(in_order)], "a follower went first"
    if complete:
        assert len(handled) == len(added)


@examples(25)
@given(plans=PLANS, drains=DRAINS, batch=st.integers(1, 6))
def test_an_event_is_handled_or_parked_or_holds_its_partition(
    shop_store: None, plans: list[tuple[int, list[str]]], drains: list[tuple[int, bool]], batch: int
) -> None:
    fates = Fates()
    shop = Shop(watching(fates.handle))
    carts = [shop.open() for _ in range(CARTS)]
    fates.mended = True
    assert shop.drain()
    fates.mended = False
    start = int(value("SELECT position FROM eventstore_sequencer"))
    pending = list(enumerate(plans))
    for count, time_passes in drains:
        for number, (cart, words) in pending[:count]:
            sku = f"{start}-{number}"
            fates.written[sku] = list(words)
            shop.add(carts[cart], sku)
        del pending[:count]
        if time_passes:
            make_due()
        shop.drain(batch_size=batch)
        _check(start, complete=False)
    fates.mended = True
    rounds: Any = iter(range(20))
    while parked() or value("SELECT count(*) FROM eventstore_checkpoint WHERE held_until IS NOT NULL"):
        assert next(rounds, None) is not None, "it never came to an end"
        make_due()
        shop.drain(batch_size=batch)
    make_due()
    shop.drain(batch_size=batch)
    _check(start, complete=True)
