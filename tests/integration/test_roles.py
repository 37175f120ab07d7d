"""Roles are groups with exactly their permissions; `security/test_access.py` tries each of them at every address."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group

from config.api import urlpatterns
from config.database_roles import owner_role
from config.staff import roles
from config.staff.roles import PERMISSIONS_OF, PermissionUnknown, Role, apply_roles
from eventstore.rest.permissions import AUTHENTICATED, PUBLIC, required_permission
from tests.conftest import Database
from tests.integration.counter import Counter, problem

_PATTERNS: list[Any] = list(urlpatterns)


def _addresses() -> list[tuple[Any, str]]:
    return [
        (pattern, method)
        for pattern in _PATTERNS
        for method in pattern.callback.cls().allowed_methods
        if method != "HEAD"
    ]


def test_every_handler_says_what_it_requires() -> None:
    for pattern, method in _addresses():
        permission = required_permission(pattern.callback.cls, method)
        assert permission is not None, f"{method} {pattern.name}"
        assert permission in {PUBLIC, AUTHENTICATED} or permission in set().union(*PERMISSIONS_OF.values())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SERVICE])
def test_everybody_signed_in_may_sign_out(committed_db: Database, role: Role) -> None:
    counter = Counter(role)
    assert counter.post("auth/logout", None, key=None).status_code == 204
    problem(counter.get("accounts"), 401, "unauthenticated")


@pytest.mark.django_db
def test_every_role_is_a_group_with_exactly_its_permissions() -> None:
    for role, names in PERMISSIONS_OF.items():
        held = Group.objects.get(name=role.value).permissions.select_related("content_type")
        assert {f"{one.content_type.app_label}.{one.codename}" for one in held} == {str(name) for name in names}


def test_applying_the_roles_again_puts_right_what_was_changed_by_hand(fresh_database: Database) -> None:
    with owner_role():  # as a migration
        tellers = Group.objects.get(name="teller")
        auditors = Group.objects.get(name="auditor")
        tellers.permissions.set(auditors.permissions.all())
        Group.objects.filter(name="operator").delete()
        apply_roles(using="default")
    test_every_role_is_a_group_with_exactly_its_permissions()


@pytest.mark.django_db
def test_a_permission_that_nobody_declares_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "PERMISSIONS_OF", {Role.TELLER: frozenset({"accounts.print_money"})})
    with pytest.raises(PermissionUnknown, match=r"accounts\.print_money"):
        apply_roles(using="default")


def test_an_operator_moves_no_money_and_an_auditor_changes_nothing() -> None:
    contexts = {
        role: {str(name) for name in names if not name.startswith(("eventstore.", "staff.", "auth.", "knox.", "axes."))}
        for role, names in PERMISSIONS_OF.items()
    }
    assert contexts[Role.OPERATOR] == set()
    assert all(".view_" in name for name in contexts[Role.AUDITOR])
    assert contexts[Role.TELLER] == contexts[Role.SERVICE]
    assert contexts[Role.TELLER] < contexts[Role.SUPERVISOR]
