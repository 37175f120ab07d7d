"""The cart as state and functions: the same decisions and the same events as the class in `cart`. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import field

from eventstore.aggregates import Aggregate, State
from eventstore.refusals import EventCannotFollow
from tests.shopping_cart import facts
from tests.shopping_cart.facts import CartEvent


class Absent(State):
    """Nobody shops."""


class Open(State):
    """Somebody shops."""

    items: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many items there are."""
        return sum(self.items.values())


class Ordered(State):
    """What was in the cart is waited for."""


class Ended(State):
    """Picked, or given up."""


CartState = Absent | Open | Ordered | Ended


def decide(state: CartState, command: object) -> Sequence[CartEvent]:
    """What follows from the command; raises when it is refused."""
    match state, command:
        case Absent(), facts.OpenCart():
            return [facts.CartOpened()]
        case _, facts.OpenCart():
            raise facts.CartIsOpen
        case Ordered(), facts.RecordPicking(order=order):
            return [facts.CartPicked(order=order)]
        case Ordered(), facts.GiveUp(reason=reason):
            return [facts.CartGivenUp(reason=reason)]
        case _, facts.RecordPicking() | facts.GiveUp():
            raise facts.NotWaiting
        case Open(), _:
            return _shop(state, command)
        case _:
            raise facts.CartNotOpen


def _shop(state: Open, command: object) -> Sequence[CartEvent]:
    match command:
        case facts.AddItem(sku=sku, quantity=quantity):
            return [facts.ItemAdded(sku=sku, quantity=quantity, total=state.total + quantity)]
        case facts.RemoveItem(sku=sku, quantity=quantity):
            if state.items.get(sku, 0) < quantity:
                raise facts.NotInCart
            return [facts.ItemRemoved(sku=sku, quantity=quantity, total=state.total - quantity)]
        case facts.NameRecipient(name=name, street=street, country=country):
            return [facts.RecipientNamed(name=name, street=street, country=country)]
        case facts.CheckOut(warehouse_id=warehouse_id):
            if not state.items:
                raise facts.CartIsEmpty
            return [facts.CartCheckedOut(warehouse_id=warehouse_id, quantity=state.total)]
    raise TypeError(command)


def evolve(state: CartState, event: CartEvent) -> CartState:
    """The state after the event; raises when it cannot follow."""
    match state, event:
        case Absent(), facts.CartOpened():
            return Open()
        case Open(items=items), facts.ItemAdded(sku=sku, quantity=quantity):
            return Open(items={**items, sku: items.get(sku, 0) + quantity})
        case Open(items=items), facts.ItemRemoved(sku=sku, quantity=quantity):
            left = {**items, sku: items[sku] - quantity}
            return Open(items={sku: count for sku, count in left.items() if count})
        case Open(), facts.RecipientNamed():
            return state
        case Open(), facts.CartCheckedOut():
            return Ordered()
        case Ordered(), facts.CartPicked() | facts.CartGivenUp():
            return Ended()
        case _:
            raise EventCannotFollow(state=state, event=event)


CART_OF_FUNCTIONS: Final = Aggregate[CartState](
    stream_type="cart", initial=Absent(), decide=decide, evolve=evolve, state_type=CartState
)
