"""Signing in and out, the theme and the time zone."""

from __future__ import annotations

from uuid import UUID

from django.test import Client

from tests.integration.counter import PASSWORD
from tests.integration.pages.desk import Desk


def test_signing_in_leads_where_one_wanted_to_go_and_nowhere_else(teller: Desk) -> None:
    for wanted, reached in (("/accounts?state=OPEN", "/accounts?state=OPEN"), ("https://evil.example/", "/")):
        fields = {"username": teller.member.username, "password": PASSWORD, "next": wanted}
        assert Client().post("/log-in", fields).headers["Location"] == reached


def test_a_wrong_password_is_refused_without_saying_which_was_wrong(teller: Desk) -> None:
    for name in (teller.member.username, "nobody-of-that-name"):
        page = Client().post("/log-in", {"username": name, "password": "wrong"}).content.decode()
        assert "do not go together" in page


def test_logging_out_ends_the_session(teller: Desk) -> None:
    assert teller.get("/").status_code == 200
    teller.client.post("/log-out")
    assert teller.get("/").status_code == 302


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
