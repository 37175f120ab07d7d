"""The API's operations as its schema describes them, and a good request for each: what bad ones are made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from drf_spectacular.generators import SchemaGenerator

from config.staff.roles import PERMISSIONS_OF, Role
from eventstore.rest.permissions import AUTHENTICATED, PUBLIC
from tests.integration.counter import PASSWORD, Counter, dispatch, member_of

LONGEST_AMOUNT = "9999999999.99"


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one address."""

    id: str
    method: str
    path: str
    permission: str
    fields: dict[str, dict[str, Any]]  # of the body
    required: frozenset[str]
    parameters: dict[tuple[str, str], dict[str, Any]]  # by where they stand and name

    @property
    def has_body(self) -> bool:
        """Whether it takes a body with fields."""
        return bool(self.fields)

    def parameters_in(self, where: str) -> dict[str, dict[str, Any]]:
        """The parameters that stand in the path, the query or a header."""
        return {name: schema for (place, name), schema in self.parameters.items() if place == where}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request."""

    operation: Operation
    ids: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its address, without the query."""
        path = self.operation.path
        for name, value in self.ids.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    def with_raw(self, name: str, token: bytes) -> bytes:
        """The body with these very bytes as the value of a field."""
        rest = {other: value for other, value in (self.body or {}).items() if other != name}
        members = [json.dumps(name).encode() + b": " + token]
        members += [json.dumps(other).encode() + b": " + json.dumps(value).encode() for other, value in rest.items()]
        return b"{" + b", ".join(members) + b"}"

    def with_field(self, name: str, value: Any) -> Asked:
        """The same with another value of a field."""
        return replace(self, body={**(self.body or {}), name: value})


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document, as the program itself writes it."""
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return found


@cache
def operations() -> list[Operation]:
    """All that the API does."""
    return [
        _operation(path, method, described)
        for path, methods in document()["paths"].items()
        for method, described in methods.items()
    ]


def _operation(path: str, method: str, described: dict[str, Any]) -> Operation:
    body: dict[str, Any] = {}
    if "requestBody" in described:
        body = _resolved(described["requestBody"]["content"]["application/json"]["schema"])
    return Operation(
        id=described["operationId"],
        method=method.upper(),
        path=path,
        permission=described["x-required-permission"],
        fields={name: _resolved(schema) for name, schema in body.get("properties", {}).items()},
        required=frozenset(body.get("required", [])),
        parameters={(found["in"], found["name"]): found["schema"] for found in described["parameters"]},
    )


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without references, and with null as a type like others."""
    known: dict[str, Any] = {name: value for name, value in schema.items() if name not in {"$ref", "allOf", "oneOf"}}
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        known |= {"component": name} | _resolved(document()["components"]["schemas"][name])
    for part in schema.get("allOf", []):
        known |= _resolved(part)
    for part in schema.get("oneOf", []):
        if part.get("type") == "null":
            known["nullable"] = True
        else:
            known |= _resolved(part)
    if isinstance(known.get("type"), list):
        known["nullable"] = "null" in known["type"]
        (known["type"],) = (found for found in known["type"] if found != "null")
    return known


class Bank:
    """Something of everything that a request can be about, and somebody of every role."""

    def __init__(self) -> None:
        teller = Counter(Role.TELLER)
        self.customer = str(teller.customer())
        self.payer, self.payee = str(teller.account("500.00")), str(teller.account("5.00"))
        self.empty, self.frozen = str(teller.account()), str(teller.account())
        cash = teller.post(f"accounts/{self.payer}/deposits", {"amount": "1.00"}).json()
        self.entry = cash["entry_id"]
        self.transfer = str(teller.transfer(self.payer, self.payee, "1.00"))  # type: ignore[arg-type]
        self.counters = {role: Counter(role) for role in Role}
        self.leaving = Counter(Role.AUDITOR)  # a log-in of its own, which may be ended
        self.counters[Role.SUPERVISOR].post(f"accounts/{self.frozen}/freeze", {"reason": "Asked for"})
        dispatch()

    def counter(self, operation: Operation) -> Counter:
        """Somebody who may do it."""
        if operation.permission in {PUBLIC, AUTHENTICATED}:
            return self.leaving
        return next(
            self.counters[role] for role in Role if operation.permission in {str(p) for p in PERMISSIONS_OF[role]}
        )

    def send(self, asked: Asked, *, raw: bytes | None = None, path: str = "", **wsgi: Any) -> Any:
        """Sends a request, with an Idempotency-Key of its own where one is needed; `raw` is a body of just these bytes.

        `wsgi` are variables of the request's environment: headers as they stand there, and the content type.
        """
        counter = self.counter(asked.operation)
        if raw is None:
            raw = b"" if asked.body is None else json.dumps(asked.body).encode()
        headers = dict(asked.headers)
        if ("header", "Idempotency-Key") in asked.operation.parameters:
            headers = {"Idempotency-Key": str(uuid4())} | headers
        address = path or asked.path
        if asked.query:
            address += "?" + urlencode(asked.query)
        content_type = wsgi.pop("content_type", "application/json" if raw else "")
        return counter.client.generic(asked.operation.method, address, raw, content_type, headers=headers, **wsgi)

    def good(self, operation: Operation) -> Asked:
        """A request that would succeed. A new operation needs its own here."""
        make = _GOOD.get(operation.id)
        assert make is not None, f"{operation.id} is new: say in _GOOD what a good request for it is"
        return replace(make(self), operation=operation)


_NOT_YET = Operation(id="", method="", path="", permission="", fields={}, required=frozenset(), parameters={})


def _asked(body: dict[str, Any] | None = None, /, **ids: str) -> Asked:
    return Asked(operation=_NOT_YET, ids=ids, body=body)


# Each has every field of its body, so that each can be made bad in turn.
_GOOD: dict[str, Callable[[Bank], Asked]] = {
    "log_in": lambda _: _asked({"username": member_of(Role.TELLER).get_username(), "password": PASSWORD}),
    "log_out": lambda _: _asked(),
    "list_customers": lambda _: _asked(),
    "register_customer": lambda _: _asked(
        {"name": "Alice Abel", "email": "alice@example.com", "phone": "+49 30 123456", "reference": "A-1"}
    ),
    "get_customer": lambda bank: _asked(customer_id=bank.customer),
    "change_customer": lambda bank: _asked(
        {"name": "Alice Berg", "email": "berg@example.com", "phone": "030 1"}, customer_id=bank.customer
    ),
    "list_accounts": lambda _: _asked(),
    "open_account": lambda bank: _asked(
        {
            "customer_id": bank.customer,
            "title": "Household",
            "currency": "EUR",
            "initial_balance": "5.00",
            "reference": "B-1",
        }
    ),
    "get_account": lambda bank: _asked(account_id=bank.payer),
    "list_entries": lambda bank: _asked(account_id=bank.payer),
    "deposit": lambda bank: _asked(
        {"amount": "1.00", "currency": "EUR", "description": "Coins"}, account_id=bank.payee
    ),
    "withdraw": lambda bank: _asked(
        {"amount": "0.01", "currency": "EUR", "description": "Coins"}, account_id=bank.payer
    ),
    "reverse_entry": lambda bank: _asked({"reason": "Miscounted"}, account_id=bank.payer, entry_id=bank.entry),
    "freeze_account": lambda bank: _asked({"reason": "Asked for"}, account_id=bank.payer),
    "unfreeze_account": lambda bank: _asked({"reason": "Cleared up"}, account_id=bank.frozen),
    "close_account": lambda bank: _asked({"reason": "Moved away"}, account_id=bank.empty),
    "list_transfers": lambda _: _asked(),
    "create_transfer": lambda bank: _asked(
        {
            "from_account_id": bank.payer,
            "to_account_id": bank.payee,
            "amount": "0.01",
            "currency": "EUR",
            "description": "Rent",
            "reference": "C-1",
            "metadata": {"invoice": "17"},
        }
    ),
    "get_transfer": lambda bank: _asked(transfer_id=bank.transfer),
}
