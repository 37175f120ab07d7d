"""What each role comes to do, done as they do it: with mouse and keyboard, from the log-in on."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from config.demo import PASSWORD
from tests.browser.conftest import Api, Open, Watch


def _dialog(page: Page, name: str) -> Page:
    """Opens a dialog by the link to it; what follows is looked for in the page, and found in it alone."""
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("dialog[open]")).to_be_visible()
    return page


def _send(page: Page, button: str) -> None:
    page.locator("dialog[open]").get_by_role("button", name=button, exact=True).click()


def test_a_teller_goes_from_the_log_in_to_a_printed_statement(open_as: Open, teller_api: Api) -> None:
    savings = teller_api.account(balance="100.00", name="Ines Haddad")
    page = open_as("", "/accounts")
    page.get_by_label("Name").fill("teller")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/accounts$"))

    page.get_by_role("link", name="Customers", exact=True).first.click()
    _dialog(page, "Register a customer").get_by_label("Name", exact=True).fill("Carol Čapek")
    _send(page, "Register")
    expect(page.get_by_role("heading", name="Carol Čapek")).to_be_visible()

    _dialog(page, "Open an account").get_by_label("Title").fill("Household")
    _send(page, "Open the account")
    expect(page.locator("#balance")).to_have_text("0.00EUR")

    _dialog(page, "Deposit").get_by_label("Amount", exact=True).fill("1,000.50")
    _send(page, "Deposit")
    expect(page.get_by_text("1,000.50 EUR deposited.")).to_be_visible()
    expect(page.locator("#balance")).to_have_text("1,000.50EUR")

    page.get_by_role("link", name="Transfer from here").click()
    page.get_by_label("To", exact=True).press_sequentially(savings["number"])
    expect(page.locator("#payees [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#payees-chosen")).to_contain_text("Ines Haddad")
    page.get_by_label("Amount", exact=True).fill("150")
    page.get_by_label("Description").fill("Rent")
    page.get_by_role("button", name="Review").click()
    review = page.locator(".review")
    expect(review).to_contain_text("Move 150.00EUR")
    expect(review).to_contain_text("from Household of Carol Čapek")
    expect(review).to_contain_text("to Household of Ines Haddad")
    page.get_by_role("button", name="Move the money").click()

    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")
    expect(page.locator(".step-name")).to_have_text(["Created", "Debited", "Credited"])
    page.evaluate("window.print = () => { window.printed = true; }")
    page.get_by_role("button", name="Print receipt").click()
    assert page.evaluate("window.printed")
    page.locator("#from-title + p").get_by_role("link").click()
    expect(page.locator("#balance")).to_have_text("850.50EUR")
    page.get_by_role("link", name="Statement").click()
    expect(page.locator("#closing")).to_have_text("850.50EUR")
    expect(page.get_by_role("button", name="Print")).to_be_visible()
    assert teller_api.balance(savings) == "250.00"


def test_a_supervisor_freezes_unfreezes_reverses_and_closes(open_as: Open, teller_api: Api, watch: Watch) -> None:
    account = teller_api.account(balance="25.00")
    page = open_as("supervisor", f"/accounts/{account['account_id']}")
    state = page.locator(".account-line .pill")

    _dialog(page, "Freeze").get_by_label("Reason").fill("Asked for by the customer")
    _send(page, "Freeze")
    expect(state).to_have_text("FROZEN")
    expect(page.get_by_role("link", name="Deposit", exact=True)).to_have_count(0)

    _dialog(page, "Unfreeze").get_by_label("Reason").fill("Cleared up")
    _send(page, "Unfreeze")
    expect(state).to_have_text("OPEN")

    _dialog(page, "Deposit").get_by_label("Amount", exact=True).fill("5")
    _send(page, "Deposit")
    expect(page.locator("#balance")).to_have_text("30.00EUR")
    _dialog(page, "Reverse").get_by_label("Reason").fill("Counted wrongly")
    _send(page, "Reverse")
    expect(page.locator("#balance")).to_have_text("25.00EUR")
    expect(page.locator("tbody")).to_contain_text("Reversed")

    watch.expect("409|/close")
    expect(_dialog(page, "Close").locator("dialog[open]")).to_contain_text("Only an empty account can be closed")
    page.keyboard.press("Escape")
    _dialog(page, "Withdraw").get_by_label("Amount", exact=True).fill("25")
    _send(page, "Withdraw")
    expect(page.locator("#balance")).to_have_text("0.00EUR")
    _dialog(page, "Close").get_by_label("Reason").fill("Moved away")
    _send(page, "Close for good")
    expect(state).to_have_text("CLOSED")


def test_a_refused_transfer_says_why_in_plain_words(open_as: Open, teller_api: Api, supervisor_api: Api) -> None:
    poor, frozen = teller_api.account(balance="10.00", name="Bob Brown"), teller_api.account(balance="0.00")
    supervisor_api.post(f"/accounts/{frozen['account_id']}/freeze", {"reason": "Asked for"})
    page = open_as("auditor", f"/transfers/{teller_api.transfer(poor, frozen, '10.01')['transfer_id']}")
    expect(page.locator(".transfer-title .pill")).to_have_text("INSUFFICIENT FUNDS")
    expect(page.locator("#transfer")).to_contain_text("Nothing moved: Household of Bob Brown did not hold 10.01 EUR.")
    page.goto(f"/transfers/{teller_api.transfer(poor, frozen, '10.00')['transfer_id']}")
    expect(page.locator(".transfer-title .pill")).to_have_text("REFUNDED")
    expect(page.locator(".step-name")).to_have_text(["Created", "Debited", "Not credited", "Refunded"])
    expect(page.locator("#transfer")).to_contain_text("is frozen, so the 10.00 EUR went back to")


def test_an_auditor_sees_everything_and_is_offered_nothing(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="25.00")
    page = open_as("auditor", f"/accounts/{account['account_id']}")
    expect(page.locator("#balance")).to_have_text("25.00EUR")
    for action in ("Transfer from here", "Deposit", "Withdraw", "Freeze", "Close", "Reverse"):
        expect(page.get_by_role("link", name=action, exact=True)).to_have_count(0)


def test_somebody_logs_out_and_the_way_back_shows_nothing(open_as: Open) -> None:
    page = open_as("", "/log-in")
    page.get_by_label("Name").fill("auditor")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.goto("/customers")
    page.get_by_label("Signed in as auditor").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
