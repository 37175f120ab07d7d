"""What happens in the shop: events and commands of carts and of the warehouse, with a registry of the shop's own. Pure.

Both styles of cart (`cart`, `cart_functions`) and every other module of the shop import this one.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from eventstore.aggregates import Command
from eventstore.events import Event
from eventstore.refusals import Refusal
from eventstore.registry import EventRegistry

EVENTS: Final = EventRegistry()


# --- Events of a cart ---------------------------------------------------------------------------------------


@EVENTS.event("CartOpened")
class CartOpened(Event):
    """Somebody began to shop."""


def _count_one(fields: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew single items only."""
    return {**fields, "quantity": 1}


@EVENTS.event("ItemAdded", schema_version=2, upcasters={1: _count_one})
class ItemAdded(Event):
    """Something was put into the cart."""

    sku: str
    quantity: int
    total: int  # of all items in the cart, after this


@EVENTS.event("ItemRemoved")
class ItemRemoved(Event):
    """Something was taken out of the cart."""

    sku: str
    quantity: int
    total: int  # of all items in the cart, after this


@EVENTS.event("RecipientNamed", sealed=("name", "street"))
class RecipientNamed(Event):
    """Somebody is to have what is in the cart."""

    name: str
    street: str | None
    country: str


@EVENTS.event("CartCheckedOut")
class CartCheckedOut(Event):
    """The shopper ordered what is in the cart."""

    warehouse_id: UUID
    quantity: int


@EVENTS.event("CartPicked")
class CartPicked(Event):
    """The warehouse gave out what was ordered."""

    order: int  # the warehouse's own count


@EVENTS.event("CartGivenUp")
class CartGivenUp(Event):
    """Nobody will have what was ordered."""

    reason: str


CartEvent = CartOpened | ItemAdded | ItemRemoved | RecipientNamed | CartCheckedOut | CartPicked | CartGivenUp


# --- Events of a warehouse ----------------------------------------------------------------------------------


@EVENTS.event("OrderPicked")
class OrderPicked(Event):
    """A cart's items were given out."""

    cart_id: UUID
    quantity: int
    order: int  # how many orders were picked so far, this one included


@EVENTS.event("WarehouseStocked")
class WarehouseStocked(Event):
    """Something came in."""

    quantity: int
    stock: int  # of all that ever came in, this included


# --- Commands -----------------------------------------------------------------------------------------------


class OpenCart(Command):
    """Begin to shop."""


class AddItem(Command):
    """Put something into the cart."""

    sku: str
    quantity: int = 1


class RemoveItem(Command):
    """Take something out of the cart."""

    sku: str
    quantity: int = 1


class NameRecipient(Command):
    """Say who is to have it."""

    name: str
    street: str | None = None
    country: str = "DE"


class CheckOut(Command):
    """Order what is in the cart."""

    warehouse_id: UUID


class RecordPicking(Command):
    """Take note that the warehouse gave it out."""

    order: int


class GiveUp(Command):
    """Stop waiting for what was ordered."""

    reason: str


class PickOrder(Command):
    """Give out a cart's items."""

    cart_id: UUID
    quantity: int


class Stock(Command):
    """Take something in."""

    quantity: int


# --- Refusals -----------------------------------------------------------------------------------------------


class CartIsOpen(Refusal):
    """The cart is open already."""


class CartNotOpen(Refusal):
    """The cart is not open."""


class NotInCart(Refusal):
    """The cart does not hold so many of it."""


class CartIsEmpty(Refusal):
    """There is nothing in the cart."""


class NotWaiting(Refusal):
    """The cart waits for nothing."""
