"""Loading: the same state from all events, from a snapshot or from memory, now and as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from msgspec.structs import replace
from pytest_django import Settings

from eventstore.aggregates import DEFAULT_SNAPSHOT_EVERY, Aggregate
from eventstore.facts import stream_events
from eventstore.ids import new_id
from eventstore.loading import StateCache, cache
from eventstore.snapshots import Loaded
from eventstore.store import Execution, StreamNotFound, Unit
from tests.integration.shops import Shop, rows, story_of, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART, ShoppingCart
from tests.shopping_cart.cart_functions import CART_OF_FUNCTIONS, Open

pytestmark = pytest.mark.usefixtures("shop_database")

SELECT_SNAPSHOTS = "SELECT version, state_version FROM eventstore_snapshot WHERE stream_id = %s ORDER BY version"


# Knows the last item that was added.
LAST_ADDED: Aggregate[str] = Aggregate(
    stream_type="cart", initial="", decide=lambda _state, _command: [], evolve=lambda _state, event: str(event.sku)
)

# An event beside the store.
INSERT_EVENT = """
INSERT INTO eventstore_event
    (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
VALUES (gen_random_uuid(), 'cart', %s, %s, 'ItemAdded', 2,
    jsonb_build_object('sku', %s::text, 'quantity', 1, 'total', 1),
    '{"actor": "x", "correlation_id": "01990000-0000-7000-8000-000000000000"}', clock_timestamp())
"""


@pytest.fixture
def shop() -> Shop:
    """A shop that nobody follows."""
    return Shop()


def _replay(cart_id: UUID, *, until: int | None = None) -> ShoppingCart:
    """The cart's state from all its events, or from the first so many: neither snapshot nor memory has a part in it."""
    events = stream_events("cart", cart_id, registry=facts.EVENTS)
    return CART.fold([recorded.data for recorded in events[:until]])


def _fill(shop: Shop, aggregate: Aggregate[Any], cart_id: UUID, count: int) -> None:
    """So many events in one transaction, each from a command of its own."""
    executions = [
        Execution(
            aggregate=aggregate,
            stream_id=cart_id,
            command=facts.AddItem(sku=f"sku {number % 7}"),
            metadata=story_of(cart_id),
        )
        for number in range(count)
    ]
    shop.store.run(lambda unit: unit.execute_many(executions))


def _spoil_snapshots(cart_id: UUID) -> None:
    """Makes snapshots tell something else, so that it shows who believes them."""
    rows('UPDATE eventstore_snapshot SET state = \'{"status": "open", "items": {"spoilt": 1}}\'')


# --- Snapshots ----------------------------------------------------------------------------------------------


def test_a_snapshot_is_taken_each_time_the_stated_number_of_events_is_full(shop: Shop) -> None:
    assert DEFAULT_SNAPSHOT_EVERY == 100
    assert CART.snapshot_every == 100
    cart_id = shop.open()
    _fill(shop, CART, cart_id, 98)
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == []
    cache.clear()
    assert shop.store.find(CART, cart_id).version == 99
    shop.add(cart_id, "the hundredth event")
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == [(100, 1)]
    _fill(shop, CART, cart_id, 150)
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == [(100, 1), (250, 1)]
    _spoil_snapshots(cart_id)
    cache.clear()
    assert shop.store.find(CART, cart_id).state.items == {"spoilt": 1}  # it is what is read, however long the stream


def test_a_snapshot_commits_or_rolls_back_with_its_events(shop: Shop) -> None:
    cart_id = shop.open()
    often = replace(CART, snapshot_every=2)
    with transaction.atomic():
        Unit(shop.store).execute(often, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
        transaction.set_rollback(True)
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == []


def test_find_and_find_at_begin_at_a_snapshot(shop: Shop) -> None:
    cart_id = shop.open()
    often = replace(CART, snapshot_every=3)
    _fill(shop, often, cart_id, 2)
    shop.add(cart_id, "after")
    _spoil_snapshots(cart_id)
    cache.clear()
    assert shop.store.find(often, cart_id).state.items == {"spoilt": 1, "after": 1}
    assert shop.store.find_at(often, cart_id, version=4).state.items == {"spoilt": 1, "after": 1}
    assert shop.store.find_at(often, cart_id, version=3).state.items == {"spoilt": 1}
    assert shop.store.find_at(often, cart_id, version=2).state == _replay(cart_id, until=2)  # before the snapshot


def test_a_state_from_snapshots_is_the_one_from_all_events_at_every_version(shop: Shop) -> None:
    often = replace(CART, snapshot_every=4)
    cart_id = shop.open()
    for number in range(14):
        shop.store.execute(often, cart_id, facts.AddItem(sku=f"{number % 3}"), metadata=story_of(cart_id))
    assert [version for version, _ in rows(SELECT_SNAPSHOTS, [cart_id])] == [4, 8, 12]
    for version in range(1, 16):
        cache.clear()
        found = shop.store.find_at(often, cart_id, version=version)
        assert (found.version, found.state) == (version, _replay(cart_id, until=version))
    events = stream_events("cart", cart_id, registry=facts.EVENTS)
    now = shop.store.find(often, cart_id)
    assert now.state == _replay(cart_id)
    assert (now.created_at, now.updated_at) == (events[0].recorded_at, events[-1].recorded_at)


def test_a_state_begins_at_its_own_stream_s_newest_snapshot_and_no_other(shop: Shop) -> None:
    often = replace(CART, snapshot_every=2)
    cart_id, other_id = shop.open(), shop.open()
    for sku in ("a", "b", "c"):
        shop.store.execute(often, cart_id, facts.AddItem(sku=sku), metadata=story_of(cart_id))
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == [(2, 1), (4, 1)]
    rows('UPDATE eventstore_snapshot SET state = \'{"status": "open"}\' WHERE version = 2')
    cache.clear()
    found = shop.store.load_many({cart_id: often, other_id: often})
    assert (found[cart_id].state, found[other_id].version) == (_replay(cart_id), 1)
    cache.clear()
    assert shop.store.find(often, other_id).version == 1
    assert shop.store.find_optional(replace(often, stream_type="wardrobe"), cart_id) is None


def test_a_snapshot_that_is_there_already_stops_nobody(shop: Shop) -> None:
    often = replace(CART, snapshot_every=2)
    cart_id = shop.open()
    rows(
        """
        INSERT INTO eventstore_snapshot (stream_type, stream_id, version, state_version, state, created_at, updated_at)
        VALUES ('cart', %s, 2, 1, '{"status": "open"}', now(), now())
        """,
        [cart_id],
    )
    shop.store.execute(often, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == [(2, 1)]


def test_snapshots_of_the_functional_style_are_read_back_as_they_were(shop: Shop) -> None:
    often = replace(CART_OF_FUNCTIONS, snapshot_every=2)
    cart_id = new_id()
    shop.store.execute(often, cart_id, facts.OpenCart(), metadata=story_of(cart_id), creates=True)
    shop.store.execute(often, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
    cache.clear()
    assert shop.store.find(often, cart_id).state == Open(items={"tea": 1})


def test_a_snapshot_of_another_state_version_is_ignored(shop: Shop) -> None:
    cart_id = shop.open()
    _fill(shop, replace(CART, snapshot_every=2), cart_id, 3)
    _spoil_snapshots(cart_id)
    cache.clear()
    reshaped = replace(CART, state_version=2)
    assert shop.store.find(reshaped, cart_id).state == _replay(cart_id)
    cache.clear()
    assert shop.store.find_at(reshaped, cart_id, version=4).state == _replay(cart_id)
    cache.clear()
    shop.store.execute(
        replace(reshaped, snapshot_every=1), cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id)
    )
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == [(4, 1), (5, 2)]


def test_a_stream_whose_snapshots_are_gone_is_as_it_was(shop: Shop) -> None:
    cart_id = shop.open()
    _fill(shop, replace(CART, snapshot_every=2), cart_id, 5)
    rows("DELETE FROM eventstore_snapshot")
    cache.clear()
    assert shop.store.find(CART, cart_id).state == _replay(cart_id)


def test_an_aggregate_without_a_state_type_has_no_snapshots(shop: Shop) -> None:
    cart_id = shop.open()
    _fill(shop, replace(CART, state_type=None, snapshot_every=1), cart_id, 3)
    assert rows(SELECT_SNAPSHOTS, [cart_id]) == []


# --- Now and then -------------------------------------------------------------------------------------------


def test_what_is_not_there_is_not_found(shop: Shop) -> None:
    nowhere = new_id()
    assert shop.store.find_optional(CART, nowhere) is None
    with pytest.raises(StreamNotFound, match=str(nowhere)):
        shop.store.find(CART, nowhere)
    with pytest.raises(StreamNotFound):
        shop.tell(nowhere, facts.AddItem(sku="tea"))
    with pytest.raises(StreamNotFound):
        shop.store.find_at(CART, nowhere, as_of=datetime.now(UTC))


def test_find_at_a_version_that_is_not_there_yet_finds_nothing(shop: Shop) -> None:
    cart_id = shop.open()
    for version in (0, 2):
        with pytest.raises(StreamNotFound, match=f"version {version}"):
            shop.store.find_at(CART, cart_id, version=version)


def test_find_at_takes_a_version_or_a_moment(shop: Shop) -> None:
    cart_id = shop.open()
    with pytest.raises(ValueError, match="either"):
        shop.store.find_at(CART, cart_id)
    with pytest.raises(ValueError, match="either"):
        shop.store.find_at(CART, cart_id, version=1, as_of=datetime.now(UTC))


def test_find_at_a_moment_tells_what_had_its_place_in_the_log_by_then(shop: Shop) -> None:
    cart_id = shop.open()
    for sku in ("a", "b", "c", "d"):
        shop.drain()
        shop.add(cart_id, sku)
    moments = [
        at
        for (at,) in rows(
            "SELECT sequenced_at FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id ORDER BY version"
        )
    ]
    assert len(moments) == 4  # the last event has no position yet
    for version, moment in enumerate(moments, start=1):
        found = shop.store.find_at(CART, cart_id, as_of=moment)
        assert (found.version, found.state) == (version, _replay(cart_id, until=version))
    assert shop.store.find_at(CART, cart_id, as_of=moments[-1] + timedelta(hours=1)).version == 4
    with pytest.raises(StreamNotFound):
        shop.store.find_at(CART, cart_id, as_of=moments[0] - timedelta(microseconds=1))


def test_find_at_a_moment_looks_at_its_own_stream_alone(shop: Shop) -> None:
    cart_id = shop.open()
    shop.drain()
    moment = value("SELECT max(sequenced_at) FROM eventstore_log")
    other_id = shop.open()
    for sku in ("a", "b", "c"):
        shop.add(other_id, sku)
    shop.drain()
    shop.add(cart_id, "tea")
    shop.drain()
    assert shop.store.find_at(CART, cart_id, as_of=moment).version == 1
    assert shop.store.find_at(CART, cart_id, as_of=datetime.now(UTC)).version == 2
    with pytest.raises(StreamNotFound):
        shop.store.find_at(CART, other_id, as_of=moment)
    with pytest.raises(StreamNotFound):  # its id, and another type
        shop.store.find_at(replace(CART, stream_type="wardrobe"), cart_id, as_of=datetime.now(UTC))


def test_a_stream_is_read_in_the_order_of_its_versions_wherever_its_rows_stand(shop: Shop) -> None:
    cart_id = new_id()
    for version, sku in ((3, "c"), (1, "a"), (2, "b")):  # space that a clean-up has freed is filled again like this
        rows(INSERT_EVENT, [cart_id, version, sku])
    with transaction.atomic():
        for way in ("indexscan", "bitmapscan"):
            rows(f"SET LOCAL enable_{way} = off")
        events = stream_events("cart", cart_id, registry=facts.EVENTS)
        loaded = shop.store.find(LAST_ADDED, cart_id)
    assert [recorded.version for recorded in events] == [1, 2, 3]
    assert loaded.state == "c"


def test_many_streams_are_loaded_with_one_query_for_their_events(
    shop: Shop, django_assert_max_num_queries: Any
) -> None:
    carts = [shop.open() for _ in range(5)]
    cache.clear()
    with django_assert_max_num_queries(2):
        loaded = shop.store.load_many(dict.fromkeys(carts, CART))
    assert {found.version for found in loaded.values()} == {1}


# --- Old shapes ---------------------------------------------------------------------------------------------


def test_an_event_that_was_stored_in_an_old_shape_is_read_in_today_s(shop: Shop) -> None:
    cart_id = shop.open()
    rows(
        """
        INSERT INTO eventstore_event
            (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
        VALUES (%s, 'cart', %s, 2, 'ItemAdded', 1, '{"sku": "tea", "total": 1}',
            '{"actor": "old", "correlation_id": "01990000-0000-7000-8000-000000000000"}', clock_timestamp())
        """,
        [new_id(), cart_id],
    )
    shop.add(cart_id, "cup")
    old, new = stream_events("cart", cart_id, registry=facts.EVENTS)[1:]
    assert old.data == facts.ItemAdded(sku="tea", quantity=1, total=1)
    assert new.data == facts.ItemAdded(sku="cup", quantity=1, total=2)
    written = "SELECT schema_version, data::text FROM eventstore_event WHERE stream_id = %s ORDER BY version"
    assert [version for version, _ in rows(written, [cart_id])] == [1, 1, 2]
    assert "quantity" not in rows(written, [cart_id])[1][1]  # what is stored stays as it was stored


# --- Memory -------------------------------------------------------------------------------------------------


def _cached(cart_id: UUID) -> int | None:
    found = cache.get(("default", "cart", cart_id))
    return found.version if found else None


def test_a_state_is_remembered_only_once_it_is_committed(shop: Shop) -> None:
    cart_id = new_id()
    remembered: list[int | None] = []

    def work(unit: Unit) -> None:
        unit.execute(CART, cart_id, facts.OpenCart(), metadata=story_of(cart_id), creates=True)
        remembered.append(_cached(cart_id))

    shop.store.run(work)
    assert remembered == [None]
    assert _cached(cart_id) == 1


def test_what_was_saved_and_updated_is_remembered_as_far_as_it_went(shop: Shop) -> None:
    tea = facts.ItemAdded(sku="tea", quantity=1, total=1)
    often = replace(CART, snapshot_every=3)
    saved = shop.store.save(often, [facts.CartOpened(), tea], metadata=story_of(new_id()))
    assert _cached(saved.stream_id) == 2
    assert shop.store.find(CART, saved.stream_id).state == _replay(saved.stream_id)
    assert rows(SELECT_SNAPSHOTS, [saved.stream_id]) == []
    updated = shop.store.update(often, saved, [tea, tea], metadata=story_of(new_id()))
    assert _cached(updated.stream_id) == 4
    assert shop.store.find(CART, saved.stream_id).state == _replay(saved.stream_id)
    assert rows(SELECT_SNAPSHOTS, [saved.stream_id]) == [(4, 1)]
    begun = shop.store.save(replace(CART, snapshot_every=1), [facts.CartOpened()], metadata=story_of(new_id()))
    assert _cached(begun.stream_id) == 1
    assert rows(SELECT_SNAPSHOTS, [begun.stream_id]) == [(1, 1)]


def test_a_state_that_was_rolled_back_is_not_remembered(shop: Shop) -> None:
    cart_id = shop.open()

    def work(unit: Unit) -> None:
        unit.execute(CART, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        shop.store.run(work)
    assert _cached(cart_id) == 1
    assert shop.store.find(CART, cart_id).version == 1
    assert shop.tell(cart_id, facts.AddItem(sku="cup")).version == 2


def test_a_remembered_state_is_never_stale_though_another_process_writes(shop: Shop) -> None:
    cart_id = shop.open()
    remembered = cache.get(("default", "cart", cart_id))
    shop.add(cart_id, "tea")
    assert remembered is not None
    cache.feed([(("default", "cart", cart_id), remembered)])  # as if the other had written it
    assert shop.store.find(CART, cart_id).state.items == {"tea": 1}
    assert shop.tell(cart_id, facts.AddItem(sku="cup")).events[0].data == facts.ItemAdded(
        sku="cup", quantity=1, total=2
    )


def test_a_state_that_is_remembered_wrongly_is_forgotten_when_it_does_not_fit(shop: Shop) -> None:
    cart_id = shop.open()
    shop.add(cart_id, "tea")
    remembered = cache.get(("default", "cart", cart_id))
    assert remembered is not None
    ahead = replace(remembered, version=9, state=ShoppingCart(status="open", items={"dream": 1}))
    cache.feed([(("default", "cart", cart_id), ahead)])
    done = shop.tell(cart_id, facts.AddItem(sku="cup"))
    assert done.version == 3
    assert done.state.items == {"tea": 1, "cup": 1}


def test_reading_remembers_nothing(shop: Shop) -> None:
    cart_id = shop.open()
    cache.clear()
    shop.store.find(CART, cart_id)
    assert _cached(cart_id) is None


def test_memory_is_bounded_and_keeps_what_was_used_last(shop: Shop, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "CACHED_STREAMS": 3}
    carts = [shop.open() for _ in range(3)]
    shop.store.find(CART, carts[0])
    newest = shop.open()
    assert [_cached(cart_id) for cart_id in (*carts, newest)] == [1, None, 1, 1]


def test_a_state_that_is_remembered_anew_was_used_last(settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "CACHED_STREAMS": 2}
    remembered = StateCache()
    first, second, third = (("default", "cart", new_id()) for _ in range(3))
    for key in (first, second, first, third):
        remembered.feed([(key, Loaded(stream_id=key[2], state=None, version=1))])
    assert [remembered.get(key) is not None for key in (first, second, third)] == [True, False, True]


def test_memory_is_shared_by_threads_without_losing_anything(shop: Shop, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "CACHED_STREAMS": 2}
    carts = [shop.open() for _ in range(4)]

    def use() -> None:
        for cart_id in carts * 3:
            shop.add(cart_id, "tea")
            assert shop.store.find(CART, cart_id).state.total > 0

    together([use] * 4)
    assert [shop.store.find(CART, cart_id).state.total for cart_id in carts] == [12] * 4
    assert value("SELECT count(*) FROM eventstore_event") == 4 + 4 * 12
