"""The customer: a person or a firm that the bank knows. Pure.

Invariant: the state keeps no personal field, so that no snapshot holds one; whoever erases a customer's key has
erased the person. The services of this context import this module, nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, assert_never

from msgspec import UNSET, UnsetType

from accounts.published.events import CustomerContactChanged, CustomerEvent, CustomerRegistered, CustomerRenamed
from accounts.published.text import (
    MAX_EMAIL_LENGTH,
    MAX_NAME_LENGTH,
    MAX_PHONE_LENGTH,
    MAX_REFERENCE_LENGTH,
    clean_optional,
    clean_text,
)
from eventstore.aggregates import Aggregate, Command, State
from eventstore.refusals import EventCannotFollow, InvalidValue, Refusal

# Enough to catch a slip of the hand. Whether an address works, only a message shows.
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()./-]*")


class NotRegistered(State):
    """Nobody yet."""


class Registered(State):
    """A customer of the bank."""


CustomerState = NotRegistered | Registered


class RegisterCustomer(Command):
    """Take somebody on as a customer."""

    name: str
    email: str | None = None
    phone: str | None = None
    reference: str | None = None


class RenameCustomer(Command):
    """Have a customer go by another name."""

    name: str


class ChangeContact(Command):
    """Change how a customer is reached. A field that is not set stays as it is; None takes it away."""

    email: str | UnsetType | None = UNSET
    phone: str | UnsetType | None = UNSET


CustomerCommand = RegisterCustomer | RenameCustomer | ChangeContact


class CustomerNotFound(Refusal):
    """There is no such customer."""

    code = "customer_not_found"


class CustomerAlreadyRegistered(Refusal):
    """The customer has been registered already."""

    code = "invalid_state"


class InvalidEmail(InvalidValue):
    """This is no e-mail address."""

    code = "invalid_email"


class InvalidPhone(InvalidValue):
    """This is no telephone number."""

    code = "invalid_phone"


class NothingToChange(InvalidValue):
    """Say what is to change."""

    code = "nothing_to_change"


def decide(state: CustomerState, command: CustomerCommand) -> Sequence[CustomerEvent]:
    """What follows from the command: always one event. Raises `Refusal`."""
    if isinstance(command, RegisterCustomer):
        return [_register(state, command)]
    if isinstance(state, NotRegistered):
        raise CustomerNotFound
    match command:
        case RenameCustomer():
            return [CustomerRenamed(name=_name(command.name))]
        case ChangeContact():
            return [_change_contact(command)]
        case _:
            assert_never(command)


def _register(state: CustomerState, command: RegisterCustomer) -> CustomerRegistered:
    if isinstance(state, Registered):
        raise CustomerAlreadyRegistered
    return CustomerRegistered(
        name=_name(command.name),
        email=_email(command.email),
        phone=_phone(command.phone),
        reference=clean_optional(command.reference, field="reference", max_length=MAX_REFERENCE_LENGTH),
    )


def _change_contact(command: ChangeContact) -> CustomerContactChanged:
    if command.email is UNSET and command.phone is UNSET:
        raise NothingToChange
    return CustomerContactChanged(
        email=UNSET if command.email is UNSET else _email(command.email),
        phone=UNSET if command.phone is UNSET else _phone(command.phone),
    )


def _name(text: str) -> str:
    return clean_text(text, field="name", max_length=MAX_NAME_LENGTH)


def _email(text: str | None) -> str | None:
    email = clean_optional(text, field="email", max_length=MAX_EMAIL_LENGTH)
    if email is not None and not _EMAIL.fullmatch(email):
        raise InvalidEmail(field="email")
    return email


def _phone(text: str | None) -> str | None:
    phone = clean_optional(text, field="phone", max_length=MAX_PHONE_LENGTH)
    if phone is not None and not _PHONE.fullmatch(phone):
        raise InvalidPhone(field="phone")
    return phone


def evolve(state: CustomerState, event: CustomerEvent) -> CustomerState:
    """The state after the event. Raises `EventCannotFollow`."""
    match state, event:
        case NotRegistered(), CustomerRegistered():
            return Registered()
        case Registered(), CustomerRenamed() | CustomerContactChanged():
            return state
        case _:
            raise EventCannotFollow(state=state, event=event)


CUSTOMER: Final = Aggregate[CustomerState](
    stream_type="customer",
    initial=NotRegistered(),
    decide=decide,
    evolve=evolve,
    state_type=CustomerState,
)
