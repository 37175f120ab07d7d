"""The bank's API as a person or a program at the counter uses it: real requests through Django's whole stack.

Tests use it with `committed_db`: what is committed stays, so everything here has fresh ids, and a member of staff of
each role is made once.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import UUID, uuid4

from django.contrib.auth.models import Group
from django.db import connection, connections
from knox.models import AuthToken
from rest_framework.test import APIClient

from accounts.domain.account import ACCOUNT, RefundDebit
from config.staff.members import create_person
from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.dispatch import drain
from eventstore.metadata import Metadata
from eventstore.store import EventStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSWORD = "correct horse battery staple"
API = "/api/v1"

_COUNT_ROWS = """
SELECT (SELECT count(*) FROM eventstore_event), (SELECT count(*) FROM eventstore_outbox),
    (SELECT count(*) FROM eventstore_idempotency_record), (SELECT count(*) FROM eventstore_subject_key)
"""


class Counter:
    """One member of staff, signed in with a token."""

    def __init__(self, role: Role, *, name: str = "") -> None:
        self.member = member_of(role, name=name)
        _, self.token = AuthToken.objects.create(self.member)
        self.client: Any = APIClient(raise_request_exception=False)
        self.client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.token}")

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> Any:
        """GET below the API's root."""
        return self.client.get(f"{API}/{path}", query, headers=headers or {})

    def post(self, path: str, body: Any, *, key: str | None = "", headers: dict[str, str] | None = None) -> Any:
        """POST with a key of its own, unless one is given; None sends none."""
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = key or str(uuid4())
        return self.client.post(f"{API}/{path}", body, format="json", headers=sent)

    def post_raw(self, path: str, body: bytes, *, content_type: str = "application/json") -> Any:
        """POST these very bytes."""
        return self.client.generic(
            "POST", f"{API}/{path}", body, content_type, headers={"Idempotency-Key": str(uuid4())}
        )

    def patch(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Any:
        """PATCH below the API's root."""
        return self.client.patch(f"{API}/{path}", body, format="json", headers=headers or {})

    # What most tests begin with.

    def customer(self, name: str = "Alice Abel", **fields: Any) -> UUID:
        """Registers a customer."""
        return UUID(_made(self.post("customers", {"name": name, **fields}))["customer_id"])

    def account(
        self, balance: str = "0.00", *, currency: str = "EUR", title: str = "Household", name: str = "Alice Abel"
    ) -> UUID:
        """Opens an account for a new customer."""
        body = {
            "customer_id": str(self.customer(name)),
            "title": title,
            "currency": currency,
            "initial_balance": balance,
        }
        return UUID(_made(self.post("accounts", body))["account_id"])

    def transfer(self, payer: UUID, payee: UUID, amount: str, **fields: Any) -> UUID:
        """Makes a transfer."""
        body = {"from_account_id": str(payer), "to_account_id": str(payee), "amount": amount, **fields}
        answered = self.post("transfers", body)
        assert answered.status_code == 202, answered.content
        return UUID(answered.json()["transfer_id"])

    def balance(self, account_id: UUID) -> str:
        """What the account's document shows."""
        found: str = self.get(f"accounts/{account_id}").json()["balance"]
        return found


def member_of(role: Role, *, name: str = "") -> StaffMember:
    """The member of that name, or of the role's; made when there is none yet."""
    username = name or f"{role.value}-at-the-counter"
    known = StaffMember.objects.filter(username=username).first()
    if known is not None:
        return known
    if role is Role.SERVICE:
        member = StaffMember.objects.create(username=username, is_service=True)
        member.groups.add(role_group(role))
        return member
    return create_person(name=username, role=role, password=PASSWORD)


def role_group(role: Role) -> Group:
    """The Django group of a role."""
    return Group.objects.get(name=role.value)


def dispatch() -> None:
    """Does what the workers do, until nothing is left."""
    assert drain(store=EventStore())


def refund(account_id: UUID, *, amount: int) -> None:
    """What happens to an account that was closed between its debit and the other account's refusal."""
    command = RefundDebit(transfer_id=uuid4(), amount=amount, counterparty_account_id=uuid4())
    metadata = Metadata(actor="system:accounts.saga", correlation_id=uuid4())
    EventStore().execute(ACCOUNT, account_id, command, metadata=metadata)


@contextmanager
def dispatching() -> Iterator[None]:
    """Does what the workers do, in a thread beside the test; pages wait for what is done, as they do for workers."""
    with (
        patch("views_readmodel.pages.commanding.VISIBLE_SECONDS", 5.0),
        meanwhile(lambda: drain(store=EventStore()), every_seconds=0.005),
    ):
        yield


@contextmanager
def meanwhile(work: Callable[[], object], *, every_seconds: float = 0.0) -> Iterator[None]:
    """Does the work again and again, in another thread, while the block runs; what it fails with fails the test."""
    stopped = Event()
    failures: list[BaseException] = []

    def go_on() -> None:
        try:
            while not stopped.wait(every_seconds):
                work()
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            failures.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
    assert not failures


def written_rows() -> tuple[int, ...]:
    """How many rows there are that only a write adds."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_ROWS)
        found: tuple[int, ...] = cursor.fetchone()
    return found


def problem(answered: Any, status: int, code: str) -> dict[str, Any]:
    """The problem that the answer is, of that status and code."""
    assert answered.status_code == status, answered.content
    assert answered.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = answered.json()
    assert (found["status"], found["code"]) == (status, code)
    assert found["correlation_id"] == answered.headers["X-Correlation-ID"]
    assert found["type"] == f"urn:daybook:problem:{code}"
    assert found["title"]
    assert found["detail"]
    return found


def field_errors(answered: Any) -> dict[str | None, str]:
    """The fields that a validation problem names, each with its code."""
    return {error["field"]: error["code"] for error in problem(answered, 400, "validation_error")["errors"]}


def _made(answered: Any) -> dict[str, Any]:
    assert answered.status_code == 201, answered.content
    found: dict[str, Any] = answered.json()
    return found
