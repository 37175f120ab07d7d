"""Stories of one customer."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import UNSET

from accounts.domain.customer import (
    CUSTOMER,
    ChangeContact,
    CustomerAlreadyRegistered,
    CustomerCommand,
    CustomerNotFound,
    CustomerState,
    InvalidEmail,
    InvalidPhone,
    NothingToChange,
    RegisterCustomer,
    Registered,
    RenameCustomer,
)
from accounts.published.events import (
    CustomerContactChanged,
    CustomerEvent,
    CustomerRegistered,
    CustomerRenamed,
)
from accounts.published.text import InvalidText, TextMissing, TextTooLong
from eventstore.refusals import EventCannotFollow, InvalidValue
from eventstore.testing import story

given = story(CUSTOMER).given

alice = CustomerRegistered(name="Alice", email="alice@example.org", phone="+32 470 12 34 56", reference="crm-1")


def test_it_registers_a_customer() -> None:
    command = RegisterCustomer(name=" Alice ", email="alice@example.org", phone="+32 470 12 34 56 ", reference="crm-1")
    given().when(command).then(alice).then_state(Registered())


def test_it_registers_a_customer_by_name_alone() -> None:
    given().when(RegisterCustomer(name="Bob", email="", phone=" ")).then(CustomerRegistered(name="Bob"))


def test_it_registers_a_customer_once() -> None:
    given(alice).when(RegisterCustomer(name="Alice")).then_raises(CustomerAlreadyRegistered)


def test_it_renames_a_customer() -> None:
    given(alice).when(RenameCustomer(name="Alice Smith")).then(CustomerRenamed(name="Alice Smith"))


def test_it_changes_only_what_was_said() -> None:
    given(alice).when(ChangeContact(phone="112")).then(CustomerContactChanged(email=UNSET, phone="112"))


def test_it_takes_a_contact_away() -> None:
    given(alice).when(ChangeContact(email=None, phone="")).then(CustomerContactChanged(email=None, phone=None))


def test_it_refuses_to_change_nothing() -> None:
    given(alice).when(ChangeContact()).then_raises(NothingToChange)


@pytest.mark.parametrize("command", [RenameCustomer(name="Alice"), ChangeContact(phone="112")], ids=repr)
def test_it_knows_no_customer_before_registration(command: CustomerCommand) -> None:
    given().when(command).then_raises(CustomerNotFound)


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"name": ""}, TextMissing, "name"),
        ({"name": "\u3000"}, TextMissing, "name"),
        ({"name": "x" * 201}, TextTooLong, "name"),
        ({"name": "Al\u0000ice"}, InvalidText, "name"),
        ({"name": "Al\ud800ice"}, InvalidText, "name"),
        ({"email": "alice"}, InvalidEmail, "email"),
        ({"email": "alice@example"}, InvalidEmail, "email"),
        ({"email": "al ice@example.org"}, InvalidEmail, "email"),
        ({"email": "alice@@example.org"}, InvalidEmail, "email"),
        ({"email": "a" * 243 + "@example.org"}, TextTooLong, "email"),
        ({"phone": "call me"}, InvalidPhone, "phone"),
        ({"phone": "+"}, InvalidPhone, "phone"),
        ({"phone": "1" * 41}, TextTooLong, "phone"),
        ({"phone": "\u0661\u0662\u0663"}, InvalidPhone, "phone"),
        ({"reference": "x" * 101}, TextTooLong, "reference"),
    ],
)
def test_it_refuses_a_bad_field_by_its_name(changes: dict[str, str], error: type[InvalidValue], field: str) -> None:
    outcome = given().when(RegisterCustomer(**{"name": "Alice", **changes})).then_raises(error)
    assert isinstance(outcome.refusal, InvalidValue)
    assert outcome.refusal.field == field


def test_it_takes_fields_as_long_as_they_may_be() -> None:
    long = {"name": "x" * 200, "email": f"{'a' * 242}@example.org", "phone": "1" * 40, "reference": "x" * 100}
    given().when(RegisterCustomer(**long)).then(CustomerRegistered(**long))


@pytest.mark.parametrize(
    ("past", "event"),
    [
        ([], CustomerRenamed(name="Alice")),
        ([], CustomerContactChanged(phone="112")),
        ([alice], alice),
    ],
)
def test_it_raises_on_an_event_that_cannot_follow(past: list[CustomerEvent], event: CustomerEvent) -> None:
    with pytest.raises(EventCannotFollow):
        CUSTOMER.evolve(CUSTOMER.fold(past), event)


def test_it_keeps_nothing_personal_in_its_state() -> None:
    state: CustomerState = CUSTOMER.fold([alice, CustomerRenamed(name="Alice Smith")])
    assert msgspec.json.encode(state) == b'{"type":"Registered"}'
