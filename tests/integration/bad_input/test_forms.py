"""Every field of every form of the staff pages, and every parameter of their addresses, with every bad value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django import forms
from django.http import QueryDict
from django.test import Client
from django.urls import URLPattern, reverse

from config.staff.roles import Role
from tests.integration.bad_input import values
from tests.integration.bad_input.api import Bank
from tests.integration.bad_input.written import nothing_is_written
from tests.integration.counter import dispatch, refund
from tests.integration.pages.desk import Desk
from views_readmodel import queries
from views_readmodel.pages import urls
from views_readmodel.pages.commanding import CommandForm
from views_readmodel.pages.forms.customers import VersionField
from views_readmodel.pages.forms.fields import AmountField
from views_readmodel.pages.forms.transfers import AccountNumberField
from views_readmodel.pages.shell import ZONE_COOKIE
from views_readmodel.pages.theme import THEME_COOKIE

_PAGES = Path(str(urls.__file__)).parent
_PARAMETER = re.compile(
    r"(?:GET\.get|typed|query\.pop|GET\.getlist)\((?:request, )?\"([a-z_]+)\"|\"([a-z_]+)\" in request\.GET"
)

_NO_AMOUNT_TYPED = (
    "x", "-1.00", "+1.00", "1e3", "1.005", "1,5", "1,00", "1.000,00", "1_000", "NaN", "Infinity", "0x10", ".50", "1..0",
    "\u00bd", "1\u066b00", values.ARABIC_DIGITS, values.WIDE_DIGITS,
    "\u2212" + "1", "1\n2", "12 50", "1'5", "1 ,500.00", "1 2 3", "\u202e1", "9" * 41, "0", "0.00", "\x00", "1\x00",
)  # fmt: skip

# Whoever looks at pages is known for longer.
_SESSIONS = "public.django_session"


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A form, filled in well; `key` and whatever else it was shown with stay as they are."""

    path: dict[str, Any]
    fields: dict[str, str]


_FILLED: dict[str, Callable[[Bank, dict[str, str]], Filled]] = {
    "register-customer": lambda _, __: Filled(
        path={}, fields={"name": "Carol Cho", "email": "carol@example.com", "phone": "030 1", "reference": "R-1"}
    ),
    "change-customer": lambda bank, _: Filled(
        path={"customer_id": bank.customer}, fields={"name": "Carol", "email": "c@example.com", "phone": "030 2"}
    ),
    "open-account": lambda bank, _: Filled(
        path={"customer_id": bank.customer},
        fields={"title": "Savings", "currency": "EUR", "initial_balance": "5.00", "reference": "R-2"},
    ),
    "account-deposit": lambda bank, _: Filled(
        path={"account_id": bank.payee}, fields={"amount": "1.00", "description": "Coins"}
    ),
    "account-withdraw": lambda bank, _: Filled(
        path={"account_id": bank.payer}, fields={"amount": "1.00", "description": "Coins"}
    ),
    "account-freeze": lambda bank, _: Filled(path={"account_id": bank.payer}, fields={"reason": "Asked for"}),
    "account-unfreeze": lambda bank, _: Filled(path={"account_id": bank.frozen}, fields={"reason": "Cleared up"}),
    "account-close": lambda bank, _: Filled(path={"account_id": bank.empty}, fields={"reason": "Moved away"}),
    "account-pay-out": lambda bank, _: Filled(
        path={"account_id": _closed_with_refund(bank)}, fields={"description": "Coins"}
    ),
    "reverse-entry": lambda bank, _: Filled(
        path={"account_id": bank.payer, "version": 2}, fields={"reason": "Miscounted"}
    ),
    "new-transfer": lambda _, number: Filled(
        path={},
        fields={
            "from_account": number["payer"],
            "to_account": number["payee"],
            "amount": "1.00",
            "description": "Rent",
        },
    ),
}
# They take a POST, and no command: what they take is tested where they are.
_OTHERS = {"log-in", "log-out", "theme", "review-transfer"}


def _closed_with_refund(bank: Bank) -> UUID:
    account: UUID = bank.counters[Role.TELLER].account()
    assert bank.counters[Role.SUPERVISOR].post(f"accounts/{account}/close", {"reason": "Gone"}).status_code == 200
    refund(account, amount=500)
    dispatch()
    return account


@pytest.fixture
def desk(bank: Bank) -> Desk:
    return Desk(Role.SUPERVISOR)


def _patterns() -> dict[str, URLPattern]:
    return {str(found.name): found for found in urls.urlpatterns if isinstance(found, URLPattern)}


def _address(name: str, bank: Bank, **path: Any) -> str:
    known: dict[str, Any] = {"customer_id": bank.customer, "account_id": bank.payer, "transfer_id": bank.transfer}
    known |= {"key": uuid4(), "version": 2}
    wanted = _patterns()[name].pattern.regex.groupindex
    return reverse(name, kwargs={field: path.get(field, known[field]) for field in wanted})


def _bad(field: forms.Field) -> list[str]:
    if isinstance(field, AmountField):
        return [*_NO_AMOUNT_TYPED[:-3], "\x00", *([""] if field.required else [])]
    if isinstance(field, AccountNumberField):
        return [
            "",
            " ",
            "x",
            "0",
            "-1",
            "10000000",
            values.ARABIC_DIGITS,
            values.WIDE_DIGITS,
            "9" * 100,
            "x" * 101,
            "\x00",
            "%",
            "'",
        ]
    if isinstance(field, VersionField):
        return ["", "x", "-1", "0.5", "1e3", str(2**31), "9" * 400, values.ARABIC_DIGITS, "\x00", "999"]
    if isinstance(field, forms.UUIDField):
        return [value for value in values.NO_ID if value != ""] + ["", "\x00"]
    if isinstance(field, forms.ChoiceField):
        return ["", "x", "eur", "XXX", "EUR ", "\x00", "E" * 5_000]
    assert isinstance(field, forms.CharField), f"{field} is of a new kind: say what bad values of it are"
    assert field.max_length, "a text has a longest length"
    bad = ["x" * (field.max_length + 1), "\U0001f600" * (field.max_length + 1), "x" * 50_000, "\x00", "a\x00b"]
    return [*bad, *values.UNPRINTABLE, *(values.BLANK if field.required else [])]


def test_every_page_that_takes_a_form_is_in_the_table(bank: Bank, desk: Desk) -> None:
    taking = set()
    for name in _patterns():
        if name == "log-out" or desk.client.post(_address(name, bank)).status_code != 405:
            taking.add(name)
    assert taking == set(_FILLED) | _OTHERS


@pytest.mark.parametrize("name", list(_FILLED))
def test_a_bad_value_stands_beside_its_error_keeps_the_rest_and_writes_nothing(
    name: str, bank: Bank, desk: Desk
) -> None:
    accounts = {role: queries.account(account_id=getattr(bank, role)) for role in ("payer", "payee")}
    filled = _FILLED[name](bank, {role: found.number for role, found in accounts.items() if found})
    address = _address(name, bank, **filled.path)
    good = desk.form(address) | filled.fields
    form = desk.get(address).context["form"]
    assert isinstance(form, CommandForm)
    hidden = {field.name for field in form.hidden_fields()}
    assert set(filled.fields) == set(form.fields) - hidden, "every field is filled in"
    wrong = []
    with nothing_is_written(but=_SESSIONS):  # a session is prolonged once a minute
        for field_name, field in form.fields.items():
            bad = [value for value in _bad(field) if not (field_name == "initial_balance" and value in {"0", "0.00"})]
            for value in bad:
                response = desk.client.post(address, good | {field_name: value})
                if not _told(response, field_name, good, hidden=field_name in hidden):
                    wrong.append((field_name, value[:60], response.status_code))
            missing = {other: kept for other, kept in good.items() if other != field_name}
            if field.required and not _told(
                desk.client.post(address, missing), field_name, good, hidden=field_name in hidden
            ):
                wrong.append((field_name, "missing", 0))
            twice = good | {field_name: [good.get(field_name, ""), good.get(field_name, "")]}
            if not _told(desk.client.post(address, twice), field_name, good, hidden=field_name in hidden):
                wrong.append((field_name, "sent twice", 0))
        assert not wrong
        for content_type in (
            "application/json",
            "text/plain",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "\x00",
            "",
        ):
            response = desk.client.generic("POST", address, b'{"name": "x"}', content_type)
            expected = {415} if content_type.startswith("multipart/") else {200, 400}
            assert response.status_code in expected, content_type
        for charset in ("base64", "utf-16", "latin-1", "utf-7", "nonsense"):
            response = desk.client.generic(
                "POST", address, b"name=x", f"application/x-www-form-urlencoded; charset={charset}"
            )
            assert response.status_code == 415
            assert b"Not understood" in response.content
        for body in (b"x=" + b"x" * 10_000_000, b"&".join(b"f%d=1" % number for number in range(5_000))):
            response = desk.client.generic("POST", address, body, "application/x-www-form-urlencoded")
            assert response.status_code in {400, 413}
            assert b"Not understood" in response.content


def _told(response: Any, field_name: str, good: dict[str, str], *, hidden: bool) -> bool:
    """Whether the page says what is wrong beside the field, and has kept what was typed into the others."""
    if response.status_code != 200:
        return False
    html = response.content.decode()
    if hidden:
        return 'role="alert"' in html
    (found,) = re.findall(rf'<(?:input|select)[^>]* name="{field_name}"[^>]*>', html) or ("",)
    kept = [other for other, value in good.items() if f'value="{value}"' in html]
    return 'aria-invalid="true"' in found and f"{field_name}_error" in html and len(kept) >= len(good) - 2


def test_no_parameter_of_a_page_breaks_it(bank: Bank, desk: Desk) -> None:
    """Every name that a page looks for, alone with each bad value; and all that any page looks for at once."""
    names = {
        name for path in _PAGES.glob("*.py") for found in _PARAMETER.findall(path.read_text()) for name in found if name
    }
    assert {"cursor", "search", "state", "first", "posting", "draft", "q"} <= names
    bad = [
        "",
        " ",
        "x",
        "-1",
        "0",
        "9" * 30,
        "\x00",
        "%",
        "'",
        "\\",
        values.ARABIC_DIGITS,
        "\U0001f600" * 500,
        "<script>",
        "[]",
    ]
    bad += [
        "0001-01-01",
        "9999-12-31",
        "10000-01-01",
        "2026-02-30",
        "\u202e",
        values.FOREIGN_ID,
        str(bank.payer),
        "a:*",
        "A" * 5_000,
    ]
    wrong: list[tuple[str, str, int]] = []
    looked_for: set[str] = set()

    def ask(address: str, query: str) -> None:
        answered = desk.client.get(f"{address}?{query}")
        answered.close()  # a file that nobody reads keeps its place
        if answered.status_code not in {200, 204, 302, 303, 404, 409}:
            wrong.append((address, query[:80], answered.status_code))

    with nothing_is_written(but=_SESSIONS):
        for name in _patterns():
            if name in {"log-out", "theme"}:
                continue
            address = _address(name, bank)
            own = _parameters_of(desk, address) & names
            looked_for |= own
            for value in bad:
                ask(address, "&".join(f"{parameter}={quote(value)}" for parameter in sorted(names - {"cursor"})))
                for parameter in sorted(own):
                    ask(address, f"{parameter}={quote(value)}")
            for parameter in sorted(names - own):  # read only beside others, if at all
                ask(address, f"{parameter}=x")
            assert desk.client.get(f"{address}?search=%ff").status_code == 400
    assert not wrong
    assert {"cursor", "search", "state"} <= looked_for, "it sees what pages look for"


def _parameters_of(desk: Desk, address: str) -> set[str]:
    """The names that a page looks for in a query that is empty, so that nothing ends it early."""
    looked_for: set[str] = set()
    lookup = QueryDict.__getitem__
    listing = QueryDict.getlist

    def getting(self: QueryDict, key: str) -> Any:
        looked_for.add(key)
        return lookup(self, key)

    def listed(self: QueryDict, key: str, default: Any = None) -> Any:
        looked_for.add(key)
        return listing(self, key, default)

    with patch.object(QueryDict, "__getitem__", getting), patch.object(QueryDict, "getlist", listed):
        desk.client.get(address)
    return looked_for


_BAD_COOKIES = (
    "", " ", "x", "../../etc/passwd", "/etc/localtime", "Europe/Atlantis", "Europe", "UTC%00", "%ff",
    "\xff", "x" * 5_000, "-1", "<script>alert(1)</script>", "'onload='x", "dark light", "Europe/Berlin/../../x",
    values.FOREIGN_ID,
)  # fmt: skip


@pytest.mark.parametrize("cookie", [THEME_COOKIE, ZONE_COOKIE])
def test_no_cookie_of_ours_breaks_a_page_or_shows_on_it(bank: Bank, desk: Desk, cookie: str) -> None:
    addresses = ["/", "/log-in", "/accounts", "/nowhere", f"/accounts/{bank.payer}", f"/transfers/{bank.transfer}"]
    shown = [(address, desk.client.get(address).status_code) for address in addresses]
    with nothing_is_written(but=_SESSIONS):
        for value in _BAD_COOKIES:
            desk.client.cookies.load({cookie: value})
            for address, status in shown:
                answered = desk.client.get(address)
                assert answered.status_code == status, (address, value)
                assert len(value) < 8 or value not in answered.content.decode(), (address, value)
            assert Client(headers={"Cookie": f"{cookie}={value}"}).get("/log-in").status_code == 200, value


def test_no_spelling_of_an_address_breaks_a_page(bank: Bank, desk: Desk) -> None:
    tricks = [
        "/%00",
        "/customers/%00",
        "/customers/..%2f",
        "/accounts/",
        "/transfers//new",
        "/%ff",
        "/%ed%a0%80",
        "/static/%00",
    ]
    tricks += [
        "/static/..%2f..%2fmanage.py",
        "/static/../manage.py",
        "/x" * 5_000,
        "/accounts/%0a",
        "/customers/x",
        "/\u202e",
    ]
    tricks += [f"/accounts/{bank.payer}/entries/{'9' * 5_000}/reverse", f"/accounts/{bank.payer}/entries/-1/reverse"]
    tricks += [
        f"/accounts/{bank.payer}/entries/{values.ARABIC_DIGITS}/reverse",
        f"/accounts/{bank.payer}%00",
        "/live/changes/",
    ]
    with nothing_is_written(but=_SESSIONS):
        for trick in tricks:
            assert desk.client.get(trick).status_code == 404, trick[:60]
            assert desk.client.post(trick).status_code in {403, 404}, trick[:60]
        for name in _patterns():
            for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
                response = desk.client.generic(method, _address(name, bank))
                assert response.status_code == 405, (method, name)
                assert response.headers["Allow"]
