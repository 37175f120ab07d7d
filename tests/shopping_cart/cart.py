"""The cart in the class style: one object with `process` and `apply`. Pure.

`cart_functions` is the same cart as state and functions; a test shows that both lead to the same events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from eventstore.aggregates import process_apply
from eventstore.refusals import EventCannotFollow
from tests.shopping_cart import facts
from tests.shopping_cart.facts import CartEvent


@dataclass
class ShoppingCart:
    """A cart as it is."""

    status: Literal["absent", "open", "ordered", "picked", "given up"] = "absent"
    items: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many items there are."""
        return sum(self.items.values())

    def process(self, command: object) -> Sequence[CartEvent]:
        """What follows from the command; raises when it is refused."""
        match command:
            case facts.OpenCart():
                return self._open()
            case facts.RecordPicking() | facts.GiveUp():
                return self._end(command)
        if self.status != "open":
            raise facts.CartNotOpen
        return self._shop(command)

    def _open(self) -> Sequence[CartEvent]:
        if self.status != "absent":
            raise facts.CartIsOpen
        return [facts.CartOpened()]

    def _end(self, command: facts.RecordPicking | facts.GiveUp) -> Sequence[CartEvent]:
        if self.status != "ordered":
            raise facts.NotWaiting
        if isinstance(command, facts.RecordPicking):
            return [facts.CartPicked(order=command.order)]
        return [facts.CartGivenUp(reason=command.reason)]

    def _shop(self, command: object) -> Sequence[CartEvent]:
        match command:
            case facts.AddItem(sku=sku, quantity=quantity):
                return [facts.ItemAdded(sku=sku, quantity=quantity, total=self.total + quantity)]
            case facts.RemoveItem(sku=sku, quantity=quantity):
                if self.items.get(sku, 0) < quantity:
                    raise facts.NotInCart
                return [facts.ItemRemoved(sku=sku, quantity=quantity, total=self.total - quantity)]
            case facts.NameRecipient(name=name, street=street, country=country):
                return [facts.RecipientNamed(name=name, street=street, country=country)]
            case facts.CheckOut(warehouse_id=warehouse_id):
                if not self.items:
                    raise facts.CartIsEmpty
                return [facts.CartCheckedOut(warehouse_id=warehouse_id, quantity=self.total)]
        raise TypeError(command)

    def apply(self, event: CartEvent) -> None:
        """Takes the event into this cart; raises when it cannot follow."""
        match self.status, event:
            case "absent", facts.CartOpened():
                self.status = "open"
            case "open", facts.ItemAdded(sku=sku, quantity=quantity):
                self.items[sku] = self.items.get(sku, 0) + quantity
            case "open", facts.ItemRemoved(sku=sku, quantity=quantity):
                self.items[sku] -= quantity
                self.items = {sku: left for sku, left in self.items.items() if left}
            case "open", facts.RecipientNamed():
                pass  # personal, so no part of a state that is kept
            case "open", facts.CartCheckedOut():
                self.status = "ordered"
            case "ordered", facts.CartPicked():
                self.status = "picked"
            case "ordered", facts.CartGivenUp():
                self.status = "given up"
            case _:
                raise EventCannotFollow(state=self, event=event)


CART: Final = process_apply(ShoppingCart, stream_type="cart", state_type=ShoppingCart)
