"""Sessions and their cookies: made anew at the log-in, out of reach of scripts, ended when nobody works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from time import time
from typing import Any, Final
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from rest_framework.authentication import SessionAuthentication

from config.staff import idle
from config.staff.roles import Role
from tests.architecture.test_settings import PRODUCTION, ROOT
from tests.conftest import Database
from tests.integration.counter import API, PASSWORD, dispatch, member_of
from tests.integration.pages.desk import Desk
from tests.integration.security.addresses import views

COOKIES: Final = """
import json, django; django.setup()
from django.conf import settings as s
print(json.dumps([s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE,
    s.SESSION_COOKIE_DOMAIN, s.SESSION_COOKIE_PATH, s.SECURE_SSL_REDIRECT, s.SECURE_HSTS_SECONDS > 0]))
"""
UNKNOWN_API: Final = {r"^api(/(?s:.*))?\Z"}


@pytest.fixture
def client(committed_db: Database) -> Client:
    """A teller's browser, signed in through the page."""
    member_of(Role.TELLER)
    browser = Client()
    browser.post("/log-in", {"username": "teller-at-the-counter", "password": PASSWORD})
    idle._written.clear()
    return browser


def _row(client: Client) -> Session:
    return Session.objects.get(session_key=client.cookies["sessionid"].value)


def test_signing_in_makes_a_new_session_and_a_new_csrf_token(committed_db: Database) -> None:
    member_of(Role.TELLER)
    planted = SessionStore()
    planted["planted"] = True
    planted.save()
    browser = Client()
    browser.cookies["sessionid"] = planted.session_key or ""
    before = browser.get("/log-in").cookies["csrftoken"].value
    answered = browser.post("/log-in", {"username": "teller-at-the-counter", "password": PASSWORD})
    assert answered.cookies["sessionid"].value != planted.session_key
    assert answered.cookies["csrftoken"].value != before
    assert not Session.objects.filter(session_key=planted.session_key).exists()


def test_its_cookie_is_out_of_reach_of_scripts_and_other_sites(client: Client) -> None:
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")
    assert not cookie["max-age"]  # it goes with the browser
    assert client.cookies["csrftoken"]["samesite"] == "Lax"


def test_over_tls_cookies_are_secure_and_bound_to_the_host() -> None:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment = {**inherited, **PRODUCTION, "DJANGO_SETTINGS_MODULE": "config.settings"}
    found = subprocess.run(
        [sys.executable, "-c", COOKIES], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(found.stdout) == ["__Host-sessionid", "__Host-csrftoken", True, True, None, "/", True, True]


def test_a_session_in_which_nobody_works_ends(client: Client) -> None:
    lasts = _row(client).expire_date - timezone.now()
    assert timedelta(minutes=29) < lasts <= timedelta(seconds=settings.SESSION_COOKIE_AGE)
    Session.objects.filter(pk=_row(client).pk).update(expire_date=timezone.now() - timedelta(seconds=1))
    assert client.get("/accounts").status_code == 302
    assert client.get(f"{API}/accounts").status_code == 401


def test_work_prolongs_it_and_what_a_page_asks_by_itself_does_not(client: Client) -> None:
    soon = timezone.now() + timedelta(minutes=5)

    def left_after(**headers: str) -> Any:
        idle._written.clear()
        Session.objects.filter(pk=_row(client).pk).update(expire_date=soon)
        assert client.get("/accounts", headers=headers).status_code == 200
        return _row(client).expire_date

    assert left_after(**{"HX-Request": "true"}) == soon
    assert left_after() > soon + timedelta(minutes=20)


def test_its_row_is_written_at_most_once_a_minute(client: Client) -> None:
    client.get("/accounts")
    before = _row(client).expire_date
    for _ in range(3):
        client.get("/accounts")
    assert _row(client).expire_date == before


def test_it_ends_after_a_working_day_whatever_is_done_in_it(client: Client) -> None:
    session = SessionStore(_row(client).pk)
    session[idle.SIGNED_IN_AT] = int(time()) - settings.SESSION_LONGEST_SECONDS - 1
    session.save()
    assert client.get("/accounts").status_code == 302
    assert not Session.objects.filter(pk=session.session_key).exists()


def test_logging_out_ends_it_for_whoever_has_the_cookie(client: Client) -> None:
    thief = Client()
    thief.cookies["sessionid"] = client.cookies["sessionid"].value
    assert thief.get("/accounts").status_code == 200
    client.post("/log-out")
    assert thief.get("/accounts").status_code == 302


def test_what_a_page_says_once_is_in_no_cookie_and_names_no_customer(committed_db: Database) -> None:
    desk, address = Desk(Role.TELLER), "/customers/register"
    for sentence in ("The customer is registered.", "The customer is changed."):
        customer = desk.fill_in(address, name=f"Zyxwvut {uuid4()}").headers["Location"].partition("?")[0]
        dispatch()
        assert set(desk.client.cookies) == {"sessionid", "csrftoken"}
        kept = str(SessionStore(desk.client.cookies["sessionid"].value).load())
        assert sentence in kept
        assert "Zyxwvut" not in kept
        assert [sentence in desk.get(customer).content.decode() for _ in range(2)] == [True, False]
        address = f"{customer}/change"


@pytest.mark.parametrize("end", ["log-out", "idle"])
def test_what_a_page_would_have_said_goes_with_the_session(committed_db: Database, end: str) -> None:
    desk = Desk(Role.TELLER)
    assert desk.fill_in("/customers/register", name="Alice Abel").status_code == 303
    if end == "idle":
        Session.objects.filter(pk=_row(desk.client).pk).update(expire_date=timezone.now())
    else:
        desk.client.post("/log-out")
    asked = desk.get("/log-in").content.decode()
    member_of(Role.SUPERVISOR)
    desk.client.post("/log-in", {"username": "supervisor-at-the-counter", "password": PASSWORD})
    for page in (asked, desk.get("/").content.decode()):
        assert "is registered" not in page


@pytest.mark.parametrize(
    "next_",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "///evil.example",
        "http:evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "\x01https://evil.example",
        "https://testserver@evil.example/",
        "/accounts\r\nSet-Cookie: planted=1",
    ],
)
def test_signing_in_leads_to_no_other_host(committed_db: Database, next_: str) -> None:
    member_of(Role.TELLER)
    for address in ("/log-in", "/theme"):
        fields = {"username": "teller-at-the-counter", "password": PASSWORD, "next": next_, "theme": "dark"}
        answered = Client().post(address, fields)
        assert answered.status_code == 303
        assert answered.headers["Location"] in {"/", "/accounts%0D%0ASet-Cookie:%20planted=1"}
        assert "planted" not in answered.cookies


def test_no_form_and_no_write_of_a_session_goes_without_a_csrf_token(committed_db: Database) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(member_of(Role.SUPERVISOR))
    for address in ("/log-out", "/theme", "/transfers/new", "/customers/register", "/log-in", "/admin/logout/"):
        assert strict.post(address, {"name": str(uuid4())}).status_code == 403, address
    for path in ("customers", "accounts", "transfers", "auth/logout"):
        answered = strict.post(f"{API}/{path}", {}, "application/json", headers={"Idempotency-Key": str(uuid4())})
        assert answered.status_code == 403, path
        assert "CSRF" in answered.json()["detail"]
    other = {"Origin": "https://evil.example", "X-CSRFToken": "a" * 32}
    strict.cookies["csrftoken"] = "a" * 32
    assert strict.post("/customers/register", {"name": "Mallory"}, headers=other).status_code == 403


def test_no_view_is_let_off_the_csrf_token_but_those_that_change_nothing_and_the_api_which_looks_itself() -> None:
    let_off = {route: view for route, view in views() if getattr(view, "csrf_exempt", False)}
    by_api = {route: view.cls for route, view in let_off.items() if hasattr(view, "cls")}
    assert {*let_off} - {*by_api} == {"health/live", "health/ready", "metrics", *UNKNOWN_API}
    for route, cls in by_api.items():
        assert route.startswith("api/"), route
        methods = {name.upper() for name in cls.http_method_names if hasattr(cls, name)} - {"GET", "HEAD", "OPTIONS"}
        if methods and route != "api/v1/auth/login":  # which knows no session
            assert any(issubclass(one, SessionAuthentication) for one in cls.authentication_classes), route


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "PROPFIND", "POST"])
@pytest.mark.parametrize("signed_in", [True, False])
def test_an_address_that_takes_no_form_says_what_it_takes_instead_of_asking_for_a_csrf_token(
    method: str, signed_in: bool, committed_db: Database
) -> None:
    strict = Client(enforce_csrf_checks=True)
    if signed_in:
        strict.force_login(member_of(Role.SUPERVISOR))
    shown = ["/", "/accounts", "/customers", "/transfers", "/find", "/health/live", "/health/ready", "/metrics"]
    forms = ["/log-in", "/log-out", "/theme", "/password", "/customers/register", "/transfers/new"]
    for address in shown if method == "POST" else shown + forms:
        answered = strict.generic(method, address)
        assert answered.status_code == 405, address
        assert {"GET", "POST"} & set(answered.headers["Allow"].split(", "))
        assert method not in answered.headers["Allow"].split(", ")
