"""Sealed personal fields: ciphertext wherever they rest, readable by who loads, gone with the person's key."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from msgspec.structs import replace
from pytest_django import Settings

from eventstore.facts import stream_events
from eventstore.ids import new_id
from eventstore.loading import cache
from eventstore.sealing import ERASED, KeyUnreadable, PersonErased, ensure_keys, erase, keys_of
from tests.integration.shops import Shop, rows, story_of, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART

pytestmark = pytest.mark.usefixtures("shop_database")

NAME = "Alice Archer"
STREET = "Abbey Row 1"

# Puts one person's sealed event at the end of another's stream.
COPY_EVENT = """
INSERT INTO eventstore_event
    (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
SELECT gen_random_uuid(), e.stream_type, other.id,
    (SELECT max(version) + 1 FROM eventstore_event WHERE stream_id = other.id),
    e.event_type, e.schema_version, e.data, e.metadata, e.recorded_at
FROM eventstore_event e CROSS JOIN (SELECT %s::uuid AS id) AS other WHERE e.stream_id = %s AND e.version = 2
"""

# Gives one person's key to another.
MOVE_KEY = """
UPDATE eventstore_subject_key SET wrapped_key = (SELECT wrapped_key FROM eventstore_subject_key WHERE subject_id = %s)
WHERE subject_id = %s
"""

# Every table that the app role reads.
SELECT_TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname IN ('public', 'readmodel') AND has_table_privilege(c.oid, 'SELECT')
"""


@pytest.fixture
def shop() -> Shop:
    """A shop that nobody follows."""
    return Shop()


def _name(shop: Shop, name: str = NAME, street: str | None = STREET) -> UUID:
    cart_id = shop.open()
    shop.tell(cart_id, facts.NameRecipient(name=name, street=street))
    return cart_id


def _recipient(cart_id: UUID) -> facts.RecipientNamed:
    found = stream_events("cart", cart_id, registry=facts.EVENTS)[-1].data
    assert isinstance(found, facts.RecipientNamed)
    return found


def _stored(cart_id: UUID) -> dict[str, Any]:
    return dict(rows("SELECT key, value FROM eventstore_event, jsonb_each_text(data) WHERE stream_id = %s", [cart_id]))


# --- At rest ------------------------------------------------------------------------------------------------


def test_a_sealed_field_rests_as_ciphertext_and_reads_as_it_was(shop: Shop) -> None:
    cart_id = _name(shop)
    stored = _stored(cart_id)
    assert stored["country"] == "DE"
    assert NAME not in stored["name"]
    assert len(stored["name"]) > 30
    assert _recipient(cart_id) == facts.RecipientNamed(name=NAME, street=STREET, country="DE")


def test_nothing_that_rests_in_the_database_holds_a_sealed_field(shop: Shop) -> None:
    cart_id = shop.open()
    often = replace(CART, snapshot_every=1)
    command = facts.NameRecipient(name=NAME, street=STREET)
    shop.store.execute(often, cart_id, command, metadata=story_of(cart_id))
    shop.drain()
    tables = {table for (table,) in rows(SELECT_TABLES)}
    assert {"eventstore_event", "eventstore_snapshot", "eventstore_subject_key"} <= tables
    assert value("SELECT count(*) FROM eventstore_snapshot") == 1
    texts = {table: str(rows(f"SELECT t::text FROM {table} t")) for table in tables}
    assert "DE" in texts["eventstore_event"]
    assert [table for table, text in texts.items() if NAME in text or STREET in text] == []


def test_the_same_name_twice_is_not_the_same_ciphertext(shop: Shop) -> None:
    assert _stored(_name(shop))["name"] != _stored(_name(shop))["name"]


def test_a_field_that_is_absent_needs_no_key(shop: Shop) -> None:
    cart_id = _name(shop, street=None)
    assert _stored(cart_id)["street"] is None
    assert _recipient(cart_id).street is None


def test_a_person_has_one_key_though_two_processes_make_it_at_once(shop: Shop) -> None:
    cart_id = shop.open()

    def name(text: str) -> None:
        shop.tell(cart_id, facts.NameRecipient(name=text))

    together([lambda: name("Alice"), lambda: name("Bob"), lambda: name("Carol")])
    assert value("SELECT count(*) FROM eventstore_subject_key") == 1
    names = {event.data.name for event in stream_events("cart", cart_id, registry=facts.EVENTS)[1:]}
    assert names == {"Alice", "Bob", "Carol"}


# --- Erasing ------------------------------------------------------------------------------------------------


def test_an_erased_person_is_erased_from_every_event_and_history_stays_whole(shop: Shop) -> None:
    alices, bobs = _name(shop), _name(shop, "Bob", "Bridge Street 2")
    shop.add(alices, "tea")
    shop.tell(alices, facts.NameRecipient(name="Alice Baker"))
    before = rows("SELECT id, data::text FROM eventstore_event ORDER BY id")
    assert erase(alices)
    assert not erase(alices)
    assert rows("SELECT id, data::text FROM eventstore_event ORDER BY id") == before
    events = [recorded.data for recorded in stream_events("cart", alices, registry=facts.EVENTS)]
    assert events[1] == facts.RecipientNamed(name=ERASED, street=ERASED, country="DE")
    assert events[3] == facts.RecipientNamed(name=ERASED, street=None, country="DE")
    assert _recipient(bobs).name == "Bob"
    cache.clear()
    assert shop.store.find(CART, alices).state.items == {"tea": 1}
    assert shop.tell(alices, facts.AddItem(sku="cup")).version == 5


def test_nothing_personal_is_recorded_about_an_erased_person_any_more(shop: Shop) -> None:
    cart_id = _name(shop)
    erase(cart_id)
    with pytest.raises(PersonErased, match="was erased"):
        shop.tell(cart_id, facts.NameRecipient(name="Alice again"))
    shop.add(cart_id, "tea")
    assert [recorded.version for recorded in stream_events("cart", cart_id, registry=facts.EVENTS)] == [1, 2, 3]
    assert value("SELECT octet_length(wrapped_key) FROM eventstore_subject_key") == 0


# --- Other people's keys ------------------------------------------------------------------------------------


def test_a_ciphertext_cannot_be_moved_to_another_person(shop: Shop) -> None:
    alices, bobs = _name(shop), _name(shop, "Bob")
    rows(COPY_EVENT, [bobs, alices])
    with pytest.raises(InvalidTag):
        stream_events("cart", bobs, registry=facts.EVENTS)


def test_a_key_that_was_moved_to_another_person_unseals_nothing(shop: Shop) -> None:
    alices, bobs = _name(shop), _name(shop, "Bob")
    rows(MOVE_KEY, [alices, bobs])
    with pytest.raises(InvalidTag):
        _recipient(bobs)


def test_not_even_ciphertext_and_key_together_can_be_moved_to_another_person(shop: Shop) -> None:
    alices, bobs = _name(shop), shop.open()
    ensure_keys([bobs], using="default")
    rows(COPY_EVENT, [bobs, alices])
    rows(MOVE_KEY, [alices, bobs])
    with pytest.raises(InvalidTag):
        _recipient(bobs)


# --- Keys of the settings -----------------------------------------------------------------------------------


def test_without_a_master_key_the_error_names_the_setting(shop: Shop, settings: Settings) -> None:
    cart_id = _name(shop)
    settings.EVENTSTORE = {**settings.EVENTSTORE, "SEALING_KEYS": ()}
    with pytest.raises(ImproperlyConfigured, match=r"EVENTSTORE\['SEALING_KEYS'\] needs a Fernet key"):
        _recipient(cart_id)
    with pytest.raises(ImproperlyConfigured, match="SEALING_KEYS"):
        _name(shop)
    assert value("SELECT count(*) FROM eventstore_subject_key") == 1


def test_with_another_master_key_the_error_says_which_key_is_missing(shop: Shop, settings: Settings) -> None:
    cart_id = _name(shop)
    settings.EVENTSTORE = {**settings.EVENTSTORE, "SEALING_KEYS": (Fernet.generate_key().decode(),)}
    with pytest.raises(ImproperlyConfigured, match="lacks the key it was wrapped with"):
        _recipient(cart_id)


def test_a_key_that_was_spoiled_is_one_persons_affair_and_not_the_settings(shop: Shop) -> None:
    alices, bobs = _name(shop), _name(shop)
    rows("UPDATE eventstore_subject_key SET wrapped_key = '\\x01' WHERE subject_id = %s", [alices])
    with pytest.raises(KeyUnreadable, match=str(alices)):
        _recipient(alices)
    assert _recipient(bobs)


def test_a_new_master_key_wraps_and_the_old_one_still_unwraps(shop: Shop, settings: Settings) -> None:
    old = settings.EVENTSTORE["SEALING_KEYS"]
    alices = _name(shop)
    new = (Fernet.generate_key().decode(),)
    settings.EVENTSTORE = {**settings.EVENTSTORE, "SEALING_KEYS": (*new, *old)}
    bobs = _name(shop, "Bob")
    assert _recipient(alices).name == NAME
    settings.EVENTSTORE = {**settings.EVENTSTORE, "SEALING_KEYS": new}
    assert _recipient(bobs).name == "Bob"


def test_streams_without_personal_fields_need_no_key(shop: Shop, settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "SEALING_KEYS": ()}
    cart_id = shop.open()
    shop.add(cart_id, "tea")
    cache.clear()
    assert shop.store.find(CART, cart_id).version == 2


def test_keys_are_fetched_with_one_query_for_many_people(shop: Shop, django_assert_num_queries: Any) -> None:
    people = [new_id() for _ in range(5)]
    made = ensure_keys(people, using="default")
    with django_assert_num_queries(1):
        found = keys_of(people, using="default")
    assert [found[id].unseal(made[id].seal("x")) for id in people] == ["x"] * 5
