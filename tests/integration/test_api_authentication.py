"""Signing in by API: people with a password, programs with a key, the browser's session with CSRF."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone
from knox.models import AuthToken
from rest_framework.test import APIClient

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.ids import new_id
from tests.conftest import Database
from tests.integration.counter import API, PASSWORD, Counter, member_of, problem

WRONG = "Name or password is wrong."


@pytest.fixture
def anybody(committed_db: Database) -> APIClient:
    member_of(Role.TELLER)
    return APIClient(raise_request_exception=False)


def _log_in(client: APIClient, name: str, password: str) -> Any:
    return client.post(f"{API}/auth/login", {"username": name, "password": password}, format="json")


def _create_staff(monkeypatch: pytest.MonkeyPatch, name: str, password: str, role: str = "teller") -> str:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    call_command("create_staff", name, role=role, password_stdin=True, stdout=out)
    return out.getvalue()


def _create_key(name: str, role: str | None = "service", **options: bool) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("create_api_key", name, role=role, stdout=out, stderr=err, **options)
    return out.getvalue().strip(), err.getvalue()


def test_it_gives_a_token_that_lasts_as_long_as_it_says(anybody: APIClient) -> None:
    answered = _log_in(anybody, "teller-at-the-counter", PASSWORD)
    assert answered.status_code == 200
    assert answered.headers["Cache-Control"] == "no-store"
    assert set(answered.json()) == {"token", "expires_at"}
    lasts = datetime.fromisoformat(answered.json()["expires_at"]) - datetime.now(UTC)
    assert abs(lasts - timedelta(hours=10)) < timedelta(minutes=1)
    anybody.credentials(HTTP_AUTHORIZATION=f"Bearer {answered.json()['token']}")
    assert anybody.get(f"{API}/accounts").status_code == 200


@pytest.mark.parametrize(
    ("name", "password"), [("teller-at-the-counter", "wrong"), ("nobody", PASSWORD), ("service", "")]
)
def test_it_does_not_tell_what_was_wrong(anybody: APIClient, name: str, password: str) -> None:
    found = problem(_log_in(anybody, name, password or "x"), 401, "unauthenticated")
    assert found["detail"] == WRONG


def test_it_lets_nobody_in_who_was_deactivated(anybody: APIClient) -> None:
    member = member_of(Role.TELLER, name=f"left-{new_id()}")
    _, token = AuthToken.objects.create(member)
    member.is_active = False
    member.save()
    problem(_log_in(anybody, member.username, PASSWORD), 401, "unauthenticated")
    anybody.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    problem(anybody.get(f"{API}/accounts"), 401, "unauthenticated")


@pytest.mark.parametrize("token", ["", "x", "a b", "é" * 64, "0" * 64, "0" * 63, "\u0660" * 64])
def test_it_refuses_what_is_no_token(anybody: APIClient, token: str) -> None:
    header = f"Bearer {token}".encode().decode("latin-1")
    answered = anybody.get(f"{API}/accounts", HTTP_AUTHORIZATION=header)
    problem(answered, 401, "unauthenticated")


def test_it_refuses_a_token_that_has_expired(anybody: APIClient) -> None:
    _, token = AuthToken.objects.create(member_of(Role.TELLER), expiry=-timedelta(seconds=1))
    problem(anybody.get(f"{API}/accounts", HTTP_AUTHORIZATION=f"Bearer {token}"), 401, "unauthenticated")
    # … and that keeps nobody from getting a new one.
    anybody.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert _log_in(anybody, "teller-at-the-counter", PASSWORD).status_code == 200


def test_it_ends_only_the_token_that_signs_out(committed_db: Database) -> None:
    here, there = Counter(Role.TELLER), Counter(Role.TELLER)
    assert here.post("auth/logout", None, key=None).status_code == 204
    problem(here.get("accounts"), 401, "unauthenticated")
    assert there.get("accounts").status_code == 200


def test_it_does_not_sign_out_an_api_key(committed_db: Database) -> None:
    program = Counter(Role.SERVICE)
    refused = problem(program.post("auth/logout", None, key=None), 403, "forbidden")
    assert "an operator revokes it" in refused["detail"]
    assert program.get("accounts").status_code == 200


def test_it_takes_a_session_for_reading_and_wants_csrf_for_writing(anybody: APIClient) -> None:
    browser = APIClient(enforce_csrf_checks=True)
    browser.force_login(member_of(Role.TELLER))
    assert browser.get(f"{API}/accounts").status_code == 200
    keyed = {"Idempotency-Key": "k", "Referer": "http://testserver/"}
    refused = browser.post(f"{API}/customers", {"name": "Alice"}, format="json", headers=keyed)
    assert "CSRF" in problem(refused, 403, "forbidden")["detail"]
    token = "a" * 32
    browser.cookies[settings.CSRF_COOKIE_NAME] = token
    keyed |= {"X-CSRFToken": token, "Idempotency-Key": str(new_id())}
    assert browser.post(f"{API}/customers", {"name": "Alice"}, format="json", headers=keyed).status_code == 201
    assert browser.post(f"{API}/auth/logout", headers=keyed).status_code == 204
    problem(browser.get(f"{API}/accounts"), 401, "unauthenticated")


def test_it_signs_in_and_permits_with_one_query(committed_db: Database) -> None:
    counter = Counter(Role.TELLER)
    counter.get("accounts")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        counter.get("accounts")
    statements = [query["sql"].split()[0] for query in captured if "readmodel" not in query["sql"]]
    assert statements == ["SELECT"], captured.captured_queries


# --- The commands ---------------------------------------------------------------------------------------------


def test_the_command_makes_a_person_who_can_sign_in(anybody: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"dora-{new_id()}"
    assert _create_staff(monkeypatch, name, PASSWORD, "operator") == f"{name} may sign in as operator.\n"
    assert _log_in(anybody, name, PASSWORD).status_code == 200
    member = StaffMember.objects.get(username=name)
    assert (member.actor, member.is_staff, member.is_superuser) == (f"staff:{name}", True, False)


def test_the_command_refuses_with_one_clear_line(committed_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"erik-{new_id()}"
    for password in ("short", name):
        with pytest.raises(CommandError, match="password") as refused:
            _create_staff(monkeypatch, name, password)
        assert "\n" not in str(refused.value)
    _create_staff(monkeypatch, name, PASSWORD)
    with pytest.raises(CommandError, match=f"There is a {name.upper()} already"):
        _create_staff(monkeypatch, name.upper(), PASSWORD)
    with pytest.raises(CommandError, match="valid username"):
        _create_staff(monkeypatch, "no spaces please", PASSWORD)
    with pytest.raises(CommandError, match="invalid choice: 'service'"):
        _create_staff(monkeypatch, name, PASSWORD, "service")


def test_the_command_takes_no_password_that_no_log_in_takes(
    committed_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"gert-{new_id()}"
    for password in (f"{PASSWORD}\0", f"{PASSWORD}\udcff", "x" * 1_001, "x" * 5_000_000):
        with pytest.raises(CommandError, match=r"at most 1,000 characters|without the character NUL"):
            _create_staff(monkeypatch, name, password)
    for broken in (b"\xff" + PASSWORD.encode() + b"\n", PASSWORD.encode() + b"\xce\n", b"\xed\xa0\x80\n"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(broken), encoding="utf-8"))
        with pytest.raises(CommandError, match="not text in UTF-8"):
            call_command("create_staff", name, role="teller", password_stdin=True)
    assert not StaffMember.objects.filter(username=name).exists()
    long = "".join(map(chr, range(0x4E00, 0x4E00 + 1_000)))
    _create_staff(monkeypatch, name, long)
    assert StaffMember.objects.get(username=name).check_password(long)


def test_the_command_makes_wide_letters_of_a_name_the_usual_ones(
    anybody: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"ada-{new_id()}"
    wide = name.replace("ada", "\uff41\uff44\uff41")
    assert _create_staff(monkeypatch, wide, PASSWORD) == f"{name} may sign in as teller.\n"
    assert _log_in(anybody, name, PASSWORD).status_code == 200


def test_the_command_asks_only_on_a_terminal(committed_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandError, match="--password-stdin"):
        call_command("create_staff", f"frida-{new_id()}", role="teller")


def test_the_command_makes_a_program_and_shows_its_key_once(anybody: APIClient) -> None:
    name = f"payroll-{new_id()}"
    key, told = _create_key(name)
    until = timezone.now() + settings.API_KEY_TTL
    assert f"{name} may sign in as service until {until:%Y-%m-%d}" in told
    anybody.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert anybody.get(f"{API}/accounts").status_code == 200
    member = StaffMember.objects.get(username=name)
    assert member.actor == f"service:{name}"
    assert not member.has_usable_password()
    assert not AuthToken.objects.filter(digest=key).exists()


def test_the_command_gives_a_program_no_second_key_unless_it_replaces_the_first(anybody: APIClient) -> None:
    name = f"payroll-{new_id()}"
    first, _ = _create_key(name)
    with pytest.raises(CommandError, match=f"{name} has a key already: add --replace"):
        _create_key(name)
    assert _status_with(anybody, first) == 200
    second, _ = _create_key(name, replace=True)
    assert (_status_with(anybody, first), _status_with(anybody, second)) == (401, 200)
    assert StaffMember.objects.filter(username=name).count() == 1
    with override_settings(API_KEY_TTL=-timedelta(seconds=1)):
        _create_key(name, replace=True)
    third, _ = _create_key(name)  # what has expired is in nobody's way
    assert _status_with(anybody, third) == 200


def test_the_command_replaces_a_key_without_being_told_the_role_again(anybody: APIClient) -> None:
    name = f"billing-{new_id()}"
    with pytest.raises(CommandError, match=f"There is no program named {name} yet: say with --role what it may do"):
        _create_key(name, role=None, replace=True)
    first, _ = _create_key(name, role="supervisor")
    second, told = _create_key(name, role=None, replace=True)
    assert told.startswith(f"{name} may sign in as supervisor until ")
    assert (_status_with(anybody, first), _status_with(anybody, second)) == (401, 200)
    with pytest.raises(CommandError, match=f"{name} has the role supervisor, not service"):
        _create_key(name, role="service", replace=True)
    assert _status_with(anybody, second) == 200


def test_the_command_revokes_the_key_of_a_program(anybody: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    name, person = f"payroll-{new_id()}", f"gina-{new_id()}"
    key, _ = _create_key(name)
    assert _create_key(name, role=None, revoke=True) == ("", f"{name} had 1 key; now it has none.\n")
    assert _status_with(anybody, key) == 401
    assert _status_with(anybody, _create_key(name)[0]) == 200
    _create_staff(monkeypatch, person, PASSWORD)
    for other, said in ((person, "is a person"), (f"nobody-{new_id()}", "There is no program")):
        with pytest.raises(CommandError, match=said):
            _create_key(other, role=None, revoke=True)
    with pytest.raises(CommandError, match=f"{name} has a key already: add --replace"):
        _create_key(name, role=None)


def _status_with(client: APIClient, key: str) -> int:
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return int(client.get(f"{API}/accounts").status_code)


def test_the_command_keeps_people_and_programs_apart(committed_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    person, program = f"gina-{new_id()}", f"hourly-{new_id()}"
    _create_staff(monkeypatch, person, PASSWORD)
    with pytest.raises(CommandError, match="is a person"):
        _create_key(person)
    _create_key(program)
    with pytest.raises(CommandError, match="has the role service, not auditor"):
        _create_key(program, "auditor")


def test_it_permits_what_was_granted_to_one_program_alone(committed_db: Database) -> None:
    program = Counter(Role.OPERATOR, name=f"reader-{new_id()}")
    problem(program.get("accounts"), 403, "forbidden")
    permission = Permission.objects.get(codename="view_accounts")
    program.member.user_permissions.add(permission)
    assert program.get("accounts").status_code == 200
    browser = APIClient()
    browser.force_login(StaffMember.objects.get(pk=program.member.pk))
    assert browser.get(f"{API}/accounts").status_code == 200
    assert browser.get(f"{API}/transfers").status_code == 403
