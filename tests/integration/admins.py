"""A browser that is signed in to the admin, and a store with something of everything in it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from axes.models import AccessAttempt
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from knox.models import AuthToken

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.ids import new_id
from eventstore.models import Event, LogEntry
from eventstore.seals import sealer
from tests.integration.counter import member_of
from tests.integration.history import History, dispatch

BACKEND: Final = "config.staff.authentication.RoleBackend"
EVENTS: Final = "/admin/eventstore/event/"

# What only trouble, time or a request would leave in these tables.
INSERT_REST: Final = """
INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
VALUES ('accounts.saga', %s, clock_timestamp() + interval '1 hour', clock_timestamp() - interval '2 hours',
    'ValueError: x');
INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
SELECT id, subscription, %s, clock_timestamp() FROM eventstore_parked_key;
INSERT INTO eventstore_outbox (event_id, stream_bucket) SELECT id, 1 FROM eventstore_event ORDER BY id LIMIT 1;
INSERT INTO eventstore_snapshot (stream_type, stream_id, version, state_version, state, created_at, updated_at)
SELECT stream_type, stream_id, 1, 77, '{"kept": true}', recorded_at, recorded_at
FROM eventstore_event WHERE version = 1 AND stream_type = 'account' ORDER BY id LIMIT 1;
INSERT INTO eventstore_idempotency_record (principal, key, fingerprint, answer)
VALUES ('staff:carol', 'a-key', '\\x00', '{"secret": "answer"}');
INSERT INTO eventstore_operation (actor, action, subscription, detail)
VALUES ('staff:olga', 'pause', 'accounts.saga', '{"reason": "the bank moves"}');
"""


def browser(role: Role | None, *, superuser: bool = False, **person: Any) -> Client:
    """Somebody of that role, signed in; nobody's browser without one."""
    client = Client()
    if superuser:
        member = StaffMember.objects.create(username=f"root-{new_id()}", is_superuser=True, is_staff=True)
    elif role is not None:
        member = member_of(role, name=f"{role.value}-{new_id()}")
    else:
        return client
    for field, value in person.items():
        setattr(member, field, value)
    member.save()
    client.force_login(member, backend=BACKEND)
    return client


def fill_store() -> History:
    """A small bank's history, in the log and in the read models, and a row in every other table."""
    history = History().everything().write()
    dispatch()
    sealer.seal_all()
    first = Event.objects.filter(event_type="MoneyTransferCreated").order_by("id").first()
    assert first is not None
    position = LogEntry.objects.get(event_id=first.id).position
    with connection.cursor() as cursor:
        cursor.execute(INSERT_REST, [first.stream_id, position])
    AccessAttempt.objects.create(username="mallory", ip_address="192.0.2.1", failures_since_start=1)
    AuthToken.objects.create(member_of(Role.SERVICE, name=f"billing-{new_id()}"))
    return history


def an_event(event_type: str) -> Event:
    """The first event of a type."""
    found = Event.objects.filter(event_type=event_type).order_by("id").first()
    assert found is not None
    return found


def stream_page(stream_type: str, stream_id: UUID, version: int | None = None) -> str:
    """The address of a stream's page."""
    address = f"{EVENTS}stream/{stream_type}/{stream_id}/"
    return address if version is None else f"{address}?version={version}"


def statements(client: Client, address: str) -> list[str]:
    """What a page that is found asks the database."""
    with CaptureQueriesContext(connection) as captured:
        answered = client.get(address)
    assert answered.status_code == 200, f"{address}: {answered.status_code}"
    return [query["sql"] for query in captured]


def role_named(name: str) -> Group:
    """The group of a role."""
    return Group.objects.get(name=name)
