"""Everything can be done with the keyboard."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Api, Open, Watch


def test_find_opens_from_anywhere_and_goes_where_the_arrows_point(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="12.00", name="Zacharias Quill")
    page = open_as("teller", "/transfers")
    for shortcut in ("/", "Control+k"):
        page.keyboard.press(shortcut)
        expect(page.locator("#find-box")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#find")).not_to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("quill")
    expect(page.locator("#find-results [role=option]")).to_have_count(2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#find-results [aria-selected=true]")).to_contain_text("Zacharias Quill")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(account["account_id"]))


def test_find_opens_again_in_the_very_moment_in_which_it_was_closed(open_as: Open) -> None:
    page = open_as("teller", "/transfers")
    opened = page.evaluate(
        """() => {
            const find = document.getElementById("find");
            find.showModal();
            document.getElementById("find-box").focus();
            find.close();
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true}));
            return find.open;
        }"""
    )
    assert opened


def test_find_takes_an_account_number_and_a_transfer_s_id(open_as: Open, teller_api: Api) -> None:
    payer, payee = teller_api.account(balance="12.00"), teller_api.account(balance="0.00")
    transfer = teller_api.transfer(payer, payee, "1.00")
    page = open_as("teller", "/")
    for asked, reached in ((payer["number"], payer["account_id"]), (transfer["transfer_id"], transfer["transfer_id"])):
        page.keyboard.press("/")
        page.locator("#find-box").fill(asked)
        expect(page.locator("#find-results [role=option]")).to_have_count(1)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(reached))


def test_find_takes_an_amount_while_it_is_typed_and_leads_by_the_arrows_to_a_transfer_of_it(
    open_as: Open, teller_api: Api
) -> None:
    payer, payee = teller_api.account(balance="12345.00"), teller_api.account(balance="0.00")
    older, newer = (teller_api.transfer(payer, payee, "1234.56") for _ in range(2))
    page = open_as("teller", "/")
    for asked, steps, reached in (("1,234.56 eur", 1, newer), ("1234.56", 2, older)):
        page.keyboard.press("/")
        page.locator("#find-box").press_sequentially(asked)
        expect(page.locator("#find-results [role=option]")).to_have_count(2)
        for _ in range(steps):
            page.keyboard.press("ArrowDown")
        expect(page.locator("#find-results [aria-selected=true]")).to_contain_text("Transfer 1,234.56EUR")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(reached["transfer_id"]))


def test_find_leads_by_the_arrows_to_all_that_it_has_no_room_for(open_as: Open, teller_api: Api) -> None:
    for _ in range(7):
        teller_api.account(balance="12.00", name="Ottilie Oehler")
    page = open_as("teller", "/")
    page.keyboard.press("/")
    page.keyboard.type("ottilie")
    expect(page.locator("#find-results [role=option]")).to_have_count(14)
    page.keyboard.press("ArrowUp")
    expect(page.locator("#find-results [aria-selected=true]")).to_have_text("Show all customers found for “ottilie”")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/customers\?search=ottilie$"))
    expect(page.locator("tbody tr")).to_have_count(7)


def test_the_ring_around_an_amount_lies_over_the_currency_beside_it(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="0.00")
    page = open_as("teller", f"/accounts/{account['account_id']}/deposit")
    page.keyboard.press("Tab")
    amount = page.get_by_label("Amount", exact=True)
    amount.focus()
    expect(amount).to_have_css("outline-style", "solid")
    expect(amount).to_have_css("z-index", "1")
    expect(amount).to_have_css("position", "relative")


def test_shortcuts_are_listed_and_lead_where_they_say(open_as: Open) -> None:
    page = open_as("teller", "/")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    for keys, path in (
        (("g", "c"), "/customers"),
        (("g", "a"), "/accounts"),
        (("g", "x"), "/transfers"),
        (("n",), "/transfers/new"),
        (("g", "t"), "/"),
    ):
        for key in keys:
            page.keyboard.press(key)
        expect(page).to_have_url(re.compile(f"{path}$"))
        page.get_by_role("link", name="Skip to the page").focus()  # out of whatever box the page opens with


def test_a_whole_deposit_needs_no_mouse(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="0.00")
    page = open_as("teller", f"/accounts/{account['account_id']}")
    page.get_by_role("link", name="Deposit", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Amount", exact=True)).to_be_focused()
    page.keyboard.type("7.5")
    page.keyboard.press("Enter")
    expect(page.locator("#balance")).to_have_text("7.50EUR")


def test_a_new_transfer_begins_with_the_account_that_is_missing(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="0.00")
    page = open_as("teller", "/accounts")
    page.keyboard.press("n")
    expect(page.get_by_label("From", exact=True)).to_be_focused()
    page.goto(f"/transfers/new?from={account['account_id']}")
    expect(page.get_by_label("To", exact=True)).to_be_focused()


def test_accounts_are_taken_with_enter_and_tab_and_a_transfer_logs_nothing(
    open_as: Open, teller_api: Api, watch: Watch
) -> None:
    watch.expected.clear()
    payer = teller_api.account(balance="500.00", name="Odette Quarles")
    teller_api.account(balance="1.00", name="Umberto Quince")
    page = open_as("teller", "/transfers/new")
    sender, receiver = page.get_by_label("From", exact=True), page.get_by_label("To", exact=True)
    sender.press_sequentially("Odette Quarles", delay=20)
    page.keyboard.press("Enter")  # before anything is found
    expect(sender).to_have_value(payer["number"])
    expect(page.locator("#payers-chosen")).to_contain_text("Odette Quarles")
    expect(page.locator("#payers")).not_to_be_visible()
    receiver.press_sequentially("Umberto", delay=20)
    expect(page.locator("#payees [role=option]").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(page.locator("#payees-chosen")).to_contain_text("Umberto Quince")
    expect(page.get_by_label("Amount", exact=True)).to_be_focused()
    page.keyboard.type("1.50")
    receiver.focus()
    page.keyboard.press("End")
    page.keyboard.type(" ")  # what is being looked for is of no use any more
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_role("heading", name="Is this right?")).to_be_visible()


def test_the_first_thing_that_the_tab_key_reaches_leads_past_the_navigation(open_as: Open) -> None:
    page = open_as("teller", "/accounts")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
