"""Every list, address, action and form of the admin, with bad values: told in a page, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import ModelAdmin
from django.contrib.auth.models import Group
from django.db.models import Field as ModelField
from django.db.models import Model
from django.forms import Field
from django.http import QueryDict
from django.test import Client
from django.urls import reverse

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.admin.confirming import CONFIRMED
from eventstore.admin.keyset import AFTER, BEFORE
from eventstore.subscriptions import checkpoints
from eventstore.subscriptions.registry import subscriptions as default_subscriptions
from tests.conftest import Database
from tests.integration.admins import an_event, browser, fill_store
from tests.integration.bad_input import values
from tests.integration.bad_input.written import nothing_is_written
from tests.integration.counter import PASSWORD
from tests.integration.security.addresses import PARAMETER, path_of, routes
from tests.integration.security.bank import rows

TOLD: Final = {200, 302, 400, 404, 422}

# Already percent-encoded, for some are no text at all.
QUOTED: Final = (
    *(quote(value) for value in (*values.NO_ID, *values.NO_WHOLE_NUMBER, *values.NO_MOMENT, *values.UNPRINTABLE)),
    *(
        "%00",
        "a%00b",
        "%ff",
        "%ed%a0%80",
        "%c0%80",
        "%",
        "%25",
        "'",
        "%5C",
        "%22%3E%3Cscript%3E",
        "%u0041",
        "x" * 6_000,
    ),
    *("-1", "1", "2147483648", "9223372036854775808", values.FOREIGN_ID, "staff%3Anobody", "system%3A"),
)
FEW: Final = ("x", "-1", "9" * 30, "%00", "%ff", "%ed%a0%80", "%27", "x" * 6_000)
EACH_CLASS: Final = (
    *FEW,
    *(quote(value) for value in ("", " ", "NaN", "1e309", values.ARABIC_DIGITS, values.UNPRINTABLE[0])),
    *("0001-01-01", "9999-12-31", "10000-01-01", "2026-02-30", values.FOREIGN_ID, "2147483648", "%3Cscript%3E"),
)
"""One of each class."""
SPOILT: Final = (
    *FEW, "0", "_5F", "_00", "_", "9" * 19, "9" * 400, "a%00", "a%00b", "..", "%2e%2e", "%2F", "1;",
    quote(values.ARABIC_DIGITS), values.FOREIGN_ID, quote("\u202ex"), "x/nonsense",
)  # fmt: skip
"""Parts of an address, percent-encoded: whatever is looked for by one is not there."""
SPOILT_IDS: Final = tuple(quote(value, safe="") for value in values.NO_ID if value not in ("", "1"))  # 1 is a row's
DJANGOS_OWN: Final = (
    "q", "p", "o", "all", "e", "_to_field", "_popup", "_facets", "_changelist_filters", BEFORE, AFTER,
)  # fmt: skip
NO_FILTERS: Final = ("no_such_field", "id__in", "pk__gt", "is_active__exact", "groups__isnull")
"""Names that a list does not know, unless it is narrowed by them."""
# What would let somebody guess at what they may not see, a letter at a time.
PROBING: Final = (
    "password__startswith", "username__regex", "digest__startswith", "user__password__contains",
    "auth_token_set__digest__startswith", "auth_token_set__token_key__startswith", "email__startswith",
)  # fmt: skip
# What Django itself breaks on, once it lets the name of a column through.
BREAKING: Final = (
    "username__regex=(", "id__range=1", "first_name__range=1,2", "last_login__year=99999", "date_joined__iso_year=0",
    "is_active__regex=(", "email__exact=%00", "id__contained_by={", "is_active__exact__regex=(",
    "groups__id__exact__in=x", "groups__name__regex=(", "pk__range=1",
)  # fmt: skip


@pytest.fixture
def operator(fresh_database: Database) -> Client:
    """An operator's browser, on a store with something of everything in it."""
    fill_store()
    checkpoints.ensure(default_subscriptions, using="default")
    return browser(Role.OPERATOR)


def _lists() -> Iterator[tuple[str, ModelAdmin[Model]]]:
    for model, model_admin in admin.site._registry.items():
        yield reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"), model_admin


def _change_lists(operator: Client) -> Iterator[tuple[str, Any]]:
    """Those that Django narrows: all but pages of our own."""
    for address, model_admin in _lists():
        if "cl" in operator.get(address).context:
            yield address, model_admin


def _parameters(
    address: str, model_admin: Any, operator: Client, kinds: set[type]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each parameter of a list, with the values that are tried: all of them for the first field of each kind."""
    narrowed_by = getattr(model_admin, "narrowed_by", ())
    yield from ((name, FEW) for name in (*DJANGOS_OWN, *narrowed_by))
    yield from ((name, FEW[:1]) for name in NO_FILTERS if name not in narrowed_by)
    form = operator.get(address).context.get("search_form")
    for name in () if form is None else model_admin.search_fields_of_form():
        kind = type(form.fields[name])  # type: ignore[union-attr]
        yield name, EACH_CLASS if kind in kinds else QUOTED
        kinds.add(kind)


def test_no_parameter_of_a_list_breaks_it(operator: Client) -> None:
    wrong = []
    kinds: set[type] = set()
    with nothing_is_written(but="public.django_session"):
        for address, model_admin in _lists():
            for name, values_tried in _parameters(address, model_admin, operator, kinds):
                for value in values_tried:
                    status = operator.get(address, query_params=None, QUERY_STRING=f"{name}={value}").status_code
                    if status not in TOLD:
                        wrong.append((address, name, value[:60], status))
    assert not wrong


def test_no_list_can_be_narrowed_by_what_it_does_not_show(operator: Client) -> None:
    for address, _ in _lists():
        everything = operator.get(address).content.count(b"<tr")
        for name in PROBING:
            answered = operator.get(address, {name: "a"})
            shown = answered.status_code == 200 and answered.content.count(b"<tr") != everything
            assert not shown, f"{address}?{name}=a"


def test_no_column_of_a_list_is_asked_about_in_any_way_but_by_its_filters(operator: Client) -> None:
    asked = 0
    for address, model_admin in _change_lists(operator):
        request = operator.get(address).wsgi_request
        known = {*model_admin.narrowed_by, *getattr(model_admin, "search_fields_of_form", tuple)()}
        for name in {*_questions(model_admin.model)} - known:
            request.GET = QueryDict(f"{name}=1")
            with pytest.raises(DisallowedModelAdminLookup):
                model_admin.get_changelist_instance(request)
            asked += 1
    assert asked > 1_000, "every column, also of what stands in relation to a row, with every lookup"


def test_a_list_that_is_asked_what_breaks_django_says_no(operator: Client) -> None:
    for address, _ in _change_lists(operator):
        for question in BREAKING:
            status = operator.get(address, query_params=None, QUERY_STRING=question).status_code
            assert status == 400, f"{address}?{question}"


def test_every_link_of_a_filter_narrows_its_list(operator: Client) -> None:
    for address, model_admin in _change_lists(operator):
        shown = operator.get(address).context["cl"]
        links = {choice["query_string"] for filter in shown.filter_specs for choice in filter.choices(shown)}
        assert {name for link in links for name in QueryDict(link[1:])} == set(model_admin.narrowed_by)
        for link in links:
            assert operator.get(f"{address}{link}").status_code == 200


def _questions(model: type[Model], *, deeper: bool = True) -> Iterator[str]:
    """Every column of a model with every lookup and transform, and those of what it is related to."""
    for field in model._meta.get_fields():
        yield field.name
        if field.is_relation:
            yield f"{field.name}__isnull"
            if deeper and field.related_model is not None:
                yield from (f"{field.name}__{name}" for name in _questions(field.related_model, deeper=False))
        else:
            yield from (f"{field.name}__{lookup}" for lookup in cast("ModelField[Any, Any]", field).get_lookups())


def _spoilt(route: str, things: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The address with each of its parts spoilt in turn, in each way, while the others are good; and each method."""
    for name in PARAMETER.findall(route):
        part = cast("re.Match[str]", re.search(rf"\(\?P<{name}>.*\)\$|<(?:\w+:)?{name}>", route))[0]
        for bad in (*SPOILT, *(() if name == "object_id" else SPOILT_IDS)):
            yield "GET", path_of(route.replace(part, bad), things)
        for bad in FEW:
            yield "POST", path_of(route.replace(part, bad), things)


def test_no_part_of_an_address_breaks_the_admin(operator: Client) -> None:
    event = an_event("MoneyTransferCreated")
    things: dict[str, Any] = {
        "stream_type": event.stream_type,
        "stream_id": event.stream_id,
        "correlation_id": event.metadata["correlation_id"],
        "position": 1,
        "deed": "pause",
        "subscription": "accounts.saga",
        "app_label": "eventstore",
        "id": StaffMember.objects.order_by("pk")[0].pk,
        **rows(),
    }
    wrong = []
    with nothing_is_written(but="public.django_session"):
        for route in [found for found in routes() if found.startswith("admin/") and PARAMETER.search(found)]:
            reached = operator.get(path_of(route, things)).status_code != 404
            assert reached != route.endswith("$"), f"{route}: what is good leads somewhere, and what is unknown nowhere"
            for method, address in _spoilt(route, things):
                status = operator.generic(method, address).status_code
                if status not in {*TOLD, 403}:
                    wrong.append((method, address[:120], status))
    assert not wrong


ACTIONS: Final = {
    "/admin/staff/staffmember/": ("let_in_again",),
    "/admin/axes/accessattempt/": ("forget_selected",),
    "/admin/knox/authtoken/": ("revoke_selected",),
    "/admin/eventstore/parkedkey/": ("retry_selected", "discard_selected"),
}


def test_every_action_is_in_the_table(operator: Client) -> None:
    offered = {}
    for address, model_admin in _lists():
        request = operator.get(address).wsgi_request
        if model_admin.get_actions(request):
            offered[address] = tuple(model_admin.get_actions(request))
    assert offered == ACTIONS


@pytest.mark.parametrize(("address", "name"), [(at, name) for at, names in ACTIONS.items() for name in names])
def test_an_action_on_what_is_not_there_does_nothing(address: str, name: str, operator: Client) -> None:
    wrong = []
    bad: list[Any] = [
        "x",
        "",
        "0",
        "-1",
        "9" * 19,
        "9" * 400,
        "\x00",
        "1\x00",
        "1e3",
        "NaN",
        values.ARABIC_DIGITS,
        "\ufffd",
    ]
    for selected in [*bad, ["x", "0"], [str(number + 10**7) for number in range(1_500)], []]:
        for more in ({}, {CONFIRMED: "yes", "reason": "Because"}):
            with nothing_is_written(but="public.django_session"):
                sent = {"action": name, "_selected_action": selected, "index": "0", "select_across": "0", **more}
                status = operator.post(address, sent).status_code
            if status not in {*TOLD, 413}:  # more than a form may have, in fields or in bytes
                wrong.append((str(selected)[:60], more, status))
    assert not wrong


@pytest.mark.parametrize(("address", "name"), [(at, name) for at, names in ACTIONS.items() for name in names])
def test_an_action_that_is_asked_for_badly_does_nothing(address: str, name: str, operator: Client) -> None:
    (row, *_) = re.findall(r'name="_selected_action" value="([^"]+)"', operator.get(address).content.decode())
    good = {"action": name, "_selected_action": row, "index": "0", "select_across": "0"}
    asks = name in {"retry_selected", "discard_selected", "revoke_selected"}
    for changed in (
        {"action": "delete_selected"},
        {"action": ""},
        {"action": "x" * 6_000},
        {"action": "\x00"},
        {"action": "__class__"},
        {"index": "9", "action": "nonsense"},
        *({CONFIRMED: "yes", "reason": reason} for reason in _no_reasons() if asks),
    ):
        with nothing_is_written(but="public.django_session"):
            assert operator.post(address, good | changed).status_code in TOLD, changed


def _no_reasons() -> list[str]:
    breaking = {"\n", "\r", "\t", "\x85", "\u2028", "\u2029"}  # a line: they become spaces
    unprintable = [text for text in values.UNPRINTABLE if not breaking & set(text)]
    return [*values.BLANK, *unprintable, "\x00", "a\x00b", "x" * 50_000]


def test_a_subscription_is_not_paused_for_no_reason(operator: Client) -> None:
    address = "/admin/eventstore/checkpoint/pause/accounts.saga/"
    assert operator.get(address).status_code == 200
    for reason in _no_reasons():
        with nothing_is_written(but="public.django_session"):
            assert operator.post(address, {CONFIRMED: "yes", "reason": reason}).status_code == 422, reason[:20]


def _bad_texts(field: Field) -> list[str]:
    longest = getattr(field, "max_length", None) or 10_000
    return [*values.UNPRINTABLE, "\x00", "a\x00b", "x" * (longest + 1), *(values.BLANK if field.required else [])]


def test_a_person_is_not_made_with_a_bad_value(operator: Client) -> None:
    address = "/admin/staff/staffmember/add/"
    form = operator.get(address).context["adminform"].form
    good = {"username": "new-person", "password1": PASSWORD, "password2": PASSWORD}
    good["groups"] = str(Group.objects.get(name=Role.TELLER.value).pk)
    assert set(good) >= {name for name, field in form.fields.items() if field.required}, "every field is filled in"
    names = [*_bad_texts(form.fields["username"]), "a b", "a:b", "a/b", "<b>", "\u202ex", "x" * 5_000]
    for bad in (
        *({"username": name} for name in names),
        *(
            {"password1": password, "password2": password}
            for password in ("", " ", "short", "password1234", "\x00" * 20)
        ),
        {"password2": f"{PASSWORD}x"},
        *({"groups": group} for group in ("x", "0", "-1", "9" * 30, "\x00")),
    ):
        with nothing_is_written(but="public.django_session"):
            answered = operator.post(address, good | bad)
        assert answered.status_code == 200, bad
        assert answered.context["adminform"].form.errors, bad


def test_a_person_is_not_changed_with_a_bad_value(operator: Client) -> None:
    member = StaffMember.objects.create(username=f"somebody-{uuid4()}")
    address = f"/admin/staff/staffmember/{member.pk}/change/"
    form = operator.get(address).context["adminform"].form
    assert set(form.fields) == {"is_active", "groups", "first_name", "last_name", "email"}
    for name in ("first_name", "last_name", "email"):
        for text in _bad_texts(form.fields[name]):
            with nothing_is_written(but="public.django_session"):
                answered = operator.post(address, {"is_active": "on", name: text})
            assert answered.status_code == 200, (name, text[:20])
            assert answered.context["adminform"].form.errors
    for groups in ("x", "0", "-1", "9" * 30, "\x00", values.ARABIC_DIGITS):
        with nothing_is_written(but="public.django_session"):
            answered = operator.post(address, {"is_active": "on", "groups": groups})
        assert answered.status_code == 200
        assert answered.context["adminform"].form.errors
    for extra in ({"is_superuser": "on"}, {"is_staff": "on"}, {"password": "x"}, {"username": "root"}, {"pk": "1"}):
        assert operator.post(address, {"is_active": "on", **extra}).status_code == 302
        changed = StaffMember.objects.get(pk=member.pk)
        assert (changed.username, changed.is_superuser, changed.password) == (member.username, False, member.password)


def test_a_password_is_not_set_badly(operator: Client) -> None:
    member = StaffMember.objects.create(username=f"somebody-{uuid4()}")
    address = f"/admin/staff/staffmember/{member.pk}/password/"
    for first, second in (("", ""), ("short", "short"), (PASSWORD, f"{PASSWORD}x"), ("password1234", "password1234")):
        with nothing_is_written(but="public.django_session"):
            answered = operator.post(address, {"password1": first, "password2": second})
        assert answered.status_code == 422
    for id in ("x", "0", "9" * 30, "%00"):
        assert operator.get(f"/admin/staff/staffmember/{id}/password/").status_code in {302, 403, 404}
