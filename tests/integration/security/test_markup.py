"""Markup that somebody typed is shown as what it is, wherever it is shown: on no page does it become a part of it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import pytest
from axes.models import AccessAttempt
from django.utils.html import escape
from pytest_django import Settings

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore import operations
from eventstore.models import OutboxEntry, ParkedKey
from tests.conftest import Database
from tests.integration.admins import fill_store
from tests.integration.counter import Counter, dispatch
from tests.integration.pages.desk import Desk
from tests.integration.security.addresses import path_of, routes
from tests.integration.security.bank import Bank

PROBE: Final = """'"--></script></title><b onclick=alert(1)>{{7*7}}{%x%}"""
MARK: Final = "<b onclick"
PARAMETERS: Final = (
    "search", "q", "state", "from", "before", "cursor", "first", "draft", "posting", "next", "actor", "stream", "type",
    "event_type", "correlation", "id", "since", "until", "principal", "version", "as_of", "currency", "kind",
)  # fmt: skip
SIGNS_OUT: Final = ("log-out", "logout", "theme")


@pytest.fixture
def marked(fresh_database: Database, settings: Settings) -> Bank:
    """A bank in which every text that anybody may write is the probe."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick to check
    fill_store()
    OutboxEntry.objects.all().delete()  # it stood for an event that has its place already
    bank = Bank()
    teller = Counter(Role.SUPERVISOR, name="marked-supervisor")
    customer = teller.post(
        "customers", {"name": PROBE, "email": "x@example.com", "phone": "1", "reference": PROBE}
    ).json()["customer_id"]
    opened = {"customer_id": customer, "title": PROBE, "currency": "EUR", "initial_balance": "9.00", "reference": PROBE}
    account = UUID(teller.post("accounts", opened).json()["account_id"])
    deposit = teller.post(f"accounts/{account}/deposits", {"amount": "1.00", "description": PROBE}).json()
    sent = {"from_account_id": str(account), "to_account_id": str(bank.payee), "amount": "1.00"}
    transfer = teller.post("transfers", sent | {"description": PROBE, "reference": PROBE}).json()["transfer_id"]
    dispatch()
    for deed in ("freeze", "unfreeze", "freeze"):
        assert teller.post(f"accounts/{account}/{deed}", {"reason": PROBE}).status_code < 300
    dispatch()
    bank.things |= {
        "customer_id": customer, "account_id": account, "transfer_id": transfer, "stream_id": account,
        "entry_id": deposit["entry_id"], "version": deposit["version"],
    }  # fmt: skip
    ParkedKey.objects.update(error=PROBE)
    for action in ("discard", "pause", PROBE):
        operations.record(actor=PROBE, action=action, detail={"reason": PROBE, PROBE: PROBE})
    AccessAttempt.objects.create(username=PROBE, user_agent=PROBE, ip_address="192.0.2.9", failures_since_start=1)
    StaffMember.objects.filter(pk=bank.somebody.pk).update(first_name=PROBE, last_name=PROBE, email=PROBE)
    return bank


def test_markup_is_nowhere_a_part_of_a_page(marked: Bank) -> None:
    shown, wrong = 0, []
    for role in (Role.SUPERVISOR, Role.OPERATOR):
        desk = Desk(role)
        for route in routes():
            if any(part in route for part in SIGNS_OUT):
                continue
            path = path_of(route, marked.things)
            for address in (path, f"{path}?{urlencode(dict.fromkeys(PARAMETERS, PROBE))}"):
                text = _page(desk.client.get(address))
                shown += escape(PROBE) in text
                if MARK in text:
                    wrong.append(address)
    assert not wrong
    assert shown >= 15, f"{shown}: the probe is shown on pages of every kind"


def _page(response: Any) -> str:
    """The text of a page; "" for what no browser takes for one."""
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        assert response.status_code in (302, 303, 304) or response.headers["X-Content-Type-Options"] == "nosniff"
        return ""
    content: bytes = response.getvalue()
    return content.decode()
