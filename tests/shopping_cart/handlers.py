"""Who follows the shop's log: the picking of orders, and the read model of carts. A registry of the shop's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from eventstore.events import Event, RecordedEvent
from eventstore.subscriptions.registry import Execute, Follows, SubscriptionRegistry, discards, handles
from eventstore.tables import Row, Table, Tables
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART
from tests.shopping_cart.warehouse import WAREHOUSE

SUBSCRIPTIONS: Final = SubscriptionRegistry()
SCHEMA: Final = "readmodel"


def _cart(recorded: RecordedEvent[Any]) -> UUID:
    event = recorded.data
    return event.cart_id if isinstance(event, facts.OrderPicked) else recorded.stream_id


def _warehouse_of(event: facts.CartCheckedOut) -> UUID:
    return event.warehouse_id


def _cart_of(event: facts.OrderPicked) -> UUID:
    return event.cart_id


@SUBSCRIPTIONS.subscriber(id="shop.picking", follows=Follows.ROUTE, key=_cart)
class Picking:
    """From an order to the warehouse, and back."""

    @handles(facts.CartCheckedOut, route=_warehouse_of)
    def pick(self, recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
        """Somebody ordered: have it given out."""
        command = facts.PickOrder(cart_id=recorded.stream_id, quantity=recorded.data.quantity)
        return Execute(aggregate=WAREHOUSE, stream_id=recorded.data.warehouse_id, command=command, creates=True)

    @handles(facts.OrderPicked, route=_cart_of)
    def record(self, recorded: RecordedEvent[facts.OrderPicked]) -> Execute:
        """It was given out: tell the cart."""
        command = facts.RecordPicking(order=recorded.data.order)
        return Execute(aggregate=CART, stream_id=recorded.data.cart_id, command=command)

    @discards(facts.CartCheckedOut)
    def give_up(self, recorded: RecordedEvent[facts.CartCheckedOut]) -> Execute:
        """An operator gave up the order: so does the cart."""
        return Execute(aggregate=CART, stream_id=recorded.stream_id, command=facts.GiveUp(reason="operator"))


class CartRow(Row, frozen=True):
    """A cart as the shop's page shows it."""

    cart_id: UUID
    status: str
    total: int  # items
    version: int


CARTS: Final = Table("cart", CartRow, key=("cart_id",), version="version")
_STATUS: Final[dict[type[Event], str]] = {
    facts.CartOpened: "open",
    facts.CartCheckedOut: "ordered",
    facts.CartPicked: "picked",
    facts.CartGivenUp: "given up",
}


@SUBSCRIPTIONS.projection(
    id="shop.carts",
    version=1,
    handles=[*_STATUS, facts.ItemAdded, facts.ItemRemoved],
    schema=SCHEMA,
    ddl=(Path(__file__).parent / "carts.sql").read_text(encoding="utf-8"),
    tables=("cart",),
    batch_size=50,
)
class Carts:
    """Keeps the read model of carts."""

    def project(self, events: Sequence[RecordedEvent[Any]], tables: Tables) -> None:
        """Sets each cart's row to what its last event says."""
        rows = tables.fetch(CARTS, {recorded.stream_id for recorded in events})
        for recorded in events:
            rows[recorded.stream_id] = _after(rows.get(recorded.stream_id), recorded)
        tables.write(CARTS, list(rows.values()))


def _after(row: CartRow | None, recorded: RecordedEvent[Any]) -> CartRow:
    if row is not None and row.version >= recorded.version:
        return row
    return CartRow(
        cart_id=recorded.stream_id,
        status=_STATUS.get(type(recorded.data), row.status if row else "open"),
        total=getattr(recorded.data, "total", row.total if row else 0),
        version=recorded.version,
    )
