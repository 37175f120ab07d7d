"""One day of the shop, in a process of its own: `python -m tests.shopping_cart.alone` prints what came of it as JSON.

Celery is made impossible to import, so that the day shows what the event store does without it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from uuid import UUID

sys.modules["celery"] = None  # type: ignore[assignment]  # any import of it fails
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.shopping_cart.settings"

import django  # noqa: E402 - the settings stand first

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402

from eventstore.aggregates import Aggregate  # noqa: E402
from eventstore.dispatch import drain  # noqa: E402
from eventstore.facts import stream_events  # noqa: E402
from eventstore.ids import new_id  # noqa: E402
from eventstore.loading import cache  # noqa: E402
from eventstore.metadata import Metadata  # noqa: E402
from eventstore.tables import ensure_tables  # noqa: E402
from tests.shopping_cart import facts  # noqa: E402
from tests.shopping_cart.cart import CART, ShoppingCart  # noqa: E402
from tests.shopping_cart.cart_functions import CART_OF_FUNCTIONS  # noqa: E402
from tests.shopping_cart.store import ALIAS, STORE  # noqa: E402

WAREHOUSE_ID = new_id()

# What the shop's page shows.
SELECT_CARTS = "SELECT status, total, version FROM readmodel.cart ORDER BY cart_id"


def shop(aggregate: Aggregate[Any]) -> UUID:
    """Somebody shops; answers with the cart."""
    cart_id = new_id()
    metadata = Metadata(actor="shopper", correlation_id=cart_id)
    STORE.execute(aggregate, cart_id, facts.OpenCart(), metadata=metadata, creates=True)
    for command in (
        facts.AddItem(sku="tea", quantity=3),
        facts.AddItem(sku="cup"),
        facts.RemoveItem(sku="tea"),
        facts.NameRecipient(name="Alice Archer", street="Abbey Row 1"),
        facts.CheckOut(warehouse_id=WAREHOUSE_ID),
    ):
        STORE.execute(aggregate, cart_id, command, metadata=metadata)
        cache.clear()  # the two styles have different states, and share the streams' type
    return cart_id


def history(cart_id: UUID) -> list[list[Any]]:
    """What the store has of a cart, as far as it does not tell one cart from another."""
    events = stream_events("cart", cart_id, using=ALIAS, registry=facts.EVENTS)
    return [[found.version, found.name, repr(found.data), found.metadata.actor] for found in events]


def main() -> None:
    """Makes the tables, shops twice, dispatches, and tells."""
    call_command("migrate", database=ALIAS, verbosity=0)
    ensure_tables(using=ALIAS, registry=STORE.subscriptions)
    carts = [shop(CART), shop(CART_OF_FUNCTIONS)]
    drained = drain(store=STORE)
    cache.clear()
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(SELECT_CARTS)
        shown = cursor.fetchall()
    found: ShoppingCart = STORE.find(CART, carts[0]).state
    told = {
        "drained": drained,
        "status": found.status,
        "items": found.items,
        "shown": shown,
        "history": [history(cart_id) for cart_id in carts],
        "modules": sorted({name.partition(".")[0] for name, module in sys.modules.items() if module is not None}),
    }
    print(json.dumps(told))  # noqa: T201 - whoever started this process reads it


if __name__ == "__main__":
    main()
