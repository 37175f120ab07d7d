"""Without a script the pages are read, and their forms still do what they say."""

from __future__ import annotations

from playwright.sync_api import expect

from config.demo import PASSWORD
from tests.browser.conftest import Api, Open

PAPER_WIDTH = 673  # of A4 between its margins, in CSS pixels: what is wider, a browser prints smaller


def test_a_teller_logs_in_reads_and_deposits(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="0.00", name="Alice Abel")
    page = open_as("", f"/accounts/{account['account_id']}", script=False)
    page.get_by_label("Name").fill("teller")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#balance")).to_have_text("0.00EUR")
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount", exact=True).fill("oops")
    page.get_by_role("button", name="Deposit", exact=True).click()
    expect(page.locator(".error")).to_contain_text("This is not an amount")
    page.get_by_label("Amount", exact=True).fill("20")
    page.get_by_role("button", name="Deposit", exact=True).click()
    expect(page.locator("#balance")).to_have_text("20.00EUR")
    expect(page.locator("#notes")).to_contain_text("20.00 EUR deposited")


def test_a_teller_opens_an_account_and_moves_money(open_as: Open, teller_api: Api) -> None:
    payee = teller_api.account(balance="0.00", name="Ines Haddad")
    customer = teller_api.account(balance="0.00", name="Carol Cho")["customer_id"]
    page = open_as("teller", f"/customers/{customer}", script=False)
    page.get_by_role("link", name="Open an account").click()
    page.get_by_label("Title").fill("Travel")
    page.get_by_label("Currency").fill("euro")
    page.get_by_label("Cash paid in now").fill("500")
    page.get_by_role("button", name="Open the account").click()
    expect(page.locator("#balance")).to_have_text("500.00EUR")
    page.get_by_role("link", name="Transfer from here").click()
    page.get_by_label("To", exact=True).fill(payee["number"])
    page.get_by_label("Amount", exact=True).fill("150")
    page.get_by_role("button", name="Review").click()
    expect(page.locator(".review")).to_contain_text("Move 150.00EUR")
    page.get_by_role("button", name="Move the money").click()
    expect(page.locator(".transfer-title")).to_contain_text("Transfer")
    teller_api.get(f"/accounts/{payee['account_id']}", min_version=2)
    page.reload()
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")


def test_each_page_is_read_without_a_script(open_as: Open, teller_api: Api) -> None:
    payer, payee = teller_api.account(balance="500.00", name="Carol Cho"), teller_api.account(balance="0.00")
    transfer = teller_api.transfer(payer, payee, "150.00")["transfer_id"]
    page = open_as("auditor", "/", script=False)
    for path, words in {
        "/": "150.00",
        "/find?q=Carol": "Carol Cho",
        "/customers?search=carol": "Carol Cho",
        f"/customers/{payer['customer_id']}": "350.00",
        f"/accounts?search={payer['number']}": "350.00",
        f"/accounts/{payer['account_id']}": "Transfer to",
        f"/accounts/{payer['account_id']}?kind=debit": "150.00",
        f"/accounts/{payer['account_id']}/statement": "Closing balance",
        "/transfers?state=COMPLETED": "150.00",
        f"/transfers/{transfer}": "150.00 EUR moved from Household of Carol Cho",
    }.items():
        page.goto(path)
        expect(page.locator("#main")).to_contain_text(words)


def test_the_theme_is_chosen_without_a_script(open_as: Open) -> None:
    page = open_as("teller", "/accounts", script=False)
    page.get_by_label("Signed in as teller").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/customers")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_what_is_printed_fits_the_paper_whatever_a_customer_is_called(open_as: Open, teller_api: Api) -> None:
    payer, payee = (teller_api.account(balance="500.00", name=letter * 200) for letter in "NM")
    transfer = teller_api.transfer(payer, payee, "150.00")["transfer_id"]
    page = open_as("teller", f"/accounts/{payer['account_id']}/statement", width=PAPER_WIDTH)
    page.emulate_media(media="print")
    for path in (page.url, f"/accounts/{payer['account_id']}", f"/transfers/{transfer}"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER_WIDTH, path


def test_a_statement_on_paper_has_nothing_that_is_pressed(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="20.00")
    page = open_as("teller", f"/accounts/{account['account_id']}/statement")
    page.emulate_media(media="print")
    expect(page.locator("#closing")).to_be_visible()
    for hidden in (".head", ".foot", ".filters", "button"):
        for one in page.locator(hidden).all():
            expect(one).not_to_be_visible()
