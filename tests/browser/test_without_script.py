"""Without a script the pages are read, and their forms still do what they say."""

from __future__ import annotations

from playwright.sync_api import expect

from config.demo import PASSWORD
from tests.browser.conftest import Api, Open


def test_a_teller_logs_in_reads_and_deposits(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="0.00", name="Alice Abel")
    page = open_as("", f"/accounts/{account['account_id']}", script=False)
    page.get_by_label("Name").fill("teller")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#balance")).to_have_text("0.00EUR")
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount").fill("oops")
    page.get_by_role("button", name="Deposit", exact=True).click()
    expect(page.locator(".error")).to_contain_text("Write the amount like")
    page.get_by_label("Amount").fill("20")
    page.get_by_role("button", name="Deposit", exact=True).click()
    expect(page.locator("#balance")).to_have_text("20.00EUR")
    expect(page.locator("#notes")).to_contain_text("20.00 EUR deposited")


def test_the_theme_is_chosen_without_a_script(open_as: Open) -> None:
    page = open_as("teller", "/accounts", script=False)
    page.get_by_label("Signed in as teller").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/customers")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_statement_on_paper_has_nothing_that_is_pressed(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="20.00")
    page = open_as("teller", f"/accounts/{account['account_id']}/statement")
    page.emulate_media(media="print")
    expect(page.locator("#closing")).to_be_visible()
    for hidden in (".head", ".foot", ".filters", "button"):
        for one in page.locator(hidden).all():
            expect(one).not_to_be_visible()
