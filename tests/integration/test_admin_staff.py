"""Who may give whom which rights in the admin: nobody themselves, nobody unseen, and nothing outlives its end."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from knox.models import AuthToken
from rest_framework.test import APIClient

from config.staff.members import MemberRefused, create_api_key, create_person
from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.models import Operation
from tests.conftest import Database
from tests.integration.admins import browser, role_named
from tests.integration.counter import PASSWORD, member_of

STAFF = "/admin/staff/staffmember/"
NEW_PASSWORD = "another-long-enough-one"


@pytest.fixture
def operator(fresh_database: Database) -> Client:
    """An operator's browser."""
    return browser(Role.OPERATOR)


@pytest.fixture
def carol(operator: Client) -> StaffMember:
    """A supervisor."""
    return member_of(Role.SUPERVISOR, name="carol")


def _me(client: Client) -> StaffMember:
    return StaffMember.objects.get(pk=client.session["_auth_user_id"])


def _change(client: Client, member: StaffMember, *roles: Role, **more: Any) -> Any:
    groups = [role_named(role.value).pk for role in roles]
    return client.post(f"{STAFF}{member.pk}/change/", {"groups": groups, **more})


def _roles(member: StaffMember) -> set[str]:
    return set(member.groups.values_list("name", flat=True))


def _operations() -> list[tuple[str, str, Any]]:
    return [(one.actor, one.action, one.detail) for one in Operation.objects.order_by("id")]


def _everywhere(member: StaffMember) -> tuple[Client, APIClient]:
    """The member signed in at the pages and by API."""
    pages, program = Client(), APIClient()
    pages.force_login(member, backend="config.staff.authentication.RoleBackend")
    _, secret = AuthToken.objects.create(member)
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert pages.get("/accounts").status_code == 200
    assert program.get("/api/v1/accounts").status_code == 200
    return pages, program


def test_nobody_gets_another_role_or_a_flag_by_their_own_hand(operator: Client) -> None:
    me = _me(operator)
    permission = Permission.objects.first()
    assert permission is not None
    forged = {"is_superuser": "on", "is_staff": "", "is_service": "on", "user_permissions": [permission.pk]}
    assert _change(operator, me, Role.SUPERVISOR, **forged).status_code == 302
    me.refresh_from_db()
    assert _roles(me) == {"operator"}
    assert (me.is_active, me.is_staff, me.is_superuser, me.is_service) == (True, True, False, False)
    assert not me.user_permissions.exists()


@pytest.mark.parametrize("by", ["operator", "superuser"])
def test_nobody_makes_a_superuser_or_gives_single_permissions(operator: Client, carol: StaffMember, by: str) -> None:
    client = browser(None, superuser=True) if by == "superuser" else operator
    permission = Permission.objects.first()
    assert permission is not None
    forged = {"is_superuser": "on", "is_staff": "on", "user_permissions": [permission.pk], "is_active": "on"}
    assert _change(client, carol, Role.TELLER, **forged).status_code == 302
    carol.refresh_from_db()
    assert (_roles(carol), carol.is_superuser, carol.is_staff) == ({"teller"}, False, False)
    assert not carol.user_permissions.exists()


@pytest.mark.parametrize(
    "roles",
    [(Role.OPERATOR, Role.SUPERVISOR), (Role.AUDITOR, Role.TELLER), (Role.OPERATOR, Role.AUDITOR), (Role.SERVICE,)],
)
def test_nobody_has_roles_that_do_not_go_together(
    operator: Client, carol: StaffMember, roles: tuple[Role, ...]
) -> None:
    answered = _change(operator, carol, *roles, is_active="on")
    assert answered.status_code == 200  # the form again, with the reason
    assert answered.context["adminform"].errors["groups"]
    form = {"username": "mallory", "password1": PASSWORD, "password2": PASSWORD}
    operator.post(f"{STAFF}add/", {**form, "groups": [role_named(role.value).pk for role in roles]})
    assert _roles(carol) == {"supervisor"}
    assert not StaffMember.objects.filter(username="mallory").exists()
    assert _operations() == []


@pytest.mark.parametrize(
    "roles",
    [
        (Role.SERVICE, Role.OPERATOR),
        (Role.SERVICE, Role.AUDITOR),
        (Role.OPERATOR, Role.SUPERVISOR),
        (Role.OPERATOR, Role.AUDITOR),
        (Role.OPERATOR, Role.SUPERVISOR, Role.AUDITOR),
    ],
)
def test_no_program_has_roles_that_do_not_go_together(operator: Client, roles: tuple[Role, ...]) -> None:
    program = member_of(Role.SERVICE, name="billing")
    answered = _change(operator, program, *roles, is_active="on")
    assert answered.status_code == 200
    assert answered.context["adminform"].errors["groups"]
    assert _roles(program) == {"service"}


@pytest.mark.parametrize("roles", [(Role.AUDITOR,), (Role.SERVICE, Role.SUPERVISOR), (Role.OPERATOR,)])
def test_a_program_may_have_another_role(operator: Client, roles: tuple[Role, ...]) -> None:
    program = member_of(Role.SERVICE, name="billing")
    assert _change(operator, program, *roles, is_active="on").status_code == 302
    assert _roles(program) == {role.value for role in roles}


def test_what_is_done_to_a_member_is_an_operation_that_an_auditor_reads(operator: Client, carol: StaffMember) -> None:
    me = _me(operator).actor
    form = {"username": "dave", "password1": PASSWORD, "password2": PASSWORD, "groups": [role_named("teller").pk]}
    assert operator.post(f"{STAFF}add/", form).status_code == 302
    _change(operator, carol, Role.TELLER, is_active="on")
    assert _operations() == [
        (me, "make member", {"member": "staff:dave", "roles": ["teller"], "roles_before": []}),
        (
            me,
            "change member",
            {"member": "staff:carol", "changed": ["groups"], "roles": ["teller"], "roles_before": ["supervisor"]},
        ),
    ]
    page = browser(Role.AUDITOR).get("/admin/eventstore/operation/").content.decode()
    assert "make member" in page
    assert "staff:carol" in page


def test_a_password_that_another_sets_is_recorded_and_ends_what_was_open(operator: Client, carol: StaffMember) -> None:
    pages, program = _everywhere(carol)
    sent = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    wrong = operator.post(f"{STAFF}{carol.pk}/password/", {**sent, "password2": "not-the-same-one"})
    assert wrong.status_code == 422
    assert _operations() == []
    assert operator.post(f"{STAFF}{carol.pk}/password/", sent).status_code == 302
    assert _operations() == [(_me(operator).actor, "set password", {"member": "staff:carol"})]
    assert NEW_PASSWORD not in str(_operations())
    assert pages.get("/accounts").status_code == 302
    assert program.get("/api/v1/accounts").status_code == 401


def test_ones_own_password_is_only_changed_by_who_knows_the_old_one(operator: Client) -> None:
    me = _me(operator)
    sent = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    answered = operator.post(f"{STAFF}{me.pk}/password/", sent)
    assert answered.headers["Location"] == "/password"
    me.refresh_from_db()
    assert not me.check_password(NEW_PASSWORD)


def test_who_is_deactivated_is_out_at_once_and_for_good(operator: Client, carol: StaffMember) -> None:
    pages, program = _everywhere(carol)
    others, _ = _everywhere(member_of(Role.TELLER, name="alice"))
    assert _change(operator, carol, Role.SUPERVISOR).status_code == 302
    assert _operations()[0][2]["active"] is False
    for _ in range(2):  # also after they are let in again: what was open before stays shut
        assert pages.get("/accounts").status_code == 302
        assert program.get("/api/v1/accounts").status_code == 401
        _change(operator, carol, Role.SUPERVISOR, is_active="on")
    carol.refresh_from_db()
    assert carol.is_active
    assert others.get("/accounts").status_code == 200


@pytest.mark.parametrize(
    "name",
    ["CAROL", "Carol", "\uff43arol", "carol\u1160", "carol\u3164", "\u115fcarol", "ca\u0301\u034frol"],
    ids=ascii,
)
def test_nobody_is_made_whose_name_looks_like_another(operator: Client, carol: StaffMember, name: str) -> None:
    form = {"username": name, "password1": PASSWORD, "password2": PASSWORD, "groups": [role_named("teller").pk]}
    answered = operator.post(f"{STAFF}add/", form)
    assert answered.status_code == 200
    assert answered.context["adminform"].errors["username"]
    with pytest.raises(MemberRefused):
        create_person(name=name, role=Role.TELLER, password=PASSWORD)
    with pytest.raises(MemberRefused):
        create_api_key(name=name, role=Role.SERVICE)
    assert list(StaffMember.objects.filter(is_active=True).exclude(pk=_me(operator).pk)) == [carol]
    assert _operations() == []


def test_nobody_is_called_by_what_prints_nothing(operator: Client, carol: StaffMember) -> None:
    for name in ("\u3164", "Carol\u3164", "\ufe0f", "\u2800"):
        answered = _change(operator, carol, Role.SUPERVISOR, is_active="on", first_name=name)
        assert answered.context["adminform"].errors["first_name"], ascii(name)
    assert _change(operator, carol, Role.SUPERVISOR, is_active="on", first_name="Zo\u00eb").status_code == 302
