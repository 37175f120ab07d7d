"""A cart's stories, told of both of its styles: given events, when a command, then events."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from eventstore.aggregates import Aggregate
from eventstore.refusals import EventCannotFollow
from eventstore.testing import Story, story
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART, ShoppingCart
from tests.shopping_cart.cart_functions import CART_OF_FUNCTIONS, Open
from tests.shopping_cart.facts import CartCheckedOut, CartOpened, ItemAdded, ItemRemoved

WAREHOUSE_ID = UUID("01990000-0000-7000-8000-00000000a11e")
TEA = ItemAdded(sku="tea", quantity=2, total=2)
ORDERED = CartCheckedOut(warehouse_id=WAREHOUSE_ID, quantity=2)

STYLES = [pytest.param(CART, id="class"), pytest.param(CART_OF_FUNCTIONS, id="functions")]


@pytest.fixture(params=STYLES)
def cart(request: pytest.FixtureRequest) -> Story[Any]:
    """Stories about a cart in one of the two styles."""
    aggregate: Aggregate[Any] = request.param
    return story(aggregate)


def test_a_cart_is_opened(cart: Story[Any]) -> None:
    cart.given().when(facts.OpenCart()).then(CartOpened())


def test_a_cart_is_opened_once(cart: Story[Any]) -> None:
    cart.given(CartOpened()).when(facts.OpenCart()).then_raises(facts.CartIsOpen, match="open already")


def test_an_item_is_counted_into_the_total(cart: Story[Any]) -> None:
    cart.given(CartOpened(), TEA).when(facts.AddItem(sku="cup")).then(ItemAdded(sku="cup", quantity=1, total=3))


def test_nothing_is_put_into_a_cart_that_is_not_open(cart: Story[Any]) -> None:
    cart.given().when(facts.AddItem(sku="tea")).then_raises(facts.CartNotOpen)
    cart.given(CartOpened(), TEA, ORDERED).when(facts.AddItem(sku="tea")).then_raises(facts.CartNotOpen)


def test_an_item_is_taken_out_again(cart: Story[Any]) -> None:
    removed = ItemRemoved(sku="tea", quantity=2, total=0)
    cart.given(CartOpened(), TEA).when(facts.RemoveItem(sku="tea", quantity=2)).then(removed)


def test_no_more_is_taken_out_than_there_is(cart: Story[Any]) -> None:
    cart.given(CartOpened(), TEA).when(facts.RemoveItem(sku="tea", quantity=3)).then_raises(facts.NotInCart)
    cart.given(CartOpened(), TEA).when(facts.RemoveItem(sku="cup")).then_raises(facts.NotInCart)


def test_a_cart_is_checked_out(cart: Story[Any]) -> None:
    cart.given(CartOpened(), TEA).when(facts.CheckOut(warehouse_id=WAREHOUSE_ID)).then(ORDERED)


def test_an_empty_cart_is_not_checked_out(cart: Story[Any]) -> None:
    cart.given(CartOpened()).when(facts.CheckOut(warehouse_id=WAREHOUSE_ID)).then_raises(facts.CartIsEmpty)


def test_what_was_ordered_is_picked_or_given_up_and_only_once(cart: Story[Any]) -> None:
    ordered = cart.given(CartOpened(), TEA, ORDERED)
    ordered.when(facts.RecordPicking(order=1)).then(facts.CartPicked(order=1))
    ordered.when(facts.GiveUp(reason="lost")).then(facts.CartGivenUp(reason="lost"))
    picked = cart.given(CartOpened(), TEA, ORDERED, facts.CartPicked(order=1))
    picked.when(facts.GiveUp(reason="lost")).then_raises(facts.NotWaiting)


def test_an_event_that_cannot_follow_is_never_ignored(cart: Story[Any]) -> None:
    with pytest.raises(EventCannotFollow, match="ItemAdded cannot follow"):
        cart.given(TEA)


# --- The words themselves -----------------------------------------------------------------------------------


def test_a_story_fails_when_other_events_come(cart: Story[Any]) -> None:
    outcome = cart.given(CartOpened()).when(facts.AddItem(sku="tea"))
    with pytest.raises(AssertionError, match="but got"):
        outcome.then(TEA)


def test_a_story_fails_when_the_command_is_refused(cart: Story[Any]) -> None:
    with pytest.raises(AssertionError, match="refused: CartNotOpen"):
        cart.given().when(facts.AddItem(sku="tea")).then(TEA)


def test_a_story_fails_when_a_refusal_does_not_come(cart: Story[Any]) -> None:
    with pytest.raises(AssertionError, match="expected CartIsOpen"):
        cart.given().when(facts.OpenCart()).then_raises(facts.CartIsOpen)


def test_a_story_fails_when_another_refusal_comes(cart: Story[Any]) -> None:
    with pytest.raises(AssertionError, match="expected CartIsEmpty"):
        cart.given().when(facts.AddItem(sku="tea")).then_raises(facts.CartIsEmpty)


def test_a_story_tells_the_state_afterwards() -> None:
    add = facts.AddItem(sku="tea", quantity=2)
    story(CART).given(CartOpened()).when(add).then_state(ShoppingCart(status="open", items={"tea": 2}))
    outcome = story(CART_OF_FUNCTIONS).given(CartOpened()).when(add).then_state(Open(items={"tea": 2}))
    with pytest.raises(AssertionError, match="but got"):
        outcome.then_state(Open())


def test_deciding_and_applying_leave_the_state_that_somebody_holds_alone() -> None:
    before = CART.fold([CartOpened()])
    CART.decide(before, facts.AddItem(sku="tea", quantity=2))
    after = CART.evolve(before, TEA)
    assert before == ShoppingCart(status="open")
    assert after == ShoppingCart(status="open", items={"tea": 2})
