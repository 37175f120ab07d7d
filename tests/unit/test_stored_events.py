"""What is stored stays readable: names, fields and old shapes.

`golden_events.json` holds each event as it was once written. It grows with each new event and schema version; a line in
it is never changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import msgspec
import pytest

import accounts.published.events as account_events
from accounts.published.events import (
    AccountEvent,
    CashEntryKind,
    CashEntryReversed,
    CustomerContactChanged,
    CustomerEvent,
    CustomerRegistered,
    balance_change,
)
from eventstore.events import Event
from eventstore.registry import EventRegistry, UnknownEventType, events
from transfers.published.events import MoneyTransferCreated, TransferDetails, TransferEvent

GOLDEN: list[dict[str, Any]] = json.loads(Path(__file__).with_name("golden_events.json").read_text())

# The public contract: names and fields that readers outside rely on.
CONTRACT = {
    "CustomerRegistered": {"name", "email", "phone", "reference"},
    "CustomerRenamed": {"name"},
    "CustomerContactChanged": {"email", "phone"},
    "AccountOpened": {"customer_id", "number", "title", "currency", "initial_balance", "balance", "reference"},
    "CashDeposited": {"amount", "balance", "description"},
    "CashWithdrawn": {"amount", "balance", "description"},
    "CashEntryReversed": {"entry_id", "entry_kind", "amount", "balance", "reason"},
    "AccountDebited": {"amount", "balance", "transfer_id", "counterparty_account_id", "description"},
    "AccountCredited": {"amount", "balance", "transfer_id", "counterparty_account_id", "description"},
    "AccountDebitRefunded": {"amount", "balance", "transfer_id", "counterparty_account_id"},
    "AccountDebitFailedDueToInsufficientFunds": {"amount", "balance", "transfer_id"},
    "AccountDebitRejected": {"amount", "transfer_id", "reason"},
    "AccountCreditRejected": {"amount", "transfer_id", "reason"},
    "AccountFrozen": {"reason"},
    "AccountUnfrozen": {"reason"},
    "AccountClosed": {"reason"},
    "MoneyTransferCreated": {"details"},
    "DebitRecorded": {"details", "account_version"},
    "FailedDebitRecorded": {"account_version"},
    "DebitRejectionRecorded": {"reason", "account_version"},
    "CreditRecorded": {"account_version"},
    "CreditRejectionRecorded": {"details", "reason", "account_version"},
    "RefundRecorded": {"account_version"},
}
SEALED = {
    "CustomerRegistered": {"name", "email", "phone"},
    "CustomerRenamed": {"name"},
    "CustomerContactChanged": {"email", "phone"},
}


def known_classes() -> list[type[Event]]:
    return [cls for union in (CustomerEvent, AccountEvent, TransferEvent) for cls in get_args(union)]


def test_it_stores_each_event_under_its_contract_name() -> None:
    assert {events.type_of(cls).name for cls in known_classes()} == set(CONTRACT)
    ours = {
        name for name in events.names() if events.named(name).cls.__module__.split(".")[0] in {"accounts", "transfers"}
    }
    assert ours == set(CONTRACT)


@pytest.mark.parametrize(("name", "fields"), CONTRACT.items())
def test_it_stores_the_contract_fields(name: str, fields: set[str]) -> None:
    assert {field.encode_name for field in msgspec.structs.fields(events.named(name).cls)} == fields


@pytest.mark.parametrize("name", CONTRACT)
def test_it_seals_personal_fields_and_no_others(name: str) -> None:
    assert set(events.named(name).sealed) == SEALED.get(name, set())


def test_it_has_a_golden_line_for_each_version_of_each_event() -> None:
    golden = {(line["name"], line["schema_version"]) for line in GOLDEN}
    assert golden == {
        (name, version) for name in CONTRACT for version in range(1, events.named(name).schema_version + 1)
    }


def assert_survives(stored: Any, written: Any) -> None:
    """All that was stored is written today, too; fields may have been added."""
    if not isinstance(stored, dict):
        assert written == stored
        return
    for field, value in stored.items():
        assert field in written, f"{field!r} was renamed or lost without a new schema version"
        assert_survives(value, written[field])


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{line['name']}.v{line['schema_version']}") for line in GOLDEN]
)
def test_it_reads_what_was_once_written(line: dict[str, Any]) -> None:
    decoded = events.decode(line["name"], line["schema_version"], json.dumps(line["data"]))
    known = events.named(line["name"])
    assert type(decoded) is known.cls
    if line["schema_version"] == known.schema_version:
        written = json.loads(events.encode(decoded, seal=lambda text: text))
        assert_survives(line["data"], written)


def test_it_stores_no_personal_field_in_the_clear() -> None:
    alice = CustomerRegistered(name="Alice", email="alice@example.org", reference="crm-1")
    stored = events.encode(alice, seal=lambda text: text[::-1])
    assert json.loads(stored) == {
        "name": "ecilA",
        "email": "gro.elpmaxe@ecila",
        "phone": None,
        "reference": "crm-1",
    }
    assert events.decode("CustomerRegistered", 1, stored, unseal=lambda text: text[::-1]) == alice
    with pytest.raises(ValueError, match="no key was given"):
        events.encode(alice)


def test_it_tells_an_unchanged_contact_from_a_removed_one() -> None:
    removed = CustomerContactChanged(email=None)
    stored = events.encode(removed, seal=lambda text: text)
    assert stored == '{"email":null}'
    assert events.decode("CustomerContactChanged", 1, stored) == removed


def test_it_gives_each_transfer_its_own_metadata() -> None:
    fields: dict[str, Any] = {
        "from_account_id": UUID(int=1),
        "to_account_id": UUID(int=2),
        "amount": 1,
        "currency": "EUR",
        "initiated_by": "staff:carol",
    }
    first, second = (TransferDetails(**fields) for _ in range(2))
    assert first.metadata is not second.metadata
    stored = events.encode(MoneyTransferCreated(details=first))
    assert events.decode("MoneyTransferCreated", 1, stored) == MoneyTransferCreated(details=first)


# The sign of each event that moves money.

CHANGES = {
    "AccountOpened": 500_00,
    "CashDeposited": 50_00,
    "CashWithdrawn": -50_00,
    "CashEntryReversed": -50_00,
    "AccountDebited": -150_00,
    "AccountCredited": 150_00,
    "AccountDebitRefunded": 150_00,
}


@pytest.mark.parametrize("cls", get_args(AccountEvent), ids=lambda cls: cls.__name__)
def test_it_knows_what_each_event_adds_to_the_balance(cls: type[AccountEvent]) -> None:
    (line,) = (line for line in GOLDEN if line["name"] == cls.__name__)
    assert balance_change(msgspec.convert(line["data"], cls)) == CHANGES.get(cls.__name__, 0)


def test_it_puts_a_reversed_withdrawal_back() -> None:
    entry = CashEntryReversed(
        entry_id=UUID(int=1), entry_kind=CashEntryKind.WITHDRAWAL, amount=50_00, balance=0, reason="Typed twice"
    )
    assert balance_change(entry) == 50_00


def test_it_changes_the_status_by_known_events_alone() -> None:
    assert set(account_events.STATUS_AFTER) <= set(get_args(AccountEvent))


# The registry itself.


class Moved(Event):
    """Somebody moved, in its third shape: {town} became {place}, then {city, country}."""

    city: str
    country: str


@pytest.fixture
def registry() -> EventRegistry:
    registry = EventRegistry()
    registry.event(
        "Moved",
        schema_version=3,
        upcasters={
            1: lambda old: {"place": old["town"]},
            2: lambda old: {"city": old["place"], "country": "BE"},
        },
    )(Moved)
    return registry


@pytest.mark.parametrize(
    ("version", "stored"),
    [
        (1, '{"town": "Ghent"}'),
        (2, '{"place": "Ghent"}'),
        (3, '{"city": "Ghent", "country": "BE"}'),
    ],
)
def test_it_lifts_old_shapes_one_version_at_a_time(registry: EventRegistry, version: int, stored: str) -> None:
    assert registry.decode("Moved", version, stored) == Moved(city="Ghent", country="BE")


def test_it_unseals_before_it_lifts() -> None:
    registry = EventRegistry()
    registry.event(
        "Moved",
        schema_version=2,
        sealed=("town", "city"),
        upcasters={1: lambda old: {"city": old["town"], "country": "BE"}},
    )(Moved)
    decoded = registry.decode("Moved", 1, '{"town": "tnehG"}', unseal=lambda text: text[::-1])
    assert decoded == Moved(city="Ghent", country="BE")


@pytest.mark.parametrize("missing", [{}, {1: dict}, {2: dict}, {1: dict, 2: dict, 3: dict}])
def test_it_demands_an_upcaster_for_each_older_version(missing: dict[int, Any]) -> None:
    with pytest.raises(ValueError, match="upcasters must cover"):
        EventRegistry().event("Moved", schema_version=3, upcasters=missing)


@pytest.mark.parametrize(("name", "version"), [("Emigrated", 1), ("Moved", 4)])
def test_it_names_an_event_that_no_code_knows(registry: EventRegistry, name: str, version: int) -> None:
    with pytest.raises(UnknownEventType, match=f"'{name}' in schema version {version}"):
        registry.decode(name, version, "{}")


def test_it_refuses_a_name_that_is_taken(registry: EventRegistry) -> None:
    with pytest.raises(ValueError, match="is taken"):
        registry.event("Moved")(CustomerRegistered)


def test_it_refuses_to_store_a_stranger(registry: EventRegistry) -> None:
    with pytest.raises(LookupError):
        registry.encode(CustomerRegistered(name="Alice"))
