"""What an operator does in the admin: it asks why, does it once, records who it was, and tells what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.messages import get_messages
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken
from pytest_django import Settings

from accounts import services as accounts
from config.staff.admin import mark_of
from config.staff.members import create_api_key
from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore import operations
from eventstore.admin import parked as parked_pages
from eventstore.appending import EventAlreadyRecorded, StreamBusy
from eventstore.context import CommandContext
from eventstore.dispatch import drain
from eventstore.metadata import Metadata
from eventstore.models import Checkpoint, Event, LogEntry, Operation, ParkedKey
from eventstore.rows import decode_rows
from eventstore.store import EventStore, LostRace
from eventstore.subscriptions import parking
from eventstore.subscriptions.registry import Reactor, subscriptions
from tests.conftest import Database
from tests.integration.admins import browser
from tests.integration.counter import Counter, meanwhile
from tests.integration.history import sequence
from transfers import services as transfers

SUBSCRIPTIONS = "/admin/eventstore/checkpoint/"
PARKED = "/admin/eventstore/parkedkey/"
WHY = {"confirmed": "yes", "reason": "The clearing house is closed"}

INSERT_CHECKPOINTS = """
DELETE FROM eventstore_checkpoint;
INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position)
VALUES ('accounts.saga', 'route', 0, 127, 0), ('accounts.saga', 'route', 128, 255, 0)
"""
# Tables of a projection that another version of the program has made.
INSERT_OUTDATED = """
INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position, projection_version)
VALUES ('views.transfers', 'stream', 0, 255, 0, 99)
"""
PARK = """
WITH parked AS (
    INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error)
    VALUES (%s, %s, clock_timestamp() + interval '1 hour', clock_timestamp(), 'ValueError: too odd')
    RETURNING id, subscription
)
INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
SELECT id, subscription, %s, clock_timestamp() FROM parked
RETURNING parked_key_id
"""


@pytest.fixture
def operator(fresh_database: Database) -> Client:
    """An operator's browser, in a bank with two ranges of one subscription."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT_CHECKPOINTS)
    return browser(Role.OPERATOR)


def _name(client: Client) -> str:
    return f"staff:{StaffMember.objects.get(pk=client.session['_auth_user_id']).username}"


def _context() -> CommandContext:
    return CommandContext(metadata=Metadata(actor="staff:carol", correlation_id=uuid4(), causation_id=uuid4()))


def _park(subscription: str, key: UUID, position: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(PARK, [subscription, key, position])
        return int(cursor.fetchone()[0])


def _parked_transfer() -> tuple[UUID, int]:
    """A transfer whose first step the accounts could not take; its id and that of the parked key."""
    customer = accounts.register_customer(context=_context(), name="Alice Abel").value.customer_id
    payer, payee = (
        accounts.open_account(
            context=_context(), customer_id=customer, title="Household", currency="EUR", initial_balance="50.00"
        ).value.account_id
        for _ in range(2)
    )
    transfer = transfers.create_transfer(
        context=_context(), from_account_id=payer, to_account_id=payee, amount="10.00"
    ).value.transfer_id
    sequence()
    created = Event.objects.get(stream_id=transfer, version=1)
    return transfer, _park("accounts.saga", transfer, LogEntry.objects.get(event_id=created.id).position)


def _act(client: Client, action: str, *keys: Any, **more: Any) -> Any:
    return client.post(PARKED, {"action": action, ACTION_CHECKBOX_NAME: [str(key) for key in keys], **more})


def _said(answered: Any) -> str:
    return " ".join(str(message) for message in get_messages(answered.wsgi_request))


def _recorded() -> list[tuple[str, str, str, str]]:
    found = Operation.objects.order_by("id")
    return [(one.actor, one.action, one.subscription, one.detail["reason"]) for one in found]


def test_it_pauses_and_resumes_a_subscription_and_records_who_and_why(operator: Client) -> None:
    me = _name(operator)
    assert operator.get(f"{SUBSCRIPTIONS}pause/accounts.saga/").status_code == 200
    answered = operator.post(f"{SUBSCRIPTIONS}pause/accounts.saga/", WHY)
    assert (answered.status_code, answered.headers["Location"]) == (303, SUBSCRIPTIONS)
    paused = {(found.status, found.paused_by, found.paused_reason) for found in Checkpoint.objects.all()}
    assert paused == {("paused", me, WHY["reason"])}
    page = operator.get(SUBSCRIPTIONS).content.decode()
    assert f"Paused by {me}: {WHY['reason']}" in page
    assert "resume/accounts.saga/" in page
    assert "pause/accounts.saga/" not in page
    operator.post(f"{SUBSCRIPTIONS}resume/accounts.saga/", WHY)
    assert {found.status for found in Checkpoint.objects.all()} == {"running"}
    assert _recorded() == [
        (me, "pause", "accounts.saga", WHY["reason"]),
        (me, "resume", "accounts.saga", WHY["reason"]),
    ]
    assert "no checkpoint" in _said(operator.post(f"{SUBSCRIPTIONS}resume/accounts.saga/", WHY))
    assert len(_recorded()) == 2


@pytest.mark.parametrize(
    "sent", [{}, {"confirmed": "yes"}, {"confirmed": "yes", "reason": "  "}, {"reason": "Because"}]
)
def test_it_does_nothing_without_a_reason(operator: Client, sent: dict[str, str]) -> None:
    _, key = _parked_transfer()
    operator.post(f"{SUBSCRIPTIONS}pause/accounts.saga/", sent)
    for action in ("retry_selected", "discard_selected"):
        assert _act(operator, action, key, **sent).status_code == (422 if "confirmed" in sent else 200)
    assert _recorded() == []
    assert {found.status for found in Checkpoint.objects.all()} == {"running"}
    assert ParkedKey.objects.get().attempts == 1


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.TELLER, Role.SUPERVISOR])
def test_nobody_but_an_operator_does_anything(operator: Client, role: Role) -> None:
    _, key = _parked_transfer()
    other = browser(role)
    assert other.post(f"{SUBSCRIPTIONS}pause/accounts.saga/", WHY).status_code in (302, 403)
    for action in ("retry_selected", "discard_selected"):
        assert _act(other, action, key, **WHY).status_code in (302, 403)
    assert other.post("/admin/knox/authtoken/", {"action": "revoke_selected", **WHY}).status_code in (302, 403)
    assert _recorded() == []


def _dispatching() -> AbstractContextManager[None]:
    """Somebody dispatches, in a thread, once a retry was asked for: not what is due by itself."""

    def dispatch_if_asked() -> None:
        if Operation.objects.filter(action="retry").exists():
            drain(store=EventStore(), budget_seconds=1)

    return meanwhile(dispatch_if_asked, every_seconds=0.02)


def _have_handlers(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
    """Has the accounts' saga do this before it handles anything."""
    saga = subscriptions.get("accounts.saga")
    assert isinstance(saga, Reactor)

    def preceded(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def handle(recorded: Any) -> Any:
            before()
            return handler(recorded)

        return handle

    handlers = {cls: preceded(handler) for cls, handler in saga.handlers.items()}
    monkeypatch.setitem(subscriptions._by_id, saga.id, msgspec.structs.replace(saga, handlers=handlers))


def _fail() -> None:
    raise ArithmeticError("it sticks in the throat")


def test_it_has_a_parked_key_retried_and_never_retries_it_itself(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler that kills its process, or hangs, must not do so where pages are answered."""
    transfer, key = _parked_transfer()
    handled_in: set[int] = set()
    _have_handlers(monkeypatch, lambda: handled_in.add(threading.get_ident()))
    assert "Retry" in _act(operator, "retry_selected", key).content.decode()
    with _dispatching():
        answered = _act(operator, "retry_selected", key, **WHY)
    assert answered.status_code == 302
    assert _said(answered) == "1 handled and free again."
    assert not ParkedKey.objects.exists()
    assert Event.objects.filter(event_type="AccountDebited", data__transfer_id=str(transfer)).count() == 1
    assert handled_in
    assert threading.get_ident() not in handled_in
    assert _recorded() == [(_name(operator), "retry", "accounts.saga", WHY["reason"])]
    again = _act(operator, "retry_selected", key, **WHY)
    assert again.status_code in (200, 302)
    assert len(_recorded()) == 1


def test_it_says_what_was_tried_again_and_is_parked_still(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _, key = _parked_transfer()
    _have_handlers(monkeypatch, _fail)
    with _dispatching():
        answered = _act(operator, "retry_selected", key, **WHY)
    assert _said(answered) == "1 tried again and still parked."
    parked = ParkedKey.objects.get()
    assert parked.attempts == 2
    assert parked.error == "ArithmeticError: it sticks in the throat"


_woken: list[str] = []


def note_wake_up(using: str) -> None:
    """Stands for whoever wakes the workers."""
    _woken.append(using)


def test_what_nobody_tries_in_time_is_tried_when_somebody_looks(
    operator: Client, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    transfer, key = _parked_transfer()
    settings.EVENTSTORE = {**settings.EVENTSTORE, "WAKE": f"{__name__}.note_wake_up"}
    monkeypatch.setattr(parked_pages, "WAIT_SECONDS", 0.3)
    looked: list[bool] = []

    def look(*arguments: Any, **options: Any) -> Any:
        looked.append(connection.in_atomic_block)
        return _real_look(*arguments, **options)

    _real_look = operations._select_attempts
    monkeypatch.setattr(operations, "_select_attempts", look)
    _woken.clear()
    answered = _act(operator, "retry_selected", key, **WHY)
    assert _said(answered) == "1 will be tried within seconds."
    assert _woken == ["default"]
    assert len(looked) > 1
    assert not any(looked)  # nothing is held while it waits
    assert len(_recorded()) == 1
    parked = ParkedKey.objects.get()
    assert parked.attempts == 1
    assert parked.next_attempt_at <= timezone.now()
    assert drain(store=EventStore())
    assert not ParkedKey.objects.exists()
    assert Event.objects.filter(event_type="AccountDebited", data__transfer_id=str(transfer)).count() == 1


def test_what_a_paused_subscription_has_parked_is_tried_when_it_is_resumed(operator: Client) -> None:
    _, key = _parked_transfer()
    operator.post(f"{SUBSCRIPTIONS}pause/accounts.saga/", WHY)
    with _dispatching():
        answered = _act(operator, "retry_selected", key, **WHY)
        assert _said(answered).endswith(" 1 will be tried once the subscription is resumed.")
    assert ParkedKey.objects.get().attempts == 1
    operator.post(f"{SUBSCRIPTIONS}resume/accounts.saga/", WHY)
    assert drain(store=EventStore())
    assert not ParkedKey.objects.exists()


def test_what_somebody_is_at_already_is_left_alone(operator: Client, fresh_database: Database) -> None:
    _, key = _parked_transfer()
    with psycopg.connect(fresh_database.app_url) as other:
        other.execute("SELECT FROM eventstore_parked_key FOR UPDATE")
        answered = _act(operator, "retry_selected", key, **WHY)
    assert _said(answered) == "1 gone or being retried already."
    assert _recorded() == []
    assert ParkedKey.objects.get().next_attempt_at > timezone.now()


def test_it_discards_what_cannot_be_handled_and_ends_its_story(operator: Client) -> None:
    transfer, key = _parked_transfer()
    answered = _act(operator, "discard_selected", key, **WHY)
    assert "Discarded the event at position" in _said(answered)
    assert not ParkedKey.objects.exists()
    last = Event.objects.filter(stream_id=transfer).order_by("-version")[0]
    assert last.event_type == "DebitRejectionRecorded"
    assert last.metadata["actor"] == _name(operator)
    assert _recorded() == [(_name(operator), "discard", "accounts.saga", WHY["reason"])]


def test_what_only_waits_for_its_turn_is_not_discarded_by_a_click(operator: Client) -> None:
    transfer, key = _parked_transfer()
    offered = operator.get(f"{PARKED}{key}/change/").content.decode()
    assert "discard_selected" in offered
    ParkedKey.objects.update(attempts=0, error=parking.WAITING)
    page = operator.get(f"{PARKED}{key}/change/").content.decode()
    assert "discard_selected" not in page
    assert "nothing has failed" in page
    assert "Nothing has failed: it waits" in _act(operator, "discard_selected", key).content.decode()
    assert "was not discarded: nothing has failed" in _said(_act(operator, "discard_selected", key, **WHY))
    assert Event.objects.filter(stream_id=transfer).count() == 1
    assert _recorded() == []


def test_it_says_so_when_no_sound_end_is_known(operator: Client) -> None:
    transfer, _ = _parked_transfer()
    position = LogEntry.objects.get(event__stream_id=transfer).position
    key = _park("views.transfers", transfer, position)
    answered = _act(operator, "discard_selected", key, **WHY)
    assert "was not discarded" in _said(answered)
    assert ParkedKey.objects.filter(pk=key).exists()


class _Unreadable:
    """Reads every event but those at some positions."""

    def __init__(self, error: Exception, *positions: int) -> None:
        self._error = error
        self._positions = positions
        self._decode = decode_rows

    def __call__(self, rows: Any, **more: Any) -> Any:
        if {row.position for row in rows} & set(self._positions):
            raise self._error
        return self._decode(rows, **more)


@pytest.mark.parametrize(
    "error",
    [
        msgspec.ValidationError("Object missing required field `amount`"),
        EventAlreadyRecorded("an event of this id is there."),
        StreamBusy("others write to it"),
        LostRace([("moneytransfer", "transfers", UUID(int=1))]),
        OperationalError("the connection was lost"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_that_cannot_be_discarded_is_told_and_the_next_ones_are_done(
    operator: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    parked = [_parked_transfer() for _ in range(3)]
    bad = LogEntry.objects.get(event__stream_id=parked[1][0], event__version=1).position
    monkeypatch.setattr(parking, "decode_rows", _Unreadable(error, bad))
    answered = _act(operator, "discard_selected", *(key for _, key in parked), **WHY)
    assert answered.status_code == 302
    told = [str(message) for message in get_messages(answered.wsgi_request)]
    assert len([line for line in told if line.startswith("Discarded the event at position")]) == 2
    (refused,) = [line for line in told if "was not discarded" in line]
    assert refused.startswith(f"{parked[1][0]} was not discarded: {type(error).__name__}: ")
    assert refused.endswith(".")
    assert not refused.endswith("..")
    assert [key.pk for key in ParkedKey.objects.all()] == [parked[1][1]]
    assert len(_recorded()) == 2


def test_what_this_program_cannot_handle_is_left_alone_when_it_is_retried_with_others(operator: Client) -> None:
    _, key = _parked_transfer()
    with connection.cursor() as cursor:
        cursor.execute(INSERT_OUTDATED)
    others = [_park("gone.saga", uuid4(), 10_000), _park("views.transfers", uuid4(), 10_001)]
    with _dispatching():
        answered = _act(operator, "retry_selected", *others, key, **WHY)
    assert (
        _said(answered) == "1 handled and free again; 2 left alone, for this program cannot handle what is behind it."
    )
    assert {found.pk for found in ParkedKey.objects.all()} == set(others)
    assert len(_recorded()) == 1


def test_a_bulk_retry_is_bounded(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _parked_transfer()
    keys = [_park("gone.saga" if number > 55 else "accounts.saga", uuid4(), 10_000 + number) for number in range(60)]
    monkeypatch.setattr(parked_pages, "WAIT_SECONDS", 0)
    answered = _act(operator, "retry_selected", *keys[:55], select_across="1", **WHY)
    assert "50 will be tried within seconds" in _said(answered)
    asked = [one.detail["key"] for one in Operation.objects.all()]
    assert len(asked) == len(set(asked)) == 50
    due = ParkedKey.objects.filter(next_attempt_at__lte=timezone.now())
    assert {str(one.key) for one in due} == set(asked)


def test_it_revokes_an_api_key_at_once(operator: Client) -> None:
    key = create_api_key(name="billing", role=Role.SERVICE).key
    token = AuthToken.objects.get(user__username="billing")
    program = Counter(Role.SERVICE).client
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert program.get("/api/v1/customers").status_code == 200
    sent = {"action": "revoke_selected", ACTION_CHECKBOX_NAME: mark_of(token)}
    assert operator.post("/admin/knox/authtoken/", sent).status_code == 200
    assert operator.post("/admin/knox/authtoken/", {**sent, **WHY}).status_code == 302
    assert program.get("/api/v1/customers").status_code == 401
    history = operator.get(f"/admin/staff/staffmember/{token.user_id}/history/").content.decode()
    assert WHY["reason"] in history
