"""Guessing passwords: who is locked out, for how long, and how they get in again."""

from __future__ import annotations

import getpass
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from knox.models import AuthToken
from pytest_django import Settings
from rest_framework.test import APIClient

from config.addresses import client_address
from config.staff import lockout
from config.staff.models import StaffMember
from config.staff.roles import Role
from config.staff.tasks import prune
from eventstore.models import Operation
from tests.conftest import Database
from tests.integration.admins import browser
from tests.integration.counter import API, PASSWORD, Counter, member_of, problem

HOME, ELSEWHERE = "192.0.2.10", "198.51.100.20"
MANY = 50


@pytest.fixture
def name(committed_db: Database, settings: Settings) -> Iterator[str]:
    """A teller of the test's own, whom nobody has tried to be yet, and whose password is quick to check."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    AccessAttempt.objects.all().delete()
    yield member_of(Role.TELLER, name=f"tilda-{uuid4()}").username
    AccessAttempt.objects.all().delete()
    AccessLog.objects.all().delete()


def _page(name: str, password: str, *, address: str = HOME, **headers: str) -> Any:
    return Client(REMOTE_ADDR=address).post("/log-in", {"username": name, "password": password}, headers=headers)


def _api(name: str, password: str, *, address: str = HOME) -> Any:
    client = APIClient(REMOTE_ADDR=address)
    return client.post(f"{API}/auth/login", {"username": name, "password": password}, format="json")


def _fail(name: str, times: int, *, address: str = HOME) -> None:
    for _ in range(times):
        assert _page(name, "wrong", address=address).status_code in {200, 429}


def _newest_operation() -> int:
    newest = Operation.objects.order_by("id").last()
    return newest.id if newest else 0


def _let_in_since(newest: int) -> list[tuple[str, Any]]:
    """Who let in whom after that operation, as it is recorded."""
    found = Operation.objects.filter(id__gt=newest, action="let in").order_by("id")
    return [(one.actor, one.detail) for one in found]


def _actor(client: Client) -> str:
    return StaffMember.objects.get(pk=client.session["_auth_user_id"]).actor


def test_it_locks_an_account_after_a_few_failures_and_says_for_how_long(name: str) -> None:
    for _ in range(settings.LOCK_OUT_FAILURES - 1):
        assert _page(name, "wrong").status_code == 200
    for refused in (_page(name, "wrong"), _page(name, PASSWORD)):
        assert refused.status_code == 429
        assert 0 < int(refused.headers["Retry-After"]) <= settings.LOCK_OUT_MINUTES * 60
        assert f"Try again in {settings.LOCK_OUT_MINUTES} minutes" in refused.content.decode()
        assert "no-store" in refused.headers["Cache-Control"]
        assert "sessionid" not in refused.cookies


def test_it_locks_pages_admin_and_api_alike(name: str) -> None:
    for attempt in range(settings.LOCK_OUT_FAILURES - 1):
        assert (_api(name, "wrong").status_code, attempt) == (401, attempt)
    found = problem(_api(name, "wrong"), 429, "rate_limited")
    assert "Try again in 9" in found["detail"]
    refused = _api(name, PASSWORD)
    problem(refused, 429, "rate_limited")
    assert 0 < int(refused.headers["Retry-After"]) <= settings.LOCK_OUT_MINUTES * 60
    assert _page(name, PASSWORD).status_code == 429
    assert Client().get("/admin/login/").headers["Location"].startswith("/log-in")  # there is no other way in


def test_it_tells_nothing_about_which_names_exist(name: str) -> None:
    nobody = f"nobody-{uuid4()}"
    _fail(name, settings.LOCK_OUT_FAILURES)
    _fail(nobody, settings.LOCK_OUT_FAILURES)
    real, unreal = _page(name, "wrong"), _page(nobody, "wrong")
    assert (real.status_code, unreal.status_code) == (429, 429)
    assert "too many failed log-ins" in real.content.decode()
    assert "too many failed log-ins" in unreal.content.decode()
    assert not AccessAttempt.objects.filter(username=nobody).exists()  # it may be somebody's password


def test_an_attempt_while_locked_does_not_prolong_the_lock(name: str) -> None:
    _fail(name, settings.LOCK_OUT_FAILURES)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=settings.LOCK_OUT_MINUTES - 1))
    _fail(name, 3)
    assert int(_page(name, PASSWORD).headers["Retry-After"]) <= 60
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=settings.LOCK_OUT_MINUTES))
    assert _page(name, PASSWORD).status_code == 303


def test_a_stranger_cannot_lock_a_person_out_of_where_they_work(name: str) -> None:
    assert _page(name, PASSWORD, address=HOME).status_code == 303
    for number in range(settings.LOCK_OUT_FAILURES_OF_ACCOUNT):
        _fail(name, 1, address=f"203.0.113.{number}")
    assert _page(name, PASSWORD, address=ELSEWHERE).status_code == 429  # the account is locked …
    assert _page(name, PASSWORD, address=HOME).status_code == 303  # … and its owner works on


def test_an_account_is_locked_however_many_addresses_guess(name: str) -> None:
    for number in range(settings.LOCK_OUT_FAILURES_OF_ACCOUNT):
        assert _page(name, "wrong", address=f"203.0.113.{number}").status_code in {200, 429}
    assert _page(name, PASSWORD, address=HOME).status_code == 429


def test_an_address_is_locked_however_many_names_it_tries(name: str, settings: Settings) -> None:
    settings.LOCK_OUT_FAILURES_OF_ADDRESS = 8
    for _ in range(8):
        _fail(f"nobody-{uuid4()}", 1)
    assert _page(name, PASSWORD).status_code == 429
    assert _page(name, PASSWORD, address=ELSEWHERE).status_code == 303


def test_signing_in_forgets_the_failures_of_that_account_alone(name: str, settings: Settings) -> None:
    settings.LOCK_OUT_FAILURES_OF_ADDRESS = 8
    for _ in range(3):
        _fail(name, settings.LOCK_OUT_FAILURES - 2)
        assert _page(name, PASSWORD).status_code == 303
    for _ in range(7):
        _fail(f"nobody-{uuid4()}", 1)
    assert _page(name, PASSWORD).status_code == 303
    _fail(f"nobody-{uuid4()}", 1)  # an attacker's own log-in did not clear the others
    assert _page(name, PASSWORD).status_code == 429


def test_the_address_is_the_peer_s_whatever_a_header_says(name: str) -> None:
    for number in range(settings.LOCK_OUT_FAILURES):
        _page(name, "wrong", **{"X-Forwarded-For": f"203.0.113.{number}", "X-Real-IP": f"203.0.113.{number}"})
    assert _page(name, PASSWORD, **{"X-Forwarded-For": "203.0.113.99"}).status_code == 429
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {HOME}


def test_behind_a_proxy_only_what_the_proxy_wrote_counts(name: str, settings: Settings) -> None:
    settings.PROXIES = 1
    for number in range(settings.LOCK_OUT_FAILURES):
        _page(name, "wrong", **{"X-Forwarded-For": f"203.0.113.{number}, {ELSEWHERE}"})
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {ELSEWHERE}
    assert _page(name, PASSWORD, **{"X-Forwarded-For": ELSEWHERE}).status_code == 429
    assert _page(name, PASSWORD, **{"X-Forwarded-For": "192.0.2.77"}).status_code == 303


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("198.51.100.20", ELSEWHERE),
        ("198.51.100.20:51234", ELSEWHERE),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("[2001:db8:1:2:3:4:5:6]", "2001:db8:1:2::"),
        ("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::"),
        ("[::ffff:198.51.100.20]:443", ELSEWHERE),
        ("::ffff:198.51.100.20", ELSEWHERE),
        ("198.51.100.20:", HOME),
        ("198.51.100.20:http", HOME),
        ("[198.51.100.20", HOME),
        ("unknown", HOME),
        ("", HOME),
    ],
)
def test_the_port_that_a_proxy_says_as_well_is_no_part_of_the_address(
    written: str, address: str, settings: Settings
) -> None:
    settings.PROXIES = 1
    request = RequestFactory(REMOTE_ADDR=HOME).get("/", headers={"X-Forwarded-For": f"203.0.113.9, {written}"})
    assert client_address(request) == address


def test_one_failure_more_is_counted_once_each_when_several_come_at_once(name: str) -> None:
    for _ in range(3):
        lockout._count(name, HOME)
    assert AccessAttempt.objects.get(username=name).failures_since_start == 3


def test_it_asks_nothing_about_locks_but_at_the_log_in(committed_db: Database) -> None:
    counter, desk = Counter(Role.TELLER), browser(Role.TELLER)
    for ask in (lambda: counter.get("accounts"), lambda: desk.get("/accounts")):
        with CaptureQueriesContext(connection) as captured:
            assert ask().status_code == 200
        assert not [query for query in captured if "axes" in query["sql"]]


# --- The ways out -----------------------------------------------------------------------------------------------


def test_the_command_lets_in_an_account_an_address_or_everybody(name: str) -> None:
    for chosen in ((name,), ("--address", HOME), ("--all",)):
        _fail(name, settings.LOCK_OUT_FAILURES)
        assert _page(name, PASSWORD).status_code == 429
        out = io.StringIO()
        call_command("unlock", *chosen, stdout=out)
        assert out.getvalue().startswith(f"{settings.LOCK_OUT_FAILURES} failed log-ins are forgotten;")
        assert _page(name, PASSWORD).status_code == 303
    with pytest.raises(CommandError, match="There is nobody named"):
        call_command("unlock", f"nobody-{uuid4()}")
    with pytest.raises(CommandError, match="one of the arguments"):
        call_command("unlock")


@pytest.mark.parametrize("told", ["2001:db8:7:8::9", "2001:0DB8:0007:0008::abcd", "2001:db8:7:8::"])
def test_the_command_takes_an_address_in_any_of_its_spellings_for_the_network_that_is_locked(
    name: str, told: str
) -> None:
    _fail(name, settings.LOCK_OUT_FAILURES, address="2001:db8:7:8::9")
    assert _page(name, PASSWORD, address="2001:db8:7:8:1::").status_code == 429
    out = io.StringIO()
    call_command("unlock", "--address", told, stdout=out)
    assert out.getvalue().startswith(f"{settings.LOCK_OUT_FAILURES} failed log-ins are forgotten;")
    assert _page(name, PASSWORD, address="2001:db8:7:8::9").status_code == 303


def test_the_command_is_recorded_with_who_ran_it(name: str) -> None:
    member_of(Role.OPERATOR, name="olga")
    me, newest = getpass.getuser(), _newest_operation()
    _fail(name, 2)
    _fail(f"nobody-{uuid4()}", 1)
    call_command("unlock", name, stdout=io.StringIO())
    call_command("unlock", "--address", HOME, "--as", "olga", stdout=io.StringIO())
    call_command("unlock", "--all", stdout=io.StringIO())
    call_command("axes_reset_ip_username", HOME, name, stdout=io.StringIO())
    with pytest.raises(CommandError, match="no active member"):
        call_command("unlock", name, "--as", "nobody")
    assert _let_in_since(newest) == [
        (f"os:{me}", {"member": f"staff:{name}", "failures_forgotten": 2}),
        ("staff:olga", {"address": HOME, "failures_forgotten": 1, "os_user": me}),
        (f"os:{me}", {"locks": "all", "failures_forgotten": 0}),
        (f"os:{me}", {"member": f"staff:{name}", "address": HOME, "failures_forgotten": 0}),
    ]


def test_an_operator_lets_in_by_the_admin_and_it_is_noted(name: str) -> None:
    operator, member = browser(Role.OPERATOR), StaffMember.objects.get(username=name)
    _fail(name, settings.LOCK_OUT_FAILURES)
    page = operator.get(f"/admin/staff/staffmember/{member.pk}/change/").content.decode()
    assert "Locked out" in page
    chosen = {"action": "let_in_again", "_selected_action": str(member.pk)}
    newest = _newest_operation()
    assert operator.post("/admin/staff/staffmember/", chosen).status_code == 302
    assert _page(name, PASSWORD).status_code == 303
    forgotten = {"member": member.actor, "failures_forgotten": settings.LOCK_OUT_FAILURES}
    assert _let_in_since(newest) == [(_actor(operator), forgotten)]
    assert (
        f"forgotten: {settings.LOCK_OUT_FAILURES}"
        in operator.get(f"/admin/staff/staffmember/{member.pk}/history/").content.decode()
    )


def test_an_operator_sees_failed_log_ins_and_forgets_them(name: str) -> None:
    operator, nobody = browser(Role.OPERATOR), f"password-{uuid4()}"
    _fail(name, settings.LOCK_OUT_FAILURES)
    _fail(nobody, 1)
    page = operator.get("/admin/axes/accessattempt/").content.decode()
    assert name in page
    assert nobody not in page
    assert "an unknown name" in page
    row = AccessAttempt.objects.get(username=name)
    chosen = {"action": "forget_selected", "_selected_action": str(row.pk)}
    assert operator.post("/admin/axes/accessattempt/", chosen).status_code == 302
    assert _page(name, PASSWORD).status_code == 303
    assert browser(Role.AUDITOR).get("/admin/axes/accessattempt/").status_code == 403


def test_failed_log_ins_that_an_operator_forgets_are_recorded_for_the_auditor(name: str) -> None:
    operator, nobody, newest = browser(Role.OPERATOR), f"password-{uuid4()}", _newest_operation()
    _fail(name, 3)
    _fail(name, 1, address=ELSEWHERE)
    _fail(nobody, 2)
    rows = [str(pk) for pk in AccessAttempt.objects.exclude(ip_address=ELSEWHERE).values_list("pk", flat=True)]
    chosen = {"action": "forget_selected", "_selected_action": rows}
    assert operator.post("/admin/axes/accessattempt/", chosen).status_code == 302
    assert AccessAttempt.objects.get().ip_address == ELSEWHERE
    found = sorted(_let_in_since(newest), key=lambda one: int(one[1]["failures_forgotten"]))
    assert found == [
        (_actor(operator), {"name": "unknown", "address": HOME, "failures_forgotten": 2}),
        (_actor(operator), {"member": f"staff:{name}", "address": HOME, "failures_forgotten": 3}),
    ]
    page = browser(Role.AUDITOR).get("/admin/eventstore/operation/", {"to": f"staff:{name}"}).content.decode()
    assert "let in" in page
    assert HOME in page


def test_no_failure_is_forgotten_that_cannot_be_recorded(name: str) -> None:
    operator, member = browser(Role.OPERATOR), StaffMember.objects.get(username=name)
    _fail(name, 1)
    row = AccessAttempt.objects.get()
    forget = {"action": "forget_selected", "_selected_action": str(row.pk)}
    let_in = {"action": "let_in_again", "_selected_action": str(member.pk)}
    with patch("eventstore.operations.record", side_effect=RuntimeError):
        for attempt in (
            lambda: operator.post("/admin/axes/accessattempt/", forget),
            lambda: operator.post("/admin/staff/staffmember/", let_in),
            lambda: call_command("unlock", name, stdout=io.StringIO()),
        ):
            with pytest.raises(RuntimeError):
                attempt()
    assert AccessAttempt.objects.get().failures_since_start == 1


def test_what_counts_no_more_is_removed(name: str) -> None:
    _fail(name, 1)
    _page(name, PASSWORD, address=ELSEWHERE)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=settings.LOCK_OUT_MINUTES))
    AccessLog.objects.update(attempt_time=timezone.now() - timedelta(days=lockout.KNOWN_DAYS))
    Session.objects.create(session_key=f"old-{uuid4().hex[:30]}", session_data="", expire_date=timezone.now())
    token, _ = AuthToken.objects.create(StaffMember.objects.get(username=name), expiry=timedelta(seconds=-1))
    prune()
    assert not AccessAttempt.objects.exists()
    assert not AccessLog.objects.exists()
    assert not Session.objects.filter(expire_date__lt=timezone.now()).exists()
    assert not AuthToken.objects.filter(pk=token.pk).exists()


def test_one_row_stands_for_all_log_ins_of_an_account_from_one_address(name: str) -> None:
    for _ in range(3):
        assert _page(name, PASSWORD).status_code == 303
        assert _api(name, PASSWORD).status_code == 200
    assert AccessLog.objects.filter(username=name).count() == 1
