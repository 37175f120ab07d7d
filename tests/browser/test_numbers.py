"""Every number on a page is the API's number."""

from __future__ import annotations

import re
from decimal import Decimal

from playwright.sync_api import Page, expect

from tests.browser.conftest import Api, Open


def _plain(text: str) -> str:
    """A number as the API writes it: no grouping, a hyphen for a minus, no arrow and no currency."""
    return text.strip().replace(",", "").replace("\N{MINUS SIGN}", "-").removeprefix("+")


def _texts(page: Page, selector: str) -> list[str]:
    """What is shown, all of one moment: a page that follows what happens may put other rows in the place of these."""
    found: list[str] = page.evaluate(
        "selector => [...document.querySelectorAll(selector)].map((one) => one.innerText)", selector
    )
    return found


def _column(page: Page, rows: str, cell: str) -> list[str]:
    return [_plain(text.split("\n")[0]) for text in _texts(page, f"{rows} {cell}")]


def test_a_statement_has_the_amounts_and_balances_that_the_api_has(open_as: Open, teller_api: Api) -> None:
    account = max(teller_api.all("/accounts"), key=lambda row: Decimal(row["balance"]))
    entries = teller_api.all(f"/accounts/{account['account_id']}/entries")
    page = open_as("auditor", f"/accounts/{account['account_id']}")
    assert _plain(page.locator("#balance").inner_text()).removesuffix(account["currency"]).strip() == account["balance"]
    amounts, balances = (
        _column(page, ".entries tbody tr", "td.column"),
        _column(page, ".entries tbody tr", "td.column-last"),
    )
    while page.get_by_role("link", name="Older").is_visible():
        page.get_by_role("link", name="Older").click()
        amounts += _column(page, ".entries tbody tr", "td.column")
        balances += _column(page, ".entries tbody tr", "td.column-last")
    assert amounts == [row["amount"] for row in entries]
    assert balances == [row["balance_after"] for row in entries]


def test_the_list_of_accounts_has_the_balances_that_the_api_has(open_as: Open, teller_api: Api) -> None:
    page = open_as("auditor", "/accounts")
    shown = [text.split("\n")[0] for text in _texts(page, "tbody td.column-last")]
    newest = teller_api.all("/accounts")[: len(shown)]
    assert [_plain(text[:-3]) for text in shown] == [row["balance"] for row in newest]


def test_today_s_totals_are_the_sum_of_the_transfers_that_the_api_has(open_as: Open, teller_api: Api) -> None:
    page = open_as("auditor", "/")
    completed = [row for row in teller_api.all("/transfers") if row["state"] == "COMPLETED"]
    for row in page.locator("#volume-title").locator("xpath=../..").locator("tbody tr").all():
        currency, count, moved = row.locator("th, td").all_inner_texts()
        of_currency = [Decimal(one["amount"]) for one in completed if one["currency"] == currency]
        assert (int(_plain(count)), Decimal(_plain(moved))) == (len(of_currency), sum(of_currency))


def test_a_printed_statement_has_its_closing_balance_once_and_its_account_on_every_sheet(
    open_as: Open, teller_api: Api
) -> None:
    account = teller_api.account(balance="1.00")
    for _ in range(80):
        paid = teller_api.post(f"/accounts/{account['account_id']}/deposits", {"amount": "1.00"})
    teller_api.get(f"/accounts/{account['account_id']}", min_version=paid["version"])
    page = open_as("teller", f"/accounts/{account['account_id']}/statement")
    head = page.locator(".statement thead tr").first
    expect(head).not_to_be_visible()
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) >= 3
    page.emulate_media(media="print")
    # A browser repeats on every sheet what is laid out as the head or the foot of a table, and nothing else.
    expect(page.locator(".statement thead")).to_have_css("display", "table-header-group")
    expect(page.locator(".statement tfoot")).to_have_css("display", "table-row-group")
    expect(head).to_contain_text(f"account {account['number']} · Alice Abel")
    expect(page.locator(".letterhead")).to_have_text("Daybook")
    assert page.locator("#main").inner_text().count("Closing balance") == 1
    page.goto(f"/customers/{account['customer_id']}")
    expect(page.locator("#holdings tfoot")).to_have_css("display", "table-row-group")


def test_a_narrow_statement_breaks_no_word_of_ours_and_names_both_its_figures(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="1000000.00")
    for amount in ("100000.00", "250000.00"):
        paid = teller_api.post(f"/accounts/{account['account_id']}/withdrawals", {"amount": amount})
    teller_api.get(f"/accounts/{account['account_id']}", min_version=paid["version"])
    for path in ("", "/statement"):
        page = open_as("teller", f"/accounts/{account['account_id']}{path}", width=360)
        expect(page.locator(".entries thead th").filter(has_text="Amount")).to_have_text("AmountBalance")
        withdrawals = page.locator(".words").filter(has_text="Withdrawal").all()
        assert [one.evaluate("(words) => words.getClientRects().length") for one in withdrawals] == [1, 1]
