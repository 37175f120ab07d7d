"""One's own password: who changes it, who guesses it, and what somebody can do with one that another set."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import pytest
from django.test import Client

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.models import Operation
from tests.conftest import Database
from tests.integration.admins import browser, role_named
from tests.integration.counter import PASSWORD, Counter, member_of, problem

CHOSEN: Final = "three quiet green boats"
GIVEN: Final = "handed over on paper 7"
ADDRESS: Final = "192.0.2.44"


@pytest.fixture
def member(committed_db: Database) -> StaffMember:
    return member_of(Role.TELLER, name=f"tilda-{uuid4()}")


def _signed_in(member: StaffMember, password: str = PASSWORD) -> Client:
    client = Client(REMOTE_ADDR=ADDRESS)
    assert client.post("/log-in", {"username": member.username, "password": password}).status_code == 303
    return client


def _change(client: Client, *, old: str = PASSWORD, new: str = CHOSEN, again: str | None = None) -> Any:
    return client.post("/password", {"old": old, "new": new, "again": new if again is None else again})


def _errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    found: dict[str, list[str]] = response.context["form"].errors.get_json_data()
    return {name: [one["code"] for one in errors] for name, errors in found.items()}  # type: ignore[index]


def test_it_changes_a_password_and_ends_what_was_open_elsewhere(member: StaffMember) -> None:
    here, there, program = _signed_in(member), _signed_in(member), Counter(Role.TELLER, name=member.username)
    assert _change(here).headers["Location"] == "/"
    assert here.get("/accounts").status_code == 200
    assert there.get("/accounts").status_code == 302
    problem(program.get("accounts"), 401, "unauthenticated")
    assert Client().post("/log-in", {"username": member.username, "password": PASSWORD}).status_code == 200
    _signed_in(member, CHOSEN)


def test_an_auditor_reads_that_it_was_changed_and_not_what_it_is(member: StaffMember) -> None:
    _change(_signed_in(member))
    (recorded,) = Operation.objects.filter(actor=member.actor)
    assert (recorded.action, recorded.detail) == ("change own password", {})


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"old": "not it at all"}, {"old": ["wrong"]}),
        ({"old": ""}, {"old": ["required"]}),
        ({"new": "short"}, {"new": ["password_too_short"]}),
        ({"new": "password1234"}, {"new": ["password_too_common"]}),
        ({"new": ""}, {"new": ["required"], "again": ["required"]}),
        ({"new": PASSWORD}, {"new": ["same"]}),
        ({"again": "something else again"}, {"again": ["differs"]}),
        ({"new": "x" * 1_001}, {"new": ["max_length"], "again": ["max_length"]}),
        (
            {"new": "a\x00bcdefghijklmn"},
            {"new": ["null_characters_not_allowed"], "again": ["null_characters_not_allowed"]},
        ),
    ],
)
def test_it_refuses_what_is_wrong_and_changes_nothing(
    member: StaffMember, sent: dict[str, str], expected: dict[str, list[str]]
) -> None:
    assert _errors(_change(_signed_in(member), **sent)) == expected
    member.refresh_from_db()
    assert member.check_password(PASSWORD)
    assert not Operation.objects.filter(actor=member.actor).exists()


def test_it_refuses_the_own_name(committed_db: Database) -> None:
    member = member_of(Role.TELLER, name=f"theodora-{uuid4().hex[:6]}")
    assert _errors(_change(_signed_in(member), new=member.username)) == {"new": ["password_too_similar"]}


def test_who_guesses_at_an_open_desk_is_locked_out(member: StaffMember) -> None:
    client = _signed_in(member)
    answers = [_change(client, old=f"guess {number}").status_code for number in range(6)]
    assert answers == [200, 200, 200, 200, 429, 429]
    assert _change(client).status_code == 429
    member.refresh_from_db()
    assert member.check_password(PASSWORD)


def test_a_password_that_an_operator_gave_is_good_for_choosing_another_alone(fresh_database: Database) -> None:
    made = {"username": "dora", "password1": GIVEN, "password2": GIVEN, "groups": [role_named("teller").pk]}
    assert browser(Role.OPERATOR).post("/admin/staff/staffmember/add/", made).status_code == 302
    dora = StaffMember.objects.get(username="dora")
    client = _signed_in(dora, GIVEN)
    for path in ("/", "/accounts", "/customers/register", "/admin/"):
        assert client.get(path).headers["Location"] == "/password"
    assert client.get("/accounts", headers={"HX-Request": "true"}).headers["HX-Redirect"] == "/password"
    assert client.post("/customers/register", {"name": "Mallory"}).headers["Location"] == "/password"
    problem(client.get("/api/v1/accounts"), 403, "forbidden")
    asked = {"username": "dora", "password": GIVEN}
    problem(Client().post("/api/v1/auth/login", asked, content_type="application/json"), 403, "forbidden")
    assert "Choose a password of your own" in client.get("/password").content.decode()
    assert _errors(_change(client, old=GIVEN, new=GIVEN)) == {"new": ["same"]}
    assert _change(client, old=GIVEN).headers["Location"] == "/"
    assert client.get("/accounts").status_code == 200
    assert (
        Client().post("/api/v1/auth/login", asked | {"password": CHOSEN}, content_type="application/json").status_code
        == 200
    )


def test_a_password_that_an_operator_set_anew_is_one_that_was_given(fresh_database: Database) -> None:
    member = member_of(Role.SUPERVISOR, name="carol")
    sent = {"password1": GIVEN, "password2": GIVEN}
    assert browser(Role.OPERATOR).post(f"/admin/staff/staffmember/{member.pk}/password/", sent).status_code == 302
    assert _signed_in(member, GIVEN).get("/accounts").headers["Location"] == "/password"
