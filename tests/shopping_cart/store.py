"""The shop's event store: a database of its own, its own events and its own subscriptions."""

from __future__ import annotations

from typing import Final

from eventstore.store import EventStore
from tests.shopping_cart.facts import EVENTS
from tests.shopping_cart.handlers import SUBSCRIPTIONS

ALIAS: Final = "carts"
STORE: Final = EventStore(using=ALIAS, registry=EVENTS, subscriptions=SUBSCRIPTIONS)
