"""What bad input has broken, or got through, once: each by name."""

from __future__ import annotations

from unittest.mock import patch
from uuid import UUID

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client

from config.staff.roles import Role
from eventstore.models import SubjectKey
from eventstore.rest.requests import TextField
from tests.integration.admins import EVENTS, browser, stream_page
from tests.integration.bad_input.api import Bank
from tests.integration.bad_input.written import nothing_is_written
from tests.integration.counter import API, field_errors, problem
from tests.integration.pages.desk import Desk


@pytest.mark.parametrize("span", ["first=0001-01-01&last=0001-01-02", "first=9999-12-30&last=9999-12-31"])
def test_a_statement_of_days_at_either_end_of_time_is_refused_beside_the_field(bank: Bank, span: str) -> None:
    page = Desk(Role.TELLER).get(f"/accounts/{bank.payer}/statement?{span}")
    assert page.status_code == 200
    assert b"Ensure this value is" in page.content


def test_a_key_of_a_form_in_another_spelling_is_refused(bank: Bank) -> None:
    desk = Desk(Role.TELLER)
    address = "/customers/register"
    form = desk.form(address) | {"name": "Carol Cho"}
    with nothing_is_written():
        for key in (f" {form['key']}", form["key"].replace("-", ""), f"{{{form['key']}}}"):
            assert b"damaged" in desk.send(address, form | {"key": key}).content


def test_a_charset_that_decodes_no_text_breaks_no_request(bank: Bank) -> None:
    for path in (f"{API}/accounts", "/log-in"):
        answered = Client(raise_request_exception=False).generic("GET", path, b"x", "x/y; charset=base64")
        assert answered.status_code == 415


def test_a_wildcard_is_no_type_of_a_body(bank: Bank) -> None:
    teller = bank.counters[Role.TELLER]
    for wildcard in ("*/*", "application/*"):
        problem(
            teller.post_raw("customers", b'{"name": "Alice"}', content_type=wildcard), 415, "unsupported_media_type"
        )


def test_a_whole_number_is_written_in_one_way(bank: Bank) -> None:
    for limit in ("1_0", "+5", " 5", "5.0", "\u0665", "\uff15", "05"):
        assert field_errors(bank.counters[Role.TELLER].get("accounts", limit=limit)) == {"limit": "invalid"}


def test_a_cursor_cannot_be_made_by_hand(bank: Bank) -> None:
    made = "WyJhY2NvdW50cyIsWyIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsIjAxOTkwMDAwLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMCJdXQ"
    assert field_errors(bank.counters[Role.TELLER].get("accounts", cursor=made)) == {"cursor": "invalid"}


def test_an_offset_has_no_sixtieth_minute(bank: Bank) -> None:
    answered = bank.counters[Role.TELLER].get("accounts", created_from="2026-01-01T00:00:00+00:60")
    assert field_errors(answered) == {"created_from": "moment"}


def test_metadata_has_no_name_of_white_space(bank: Bank) -> None:
    body = {"from_account_id": bank.payer, "to_account_id": bank.payee, "amount": "0.01", "metadata": {" ": "x"}}
    assert field_errors(bank.counters[Role.TELLER].post("transfers", body)) == {"metadata": "required"}


def test_more_metadata_than_is_taken_is_refused_before_one_entry_of_it_is_looked_at(bank: Bank) -> None:
    body = {"from_account_id": bank.payer, "to_account_id": bank.payee, "amount": "0.01"}
    teller = bank.counters[Role.TELLER]
    for entries in (21, 75_000):
        with nothing_is_written(), patch.object(TextField, "to_internal_value", side_effect=str) as looked_at:
            answered = teller.post("transfers", {**body, "metadata": {f"{number:x}": 1 for number in range(entries)}})
        assert field_errors(answered) == {"metadata": "invalid_metadata"}
        assert looked_at.call_count == 1, "only the amount"
    answered = teller.post("transfers", {**body, "metadata": {str(number): "x" for number in range(20)}})
    assert answered.status_code == 202


def test_an_answer_is_short_whatever_is_wrong_with_a_request(bank: Bank) -> None:
    body = {
        "from_account_id": "x" * 100_000,
        "amount": 1,
        "currency": "e" * 100_000,
        "metadata": {str(number) * 10_000: number for number in range(20)},
        **{f"{number:04}" * 20: 1 for number in range(5_000)},
    }
    with nothing_is_written():
        answered = bank.counters[Role.TELLER].post("transfers", body)
    found = problem(answered, 400, "validation_error")["errors"]
    assert {"amount", "currency", "to_account_id"} <= {error["field"] for error in found}
    assert any(error["field"].startswith("metadata.0") for error in found)
    assert len(found) <= 50
    assert len(answered.content) < 20_000


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "0001-01-01T12:00:00", "9999-12-31T23:59:59"])
def test_a_search_for_events_reaches_to_either_end_of_time(bank: Bank, moment: str) -> None:
    auditor = browser(Role.AUDITOR)
    for name in ("since", "until"):
        assert auditor.get(EVENTS, {name: moment}).status_code == 200


def test_what_django_puts_into_every_admin_and_nobody_uses_is_not_there(bank: Bank) -> None:
    operator = browser(Role.OPERATOR)
    keys = ContentType.objects.get_for_model(SubjectKey).pk
    for address in (
        f"/admin/r/{keys}/x/",
        f"/admin/r/{keys}/%00/",
        "/admin/autocomplete/?app_label=knox&model_name=authtoken&field_name=user&term=%00",
        "/admin/autocomplete/?app_label=auth&model_name=group&field_name=user",
    ):
        assert operator.get(address).status_code == 404, address


def test_the_type_of_a_stream_that_no_column_holds_is_not_found(bank: Bank) -> None:
    for stream_type in ("a%00", "%00", "account%0a"):
        assert browser(Role.AUDITOR).get(stream_page(stream_type, UUID(bank.payer))).status_code == 404, stream_type


@pytest.mark.parametrize("arguments", [("unlock", ""), ("unlock", "--address", "")])
def test_nobody_is_let_in_by_a_name_or_an_address_that_is_empty(bank: Bank, arguments: tuple[str, ...]) -> None:
    with nothing_is_written(), pytest.raises(CommandError, match="is empty"):
        call_command(*arguments)


@pytest.mark.parametrize("number", ["\u0665", "\uff15", "1_0", "-1", "+5", " 5", "\u00b2", "9" * 5_000])
@pytest.mark.parametrize(
    ("command", "option"),
    [("events", "--limit"), ("load_demo", "--customers"), ("load_demo", "--seed"), ("seals", "--limit")],
)
def test_a_number_of_a_command_is_written_in_one_way(bank: Bank, command: str, option: str, number: str) -> None:
    with nothing_is_written(), pytest.raises(CommandError, match=f"argument {option}: must be a whole number"):
        call_command(command, f"{option}={number}")


@pytest.mark.parametrize("name", [b"Ali%ED%A0%80ce", b"Ali%ffce", b"Ali%ce", b"Ali\xffce", b"Ali%ce\xbb"], ids=ascii)
def test_a_form_whose_bytes_are_no_text_registers_nobody(bank: Bank, name: bytes) -> None:
    desk = Desk(Role.TELLER)
    address = "/customers/register"
    key = desk.form(address)["key"].encode()
    with nothing_is_written():
        answered = desk.client.generic(
            "POST", address, b"key=" + key + b"&name=" + name, "application/x-www-form-urlencoded"
        )
    assert answered.status_code == 400
    assert b"Not understood" in answered.content
