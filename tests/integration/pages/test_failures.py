"""The pages for when there is no page."""

from __future__ import annotations

from unittest.mock import patch
from uuid import uuid4

from django.db import OperationalError
from django.test import Client, RequestFactory

from tests.integration.pages.desk import Desk
from views_readmodel.pages.failures import too_many


def test_an_unknown_address_and_an_unknown_account_have_a_page(teller: Desk) -> None:
    for address in ("/nowhere", f"/accounts/{uuid4()}", f"/transfers/{uuid4()}", f"/customers/{uuid4()}"):
        response = teller.get(address)
        assert response.status_code == 404
        assert b"There is nothing at this address" in response.content
        assert response.headers["X-Correlation-ID"] in response.content.decode()


def test_what_belongs_to_a_button_is_no_blank_page(teller: Desk) -> None:
    for address, allowed in (("/log-out", "POST"), ("/theme", "POST")):
        response = teller.get(address)
        assert (response.status_code, response.headers["Allow"]) == (405, allowed)
        assert b"may belong to a button" in response.content
    response = teller.client.post("/customers")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")


def test_a_database_that_is_away_is_said_to_be_away(teller: Desk) -> None:
    with patch("views_readmodel.queries.transfers", side_effect=OperationalError("connection lost")):
        response = teller.get("/transfers")
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert b"Away for a moment" in response.content


def test_a_fault_of_ours_shows_the_number_that_the_log_has(teller: Desk) -> None:
    teller.client.raise_request_exception = False
    with patch("views_readmodel.queries.transfers", side_effect=RuntimeError("a secret")):
        response = teller.get("/transfers")
    assert response.status_code == 500
    assert response.headers["X-Correlation-ID"] in response.content.decode()
    assert b"a secret" not in response.content


def test_a_form_without_a_token_does_nothing_and_says_why(teller: Desk) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(teller.member)
    response = strict.post("/customers/register", {"name": "Mallory"})
    assert response.status_code == 403
    assert b"The form has expired" in response.content


def test_too_many_attempts_are_told_how_long_to_wait(rf: RequestFactory) -> None:
    response = too_many(rf.get("/log-in"), retry_seconds=90)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "90"
    assert b"Try again in 90 seconds" in response.content
