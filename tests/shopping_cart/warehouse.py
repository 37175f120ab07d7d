"""The warehouse: gives out what carts order, one order after the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eventstore.aggregates import Aggregate, State
from tests.shopping_cart.facts import OrderPicked, PickOrder


class Warehouse(State):
    """What has been given out so far."""

    orders: int = 0
    quantity: int = 0


def decide(state: Warehouse, command: PickOrder) -> Sequence[OrderPicked]:
    """What follows from the command."""
    return [OrderPicked(cart_id=command.cart_id, quantity=command.quantity, order=state.orders + 1)]


def evolve(state: Warehouse, event: OrderPicked) -> Warehouse:
    """The state after the event."""
    return Warehouse(orders=event.order, quantity=state.quantity + event.quantity)


WAREHOUSE: Final = Aggregate[Warehouse](
    stream_type="warehouse", initial=Warehouse(), decide=decide, evolve=evolve, state_type=Warehouse
)
