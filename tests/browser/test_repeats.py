"""A second click, a reload, a second tab: money moves once."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import Api, Open, Watch
from tests.browser.signing import log_in, log_out_elsewhere


def _written_down(open_as: Open, payer: dict[str, str], payee: dict[str, str]) -> Page:
    """A transfer of 150.00 that is looked at once more, and only has to be sent."""
    page = open_as("teller", f"/transfers/new?from={payer['account_id']}")
    page.get_by_label("To", exact=True).fill(payee["number"])
    page.get_by_label("Amount", exact=True).fill("150.00")
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_role("heading", name="Is this right?")).to_be_visible()
    return page


def test_a_double_click_moves_the_money_once(open_as: Open, teller_api: Api) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    page = _written_down(open_as, payer, payee)
    page.get_by_role("button", name="Move the money").dblclick()
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")
    page.reload()
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")
    assert (teller_api.balance(payer), teller_api.balance(payee)) == ("350.00", "250.00")


def test_without_a_script_two_clicks_and_a_way_back_move_it_once(open_as: Open, teller_api: Api) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    page = open_as("teller", f"/transfers/new?from={payer['account_id']}", script=False)
    page.get_by_label("To", exact=True).fill(payee["number"])
    page.get_by_label("Amount", exact=True).fill("150.00")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Move the money").dblclick()
    expect(page).to_have_url(re.compile(r"/transfers/0"))
    first = page.url.partition("?")[0]
    page.go_back()  # to the review, which leads to the transfer
    expect(page).to_have_url(re.compile(re.escape(first)))
    assert (teller_api.balance(payer), teller_api.balance(payee)) == ("350.00", "250.00")


def test_a_deposit_whose_answer_is_lost_is_sent_again_and_done_once(
    open_as: Open, teller_api: Api, watch: Watch
) -> None:
    account = teller_api.account(balance="0.00")
    page = open_as("teller", f"/accounts/{account['account_id']}")
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount", exact=True).fill("20")
    watch.expect("ERR_FAILED|Failed to load|htmx:|/deposit")

    def lose_the_answer(route: object) -> None:
        route.fetch(max_redirects=0)  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    page.route("**/deposit", lose_the_answer, times=1)
    send = page.locator("dialog[open]").get_by_role("button", name="Deposit", exact=True)
    send.click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing you typed is lost")
    expect(page.locator("#balance")).to_have_text("20.00EUR")  # the page behind has refreshed itself
    expect(page.get_by_role("alert")).to_contain_text("Nothing you typed is lost")
    expect(page.get_by_label("Amount", exact=True)).to_have_value("20")
    send.click()
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("#balance")).to_have_text("20.00EUR")
    assert teller_api.balance(account) == "20.00"


def test_whoever_is_logged_out_while_typing_logs_in_elsewhere_and_goes_on(
    open_as: Open, teller_api: Api, watch: Watch
) -> None:
    account = teller_api.account(balance="0.00")
    page = open_as("", f"/log-in?next=/accounts/{account['account_id']}")
    log_in(page)
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount", exact=True).fill("20")
    watch.expect("401|htmx:|/live/changes")
    log_out_elsewhere(page)
    send = page.locator("dialog[open]").get_by_role("button", name="Deposit", exact=True)
    send.click()
    expect(page.get_by_role("alert")).to_contain_text("You were logged out")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Log in in another tab").click()
    log_in(opened.value)
    send.click()
    expect(page.locator("#balance")).to_have_text("20.00EUR")
