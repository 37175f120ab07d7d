"""The class style and the functional style of one aggregate come to the same events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventstore.aggregates import Aggregate
from eventstore.refusals import Refusal
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART
from tests.shopping_cart.cart_functions import CART_OF_FUNCTIONS

_items = {"sku": st.sampled_from(["tea", "cup"]), "quantity": st.integers(1, 3)}
COMMANDS = st.one_of(
    st.builds(facts.OpenCart),
    st.builds(facts.AddItem, **_items),
    st.builds(facts.RemoveItem, **_items),
    st.builds(facts.NameRecipient, name=st.just("Alice")),
    st.builds(facts.CheckOut, warehouse_id=st.just(UUID(int=1))),
    st.builds(facts.RecordPicking, order=st.just(1)),
    st.builds(facts.GiveUp, reason=st.just("lost")),
)


def _history(aggregate: Aggregate[Any], commands: Sequence[object]) -> list[object]:
    """What each command led to: its events, or the kind of its refusal."""
    state = aggregate.initial
    outcomes: list[object] = []
    for command in commands:
        try:
            events = list(aggregate.decide(state, command))
        except Refusal as refusal:
            outcomes.append(type(refusal))
            continue
        state = aggregate.fold(events, state)
        outcomes.append(events)
    return outcomes


@given(st.lists(COMMANDS, max_size=12).map(lambda commands: [facts.OpenCart(), *commands]))
def test_both_styles_lead_to_identical_events(commands: list[object]) -> None:
    assert _history(CART, commands) == _history(CART_OF_FUNCTIONS, commands)
