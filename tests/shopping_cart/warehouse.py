"""The warehouse: takes goods in, and gives out what carts order, one order after the other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from eventstore.aggregates import Aggregate, State
from tests.shopping_cart.facts import OrderPicked, PickOrder, Stock, WarehouseStocked


class Warehouse(State):
    """What has come in and gone out so far."""

    orders: int = 0
    quantity: int = 0
    stock: int = 0


def decide(state: Warehouse, command: PickOrder | Stock) -> Sequence[OrderPicked | WarehouseStocked]:
    """What follows from the command."""
    if isinstance(command, Stock):
        return [WarehouseStocked(quantity=command.quantity, stock=state.stock + command.quantity)]
    return [OrderPicked(cart_id=command.cart_id, quantity=command.quantity, order=state.orders + 1)]


def evolve(state: Warehouse, event: OrderPicked | WarehouseStocked) -> Warehouse:
    """The state after the event."""
    if isinstance(event, WarehouseStocked):
        return replace(state, stock=event.stock)
    return replace(state, orders=event.order, quantity=state.quantity + event.quantity)


WAREHOUSE: Final = Aggregate[Warehouse](
    stream_type="warehouse", initial=Warehouse(), decide=decide, evolve=evolve, state_type=Warehouse
)
