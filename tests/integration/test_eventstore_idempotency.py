"""Idempotency: a request's key and its effect commit together, so that a repeat is answered alike and does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

import msgspec
import psycopg
import pytest
from django.db.transaction import TransactionManagementError

from eventstore import idempotency
from eventstore.idempotency import (
    Claim,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    fingerprint_of,
    record_answer,
    recorded_answer,
)
from eventstore.store import Answered, Unit
from tests.integration.shops import Shop, rows, story_of, together, value
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART

pytestmark = pytest.mark.usefixtures("shop_database")

SELECT_RECORDS = "SELECT principal, key FROM eventstore_idempotency_record ORDER BY principal, key"


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What the shop answers."""

    cart_id: UUID
    version: int


@pytest.fixture
def shop() -> Shop:
    """A shop that nobody follows."""
    return Shop()


def _claim(key: str = "k1", *, principal: str = "alice", asks: bytes = b"tea") -> Claim:
    return Claim(principal=principal, key=key, fingerprint=fingerprint_of(b"POST", b"/carts", asks))


def _adding(cart_id: UUID, command: facts.AddItem | facts.RemoveItem) -> Callable[[Unit], Receipt]:
    def work(unit: Unit) -> Receipt:
        done = unit.execute(CART, cart_id, command, metadata=story_of(cart_id))
        return Receipt(cart_id=cart_id, version=done.version)

    return work


def _add(shop: Shop, cart_id: UUID, claim: Claim | None) -> Answered[Receipt]:
    return shop.store.run_once(claim, _adding(cart_id, facts.AddItem(sku="tea")), answer_type=Receipt)


def test_a_repeat_is_answered_as_the_first_was_and_changes_nothing(shop: Shop) -> None:
    cart_id = shop.open()
    first, again = _add(shop, cart_id, _claim()), _add(shop, cart_id, _claim())
    assert first == Answered(value=Receipt(cart_id=cart_id, version=2), replayed=False)
    assert again == Answered(value=first.value, replayed=True)
    assert shop.store.find(CART, cart_id).version == 2


def test_an_answer_stays_the_first_one_though_the_stream_has_gone_on(shop: Shop) -> None:
    cart_id = shop.open()
    first = _add(shop, cart_id, _claim())
    shop.add(cart_id, "cup")
    assert _add(shop, cart_id, _claim()).value == first.value


def test_a_key_that_is_used_for_something_else_is_refused(shop: Shop) -> None:
    cart_id = shop.open()
    _add(shop, cart_id, _claim())
    with pytest.raises(IdempotencyKeyReused):
        _add(shop, cart_id, _claim(asks=b"coffee"))
    assert shop.store.find(CART, cart_id).version == 2


def test_two_principals_may_use_the_same_key(shop: Shop) -> None:
    cart_id = shop.open()
    _add(shop, cart_id, _claim())
    assert not _add(shop, cart_id, _claim(principal="bob", asks=b"coffee")).replayed
    assert rows(SELECT_RECORDS) == [("alice", "k1"), ("bob", "k1")]


def test_without_a_key_it_is_done_each_time(shop: Shop) -> None:
    cart_id = shop.open()
    assert not _add(shop, cart_id, None).replayed
    assert not _add(shop, cart_id, None).replayed
    assert shop.store.find(CART, cart_id).version == 3
    assert rows(SELECT_RECORDS) == []


def test_a_refusal_leaves_no_key_so_that_a_repeat_may_succeed(shop: Shop) -> None:
    cart_id = shop.open()
    take_out = _adding(cart_id, facts.RemoveItem(sku="tea"))
    with pytest.raises(facts.NotInCart):
        shop.store.run_once(_claim(), take_out, answer_type=Receipt)
    assert rows(SELECT_RECORDS) == []
    shop.add(cart_id, "tea")
    assert shop.store.run_once(_claim(), take_out, answer_type=Receipt).value.version == 3


def test_the_key_goes_when_its_effect_does(shop: Shop, owner: psycopg.Connection) -> None:
    cart_id = shop.open()
    owner.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''at the last moment'' USING ERRCODE = ''53100''; END';
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON eventstore_outbox
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
    """)
    with pytest.raises(Exception, match="at the last moment"):
        _add(shop, cart_id, _claim())
    owner.execute("DROP TRIGGER refuse ON eventstore_outbox")
    assert rows(SELECT_RECORDS) == []
    assert shop.store.find(CART, cart_id).version == 1
    assert not _add(shop, cart_id, _claim()).replayed


def test_the_effect_goes_when_its_key_does(shop: Shop, owner: psycopg.Connection) -> None:
    cart_id = shop.open()
    owner.execute("REVOKE INSERT ON eventstore_idempotency_record FROM PUBLIC, daybook_app")
    with pytest.raises(Exception, match="permission denied"):
        _add(shop, cart_id, _claim())
    assert shop.store.find(CART, cart_id).version == 1


def test_two_at_once_have_one_effect_and_one_answer(shop: Shop) -> None:
    cart_id = shop.open()
    answers = together([lambda: _add(shop, cart_id, _claim())] * 8)
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert {answer.value.version for answer in answers} == {2}
    assert shop.store.find(CART, cart_id).version == 2
    assert value("SELECT count(*) FROM eventstore_outbox") == 2


def test_a_repeat_waits_a_bounded_time_for_the_first_to_end(
    shop: Shop, app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert idempotency.WAIT_SECONDS == 5
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.1)
    cart_id = shop.open()
    with app.transaction():
        app.execute("SELECT pg_advisory_xact_lock(%s)", [_claim().lock_key()])  # the first, in progress
        began = time.monotonic()
        with pytest.raises(IdempotencyInProgress):
            _add(shop, cart_id, _claim())
        assert 0.1 <= time.monotonic() - began < 2
        assert not _add(shop, cart_id, _claim("k2")).replayed  # other keys do not wait
    assert not _add(shop, cart_id, _claim()).replayed


def test_a_lost_race_is_begun_anew_with_its_key(shop: Shop) -> None:
    cart_id, attempts = shop.open(), []

    def work(unit: Unit) -> Receipt:
        attempts.append(1)
        done = unit.execute(CART, cart_id, facts.AddItem(sku="tea"), metadata=story_of(cart_id))
        if len(attempts) == 1:
            rows("DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '40001'; END $$")
        return Receipt(cart_id=cart_id, version=done.version)

    answer = shop.store.run_once(_claim(), work, answer_type=Receipt)
    assert (answer.replayed, answer.value.version, len(attempts)) == (False, 2, 2)
    assert _add(shop, cart_id, _claim()).replayed


def test_fingerprints_tell_requests_apart_whose_parts_run_together() -> None:
    assert fingerprint_of(b"ab", b"c") != fingerprint_of(b"a", b"bc")
    assert fingerprint_of(b"ab") != fingerprint_of(b"ab", b"")
    assert fingerprint_of(b"ab") != fingerprint_of(b"ac")
    assert fingerprint_of(b"ab", b"c") == fingerprint_of(b"ab", b"c")


def test_it_looks_and_keeps_only_inside_a_transaction() -> None:
    with pytest.raises(TransactionManagementError):  # the lock would end at once
        recorded_answer(_claim(), using="default")
    with pytest.raises(TransactionManagementError):  # the record would stay without its effect
        record_answer(_claim(), "{}", using="default")
