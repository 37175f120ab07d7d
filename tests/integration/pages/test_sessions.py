"""Signing in and out, the theme and the time zone."""

from __future__ import annotations

import re
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory

from tests.conftest import Database
from tests.integration.counter import PASSWORD
from tests.integration.pages.desk import Desk
from views_readmodel.pages.viewing import SIGNED_IN, page


def test_signing_in_leads_where_one_wanted_to_go_and_nowhere_else(teller: Desk) -> None:
    for wanted, reached in (("/accounts?state=OPEN", "/accounts?state=OPEN"), ("https://evil.example/", "/")):
        fields = {"username": teller.member.username, "password": PASSWORD, "next": wanted}
        assert Client().post("/log-in", fields).headers["Location"] == reached


def test_a_wrong_password_is_refused_without_saying_which_was_wrong(teller: Desk) -> None:
    for name in (teller.member.username, "nobody-of-that-name"):
        shown = Client().post("/log-in", {"username": name, "password": "wrong"}).content.decode()
        assert "do not go together" in shown


def test_logging_out_ends_the_session(teller: Desk) -> None:
    assert teller.get("/").status_code == 200
    teller.client.post("/log-out")
    assert teller.get("/").status_code == 302


def test_whose_session_has_ended_is_logged_out_already(committed_db: Database) -> None:
    answered = Client().post("/log-out")
    assert (answered.status_code, answered.headers["Location"]) == (303, "/log-in")


def test_whoever_signs_in_is_not_led_back_to_what_is_no_page(committed_db: Database, rf: RequestFactory) -> None:
    request = rf.post("/pressed")
    request.user, request.htmx = AnonymousUser(), False  # type: ignore[attr-defined]
    pressed = page(SIGNED_IN, methods=["POST"])(lambda _request: HttpResponse())
    assert pressed(request).headers["Location"] == "/log-in"
    both = page(SIGNED_IN, methods=["GET", "POST"])(lambda _request: HttpResponse())
    assert both(request).headers["Location"] == "/log-in?next=/pressed"


def test_after_a_wrong_password_the_name_is_kept_and_the_password_typed_anew(teller: Desk) -> None:
    def focused(shown: str) -> list[str]:
        return re.findall(r'<input[^>]* name="([a-z]+)"[^>]* autofocus', shown)

    assert focused(Client().get("/log-in").content.decode()) == ["username"]
    refused = Client().post("/log-in", {"username": teller.member.username, "password": "wrong"}).content.decode()
    assert focused(refused) == ["password"]
    assert f'value="{teller.member.username}"' in refused
    assert "<title>Error: Log in" in refused


def test_the_log_in_offers_no_keys_that_it_has_not(teller: Desk) -> None:
    assert "data-opens" not in Client().get("/log-in").content.decode()
    assert 'data-opens="keys"' in teller.get("/").content.decode()


def test_the_theme_is_the_browser_s_own_and_any_other_is_the_machine_s(teller: Desk) -> None:
    teller.client.post("/theme", {"theme": "dark", "next": "/accounts"})
    assert '<html lang="en" data-theme="dark">' in teller.get("/").content.decode()
    teller.client.post("/theme", {"theme": "purple"})
    assert '<html lang="en">' in teller.get("/").content.decode()


def test_times_are_shown_in_the_reader_s_zone(teller: Desk, bank: dict[str, UUID]) -> None:
    teller.client.cookies["zone"] = "Pacific/Auckland"
    assert "Times in Pacific/Auckland" in teller.get("/").content.decode()
    teller.client.cookies["zone"] = "../../etc/passwd"
    assert "Times in Europe/Berlin" in teller.get("/").content.decode()


def test_what_is_printed_is_in_the_bank_s_zone_wherever_the_reader_is(teller: Desk, bank: dict[str, UUID]) -> None:
    statement, transfer = f"/accounts/{bank['payer']}/statement?first=2020-02-02&last=2020-02-02", bank["transfer"]
    late = "2020-02-01 23:30:00+00"  # half past midnight at the bank, and evening still in New York
    with connection.cursor() as cursor:
        cursor.execute("UPDATE readmodel.entry SET recorded_at = %s WHERE transfer_id = %s", [late, transfer])
        cursor.execute("UPDATE readmodel.transfer SET created_at = %s WHERE transfer_id = %s", [late, transfer])
    teller.client.cookies["zone"] = "America/New_York"
    page = teller.get(statement).content.decode()
    assert "2 Feb 2020, 00:30:00" in page
    assert "1 Feb 2020" not in page
    assert "Days and times of Europe/Berlin, the bank's own" in page
    assert "Times in Europe/Berlin" in page
    receipt = teller.get(f"/transfers/{transfer}").content.decode()
    assert re.search(r'<time [^>]*class="screen-only">1 Feb 2020, 18:30:00</time>', receipt)
    assert re.search(r'<time [^>]*class="paper-only">2 Feb 2020, 00:30:00</time>', receipt)
    assert "Times of Europe/Berlin, the bank's own" in receipt


def test_a_reader_in_another_zone_is_told_whose_day_today_is(teller: Desk) -> None:
    assert "The bank's day" not in teller.get("/").content.decode()
    teller.client.cookies["zone"] = "Pacific/Auckland"
    assert "The bank's day, as it is in Europe/Berlin" in teller.get("/").content.decode()
