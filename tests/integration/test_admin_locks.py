"""Nobody rewrites history through the admin: every model, every address that could, every role, a superuser too."""

from __future__ import annotations

from typing import Any, Final

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.messages.storage.fallback import FallbackStorage
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import Client, RequestFactory

from config.staff.models import StaffMember
from config.staff.roles import Role
from config.staff.site import DaybookAdminSite
from eventstore.models import Event
from tests.conftest import Database
from tests.integration.admins import browser, fill_store

# What nobody adds, changes or deletes in the admin.
LOCKED: Final = {
    "auth.Group",
    "axes.AccessAttempt",
    "eventstore.Checkpoint",
    "eventstore.Event",
    "eventstore.IdempotencyRecord",
    "eventstore.Operation",
    "eventstore.OutboxEntry",
    "eventstore.ParkedKey",
    "eventstore.Seal",
    "eventstore.Sequencer",
    "eventstore.Snapshot",
    "eventstore.SubjectKey",
    "knox.AuthToken",
}
# What an operator may edit there.
EDITED: Final = {"staff.StaffMember"}

REFUSALS: Final = {302, 403, 404, 405}  # to the log-in, not permitted, not there, not so
CHANGES: Final = {"actor": "staff:mallory", "data": "{}", "name": "x", "reason": "y", "state": "{}", "position": "1"}
ROLES: Final = [*Role, None, "superuser"]


@pytest.fixture
def _filled(fresh_database: Database) -> None:
    fill_store()


def _browser(role: Any) -> Client:
    return browser(None, superuser=True) if role == "superuser" else browser(role)


def _content(model: Any) -> Any:
    """All rows of a table, shortened to a digest."""
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t")
        return cursor.fetchone()


def _attempts(model: Any, pk: Any) -> list[tuple[str, dict[str, Any]]]:
    """Each address and form that adds, changes or deletes a row where Django's admin permits it."""
    root = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    form = {
        "form-TOTAL_FORMS": "1",
        "form-INITIAL_FORMS": "1",
        "form-0-id": str(pk),
        "_save": "Save",
        **{f"form-0-{name}": value for name, value in CHANGES.items()},
    }
    bulk = {"action": "delete_selected", ACTION_CHECKBOX_NAME: str(pk), "post": "yes", "select_across": "1"}
    return [
        (f"{root}add/", CHANGES),
        (f"{root}{pk}/change/", CHANGES),
        (f"{root}{pk}/change/", {**CHANGES, "_saveasnew": "1"}),
        (f"{root}{pk}/delete/", {"post": "yes"}),
        (f"{root}{pk}/", CHANGES),
        (root, form),
        (root, bulk),
        (root, {**bulk, "index": "0"}),
    ]


def test_every_model_of_the_admin_has_its_place_here() -> None:
    assert {model._meta.label for model in admin.site._registry} == LOCKED | EDITED


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("role", ROLES)
def test_it_changes_no_row_of_what_is_locked(role: Any) -> None:
    client = _browser(role)
    for model in admin.site._registry:
        if model._meta.label not in LOCKED:
            continue
        row = model._default_manager.order_by("pk").first()
        assert row is not None, f"{model._meta.label}: the test needs a row"
        before = _content(model)
        for address, form in _attempts(model, row.pk):
            answered = client.post(address, form)
            # A list that is posted to without an action that exists is shown again, and nothing is done.
            shown = address.endswith(f"/{model._meta.model_name}/") and answered.status_code == 200
            assert shown or answered.status_code in REFUSALS, f"{address}: {answered.status_code}"
            assert _content(model) == before, f"{address} {form}"


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("role", ROLES)
def test_it_offers_no_form_for_what_is_locked(role: Any) -> None:
    client = _browser(role)
    for model in admin.site._registry:
        if model._meta.label in LOCKED:
            row = model._default_manager.order_by("pk").first()
            assert row is not None
            root = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for address in (f"{root}add/", f"{root}{row.pk}/delete/"):
                assert client.get(address).status_code in REFUSALS, address


@pytest.mark.usefixtures("_filled")
@pytest.mark.parametrize("role", ["superuser", *Role])
def test_nobody_deletes_a_member_and_only_an_operator_changes_one(role: Any) -> None:
    client = _browser(role)
    member = StaffMember.objects.create_user(username="newcomer", password="a-long-enough-one")
    address = f"/admin/staff/staffmember/{member.pk}/"
    assert client.post(f"{address}delete/", {"post": "yes"}).status_code in REFUSALS
    client.post(f"{address}change/", {"first_name": "Mallory", "is_active": "on"})
    member.refresh_from_db()
    assert bool(member.first_name) == (role in (Role.OPERATOR, "superuser"))


@pytest.mark.usefixtures("_filled")
def test_what_the_database_refuses_is_told_and_not_a_failure() -> None:
    careless = DaybookAdminSite(name="admin")
    careless.register(Event, admin.ModelAdmin)
    event = Event.objects.order_by("id").first()
    assert event is not None
    request = RequestFactory().post(f"/admin/eventstore/event/{event.pk}/delete/", {"post": "yes"})
    request.user = StaffMember.objects.create(username="root", is_superuser=True, is_staff=True)
    request.session = SessionStore()
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
    answered = careless.admin_view(careless._registry[Event].delete_view)(request, str(event.pk))
    assert answered.status_code == 403
    assert "History is never rewritten" in answered.render().content.decode()
    assert Event.objects.filter(pk=event.pk).exists()
