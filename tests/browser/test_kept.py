"""What was typed is kept: through a lost connection, the end of a session, another theme, and a mistake."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Api, Open, Watch
from tests.browser.signing import log_in, log_out_elsewhere


@pytest.fixture
def written(open_as: Open, teller_api: Api) -> Callable[[str], Page]:
    """A transfer that is written down, by somebody with a session of their own."""

    def write(amount: str = "150.00") -> Page:
        payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
        page = open_as("", f"/log-in?next=/transfers/new?from={payer['account_id']}")
        log_in(page)
        page.get_by_label("To", exact=True).fill(payee["number"])
        page.get_by_label("Amount", exact=True).fill(amount)
        page.get_by_label("Description").fill("Rent")
        return page

    return write


Written = Callable[..., Page]


def test_a_transfer_outlives_a_lost_connection_at_either_step(written: Written, watch: Watch) -> None:
    watch.expect("ERR_INTERNET_DISCONNECTED|htmx:")
    page = written()
    trouble = page.locator("#trouble")
    for button, reached in (("Review", r"/transfers/review/"), ("Move the money", r"/transfers/0")):
        page.context.set_offline(True)
        page.get_by_role("button", name=button).click()
        expect(trouble).to_contain_text("Daybook cannot be reached. Nothing you typed is lost")
        page.context.set_offline(False)
        page.get_by_role("button", name=button).click()
        expect(page).to_have_url(re.compile(reached))
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")


def test_a_transfer_outlives_the_end_of_the_session_at_either_step(written: Written, watch: Watch) -> None:
    watch.expect("401|htmx:|/live/changes")
    page = written()
    for button, reached in (("Review", r"/transfers/review/"), ("Move the money", r"/transfers/0")):
        other = log_out_elsewhere(page)
        page.get_by_role("button", name=button).click()
        expect(page.locator("#trouble")).to_contain_text("You were logged out. Nothing you typed is lost")
        log_in(other)
        other.close()
        page.get_by_role("button", name=button).click()
        expect(page).to_have_url(re.compile(reached))
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")


def test_another_theme_leaves_what_was_typed(written: Written, watch: Watch) -> None:
    page = written()
    page.get_by_label("Signed in as teller").click()
    for theme in ("Dark", "Light"):
        page.get_by_role("button", name=theme).click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme.lower())
        expect(page.get_by_role("button", name=theme)).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_label("Amount", exact=True)).to_have_value("150.00")
    page.get_by_role("button", name="System").click()
    expect(page.get_by_role("button", name="Light")).to_have_attribute("aria-pressed", "false")
    assert page.locator("html").get_attribute("data-theme") is None
    page.get_by_role("button", name="Dark").click()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.goto("/customers")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_dialog_that_cannot_be_opened_leaves_the_page(open_as: Open, teller_api: Api, watch: Watch) -> None:
    watch.expect("ERR_INTERNET_DISCONNECTED|htmx:")
    account = teller_api.account(balance="20.00")
    page = open_as("teller", f"/accounts/{account['account_id']}")
    page.context.set_offline(True)
    page.get_by_role("link", name="Deposit", exact=True).click()
    expect(page.locator("#trouble")).to_contain_text("Daybook cannot be reached")
    expect(page.locator("#balance")).to_have_text("20.00EUR")
    page.context.set_offline(False)
    page.get_by_role("link", name="Deposit", exact=True).click()
    expect(page.get_by_label("Amount", exact=True)).to_be_focused()


def test_a_refused_transfer_has_the_focus_where_something_is_wrong(written: Written) -> None:
    page = written("1,5")
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_label("Amount", exact=True)).to_be_focused()
    expect(page.get_by_label("Description")).to_have_value("Rent")
    expect(page).to_have_title(re.compile("^Error: New transfer"))
    page.get_by_label("Amount", exact=True).fill("1.50")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Is this right?")).to_be_visible()


def test_the_way_back_from_the_review_leads_to_what_was_written_down(written: Written) -> None:
    page = written()
    payer = page.get_by_label("From", exact=True).input_value()
    for amount in ("150.00", "15.00"):
        page.get_by_label("Amount", exact=True).fill(amount)
        page.get_by_role("button", name="Review").click()
        expect(page.locator(".review")).to_contain_text(f"Move {amount}EUR")
        reviewed = page.url
        page.go_back()
        expect(page.get_by_label("From", exact=True)).to_have_value(payer)
        expect(page.locator("#payees-chosen")).to_contain_text("Household of Alice Abel")
        expect(page.get_by_label("Amount", exact=True)).to_have_value(amount)
        expect(page.get_by_label("Description")).to_have_value("Rent")
    page.go_forward()
    expect(page).to_have_url(reviewed)
    page.get_by_role("button", name="Move the money").click()
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")
    page.goto("/transfers/new")
    expect(page.get_by_label("Amount", exact=True)).to_have_value("")


def test_a_transfer_that_is_sent_in_one_tab_and_changed_in_another_is_no_dead_end(written: Written) -> None:
    page = written()
    page.get_by_role("button", name="Review").click()
    page.get_by_role("link", name="Change something").click()
    other = page.context.new_page()
    other.goto(page.url.replace("new?draft=", "review/"))
    other.get_by_role("button", name="Move the money").click()
    expect(other.locator(".transfer-title .pill")).to_have_text("COMPLETED")
    page.get_by_label("Amount", exact=True).fill("200.00")
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_role("alert").filter(has_text="sent already")).to_be_visible()
    expect(page.get_by_label("Amount", exact=True)).to_have_value("200.00")
    page.get_by_role("link", name="see the transfer that was made").click()
    expect(page).to_have_url(other.url.partition("?")[0])
