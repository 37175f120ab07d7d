"""A shop on the default connection, for tests of the event store: words to shop with, and ways to look on.

Its events are none of Daybook's, so it belongs into a database of the test's own (`shop_database`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import connection, connections, transaction
from prometheus_client import REGISTRY

from eventstore.aggregates import Command
from eventstore.dispatch import drain
from eventstore.events import RecordedEvent
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.store import EventStore, Executed
from eventstore.subscriptions.registry import Answer, SubscriptionRegistry, handles
from eventstore.tables import create_tables
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART
from tests.shopping_cart.handlers import SUBSCRIPTIONS
from tests.shopping_cart.warehouse import WAREHOUSE

T = TypeVar("T")
POISON: Final = "poison"
"""What a handler of a test is to choke on: a `sku`."""

# What a handler of a test writes down, in the transaction of its batch; a name given twice is there twice.
CREATE_JOURNAL = """
CREATE TABLE readmodel.journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    position bigint NOT NULL,
    note text NOT NULL,
    transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
    backend integer NOT NULL DEFAULT pg_backend_pid()
)
"""


def make_tables() -> None:
    """Makes the shop's read model."""
    (projection,) = SUBSCRIPTIONS.projections()
    with transaction.atomic(), connection.cursor() as cursor:
        create_tables(cursor, projection, schema=projection.schema)


class Shop:
    """Carts and warehouses on the default connection, with the subscriptions that a test wants."""

    def __init__(self, subscriptions: SubscriptionRegistry | None = None) -> None:
        self.store = EventStore(registry=facts.EVENTS, subscriptions=subscriptions or SubscriptionRegistry())

    def open(self, cart_id: UUID | None = None) -> UUID:
        """Opens a cart; answers with its id."""
        chosen = cart_id or new_id()
        self.store.execute(CART, chosen, facts.OpenCart(), metadata=story_of(chosen), creates=True)
        return chosen

    def tell(self, cart_id: UUID, command: Command) -> Executed:
        """Gives the cart a command."""
        return self.store.execute(CART, cart_id, command, metadata=story_of(cart_id))

    def add(self, cart_id: UUID, *skus: str) -> None:
        """Puts one of each into the cart, each an event of its own."""
        for sku in skus:
            self.tell(cart_id, facts.AddItem(sku=sku))

    def order(self, warehouse_id: UUID, *, quantity: int = 1) -> UUID:
        """Opens a cart, fills it and checks it out; answers with its id."""
        cart_id = self.open()
        self.tell(cart_id, facts.AddItem(sku="tea", quantity=quantity))
        self.tell(cart_id, facts.CheckOut(warehouse_id=warehouse_id))
        return cart_id

    def status(self, cart_id: UUID) -> str:
        """How the cart stands, from its events."""
        return str(self.store.find(CART, cart_id).state.status)

    def picked(self, warehouse_id: UUID) -> int:
        """How many orders the warehouse gave out."""
        found = self.store.find_optional(WAREHOUSE, warehouse_id)
        return found.state.orders if found else 0

    def drain(self, *, batch_size: int | None = None) -> bool:
        """Dispatches until nothing is left."""
        return drain(store=self.store, batch_size=batch_size)


def watching(
    handle: Callable[[RecordedEvent[facts.ItemAdded]], Answer], *, partitions: int = 1, batch_size: int = 500
) -> SubscriptionRegistry:
    """Subscriptions with one reactor, `watcher`, that gives each item that was added to `handle`."""
    registry = SubscriptionRegistry()

    @registry.subscriber(id="watcher", partitions=partitions, batch_size=batch_size)
    class Watcher:
        @handles(facts.ItemAdded)
        def added(self, recorded: RecordedEvent[facts.ItemAdded]) -> Answer:
            return handle(recorded)

    return registry


def story_of(stream_id: UUID) -> Metadata:
    """Metadata of somebody who does something to a stream."""
    return Metadata(actor="shopper", correlation_id=stream_id, origin="test")


def rows(statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """What a statement answers on the default connection; the app role asks."""
    with connection.cursor() as cursor:
        cursor.execute(statement, list(parameters))
        return cursor.fetchall() if cursor.description else []


def value(statement: str, parameters: Sequence[Any] = ()) -> Any:
    """The single value that a statement answers."""
    ((found,),) = rows(statement, parameters)
    return found


def note(recorded: RecordedEvent[Any], text: str = "") -> None:
    """Writes the event down in the journal, in the open transaction."""
    statement = "INSERT INTO readmodel.journal (position, note) VALUES (%s, %s)"
    rows(statement, [recorded.position, text or getattr(recorded.data, "sku", recorded.name)])


def notes() -> list[str]:
    """What was written down and committed, in that order."""
    return [text for (text,) in rows("SELECT note FROM readmodel.journal ORDER BY id")]


def parked() -> list[tuple[Any, ...]]:
    """What is parked: subscription, key and position, in the order of the log."""
    statement = """
        SELECT e.subscription, k.key, e.position
        FROM eventstore_parked_event e JOIN eventstore_parked_key k ON k.id = e.parked_key_id ORDER BY e.position
    """
    return rows(statement)


def counted(name: str, **labels: str) -> float:
    """What a counter for Prometheus stands at in this process."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def make_due() -> None:
    """Lets what waits for a time wait no longer: held checkpoints, parked keys, attempts that may still be alive."""
    rows("UPDATE eventstore_checkpoint SET held_until = NULL")
    rows("UPDATE eventstore_checkpoint SET attempted_at = attempted_at - interval '1 minute'")
    rows("UPDATE eventstore_parked_key SET next_attempt_at = clock_timestamp()")


def together(works: Sequence[Callable[[], T]]) -> list[T]:
    """Runs the works at the same time, each in a thread with its own connection; raises what one of them raises."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        try:
            barrier.wait(timeout=10)
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return [found.result() for found in [pool.submit(run, work) for work in works]]


def in_process(work: Callable[[], object]) -> int:
    """Runs the work in a process of its own; answers with its exit code, 0 when it ended by itself."""
    connections.close_all()  # two processes must not talk over one connection
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it was, this process must not go on with the parent's tests
            os._exit(70)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
