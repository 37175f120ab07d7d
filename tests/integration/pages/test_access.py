"""Who may see which page, and what a page offers to whom."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, reverse
from knox.models import AuthToken

from config.staff.members import create_person
from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import PASSWORD, Counter, dispatch, role_group
from tests.integration.pages.desk import Desk, Form
from views_readmodel.pages import urls
from views_readmodel.pages.viewing import ANYBODY


def _patterns() -> list[URLPattern]:
    return [pattern for pattern in urls.urlpatterns if isinstance(pattern, URLPattern)]


def _guarded() -> list[URLPattern]:
    return [pattern for pattern in _patterns() if getattr(pattern.callback, "required_permission", None) != ANYBODY]


@pytest.mark.parametrize("pattern", _patterns(), ids=lambda pattern: str(pattern.name))
def test_each_address_says_who_may_see_it(pattern: URLPattern) -> None:
    assert getattr(pattern.callback, "required_permission", None)


def test_a_role_that_is_taken_away_in_the_middle_of_the_day_counts_at_once(committed_db: Database) -> None:
    supervisor = Counter(Role.SUPERVISOR)
    account = supervisor.account("10.00")
    dispatch()
    member = create_person(name=f"moving-{uuid4()}", role=Role.SUPERVISOR, password=PASSWORD)
    browser, program = Client(), AuthToken.objects.create(member)[1]
    browser.force_login(member)
    address, headers = f"/accounts/{account}/freeze", {"Authorization": f"Bearer {program}"}
    assert browser.get(address).status_code == 200
    form = Form(browser.get(address).content.decode(), action=address).fields
    member.groups.set([role_group(Role.TELLER)])
    assert browser.get(address).status_code == 403
    assert browser.post(address, form | {"reason": "Mallory"}).status_code == 403
    asked = Client(headers={**headers, "Idempotency-Key": str(uuid4())})
    answered = asked.post(f"/api/v1/accounts/{account}/freeze", {"reason": "Mallory"}, content_type="application/json")
    assert answered.status_code == 403
    assert supervisor.get(f"accounts/{account}").json()["state"] == "OPEN"
    assert browser.get(f"/accounts/{account}").status_code == 200  # a teller's


@pytest.mark.parametrize("pattern", _guarded(), ids=lambda pattern: str(pattern.name))
def test_each_address_asks_a_stranger_to_sign_in(pattern: URLPattern, committed_db: Database) -> None:
    known = {"customer_id": uuid4(), "account_id": uuid4(), "transfer_id": uuid4(), "key": uuid4(), "version": 1}
    wanted = [name for name in known if name in pattern.pattern.regex.groupindex]
    address = reverse(str(pattern.name), kwargs={name: known[name] for name in wanted})
    response: Any = Client().get(address)
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/log-in?next=/")


def test_a_fragment_that_a_stranger_asks_for_is_refused_and_leaves_the_page_alone(committed_db: Database) -> None:
    for response in (
        Client().get("/transfers", headers={"HX-Request": "true"}),
        Client().post("/customers/register", {"name": "Alice"}, headers={"HX-Request": "true"}),
    ):
        assert response.status_code == 401
        assert response.content == b""


@pytest.mark.parametrize(
    ("role", "forbidden"),
    [
        (Role.TELLER, ["freeze", "close", "entries/1/reverse"]),
        (Role.AUDITOR, ["deposit", "withdraw", "freeze", "close", "entries/1/reverse"]),
        (Role.OPERATOR, ["", "statement", "deposit", "withdraw", "freeze", "close"]),
    ],
)
def test_a_role_is_told_what_it_may_not(role: Role, forbidden: list[str], bank: dict[str, UUID]) -> None:
    desk = Desk(role)
    for part in forbidden:
        response = desk.get(f"/accounts/{bank['payer']}/{part}".rstrip("/"))
        assert response.status_code == 403
        assert b"Your role does not permit this" in response.content


def test_a_page_offers_only_what_the_role_may(bank: dict[str, UUID]) -> None:
    address = f"/accounts/{bank['payer']}"
    actions = {
        role: set(re.findall(rf'href="{address}/([a-z-]+)"', Desk(role).get(address).content.decode()))
        for role in (Role.TELLER, Role.SUPERVISOR, Role.AUDITOR)
    }
    assert actions[Role.TELLER] == {"statement", "deposit", "withdraw"}
    assert actions[Role.SUPERVISOR] == {"statement", "deposit", "withdraw", "freeze", "close"}
    assert actions[Role.AUDITOR] == {"statement"}


def test_an_operator_is_shown_no_customer_and_no_money(bank: dict[str, UUID]) -> None:
    page = Desk(Role.OPERATOR).get("/").content.decode()
    assert "Newest transfers" not in page
    assert "/customers" not in page
    assert "Parked events" in page


def test_an_auditor_is_led_from_an_account_to_its_events(bank: dict[str, UUID]) -> None:
    desk = Desk(Role.AUDITOR)
    for address in (f"/accounts/{bank['payer']}", f"/transfers/{bank['transfer']}"):
        (link,) = re.findall(r'href="(/admin/eventstore/event/st[^"]+)"', desk.get(address).content.decode())
        assert desk.get(link).status_code == 200
