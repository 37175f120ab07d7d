"""Every page: accessible in both themes, no wider than the window, nothing from elsewhere; and a picture of it."""

from __future__ import annotations

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from accounts.published.money import MAX_AMOUNT_MINOR, format_amount
from accounts.published.text import (
    MAX_DESCRIPTION_LENGTH,
    MAX_NAME_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_TITLE_LENGTH,
)
from tests.browser.conftest import Api, Open, Watch, keep_picture

WIDTHS = (1280, 360)
LARGEST = format_amount(MAX_AMOUNT_MINOR, "EUR")
GRAVE = ("serious", "critical")
RULES = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    # In the dark the same elements have other colours, and nothing else is different.
    "dark": ["color-contrast", "link-in-text-block"],
    # On a narrow page the same elements stand closer, and tables scroll in their boxes.
    "narrow": ["scrollable-region-focusable", "target-size"],
}
# Without preloading: axe would copy style sheets that others import into a style of its own, which no page allows. And
# without the lists of all that is well.
OPTIONS = {"preload": False, "resultTypes": ["violations"]}


@pytest.fixture(scope="package")
def pages(teller_api: Api, supervisor_api: Api) -> dict[str, str]:
    """The address of each page, by the name of its picture."""
    account = next(row for row in teller_api.all("/accounts") if row["state"] == "OPEN" and row["currency"] == "EUR")
    transfers = {row["state"]: row["transfer_id"] for row in teller_api.all("/transfers")}
    frozen = next(row for row in teller_api.all("/accounts") if row["state"] == "FROZEN")
    for kind in ("deposits", "withdrawals"):
        done = teller_api.post(f"/accounts/{account['account_id']}/{kind}", {"amount": "1.00"})
    teller_api.get(f"/accounts/{account['account_id']}", min_version=done["version"])
    cash = next(
        row for row in teller_api.all(f"/accounts/{account['account_id']}/entries") if row["kind"] == "withdrawal"
    )
    own = f"/accounts/{account['account_id']}"
    empty = teller_api.account(balance="0.00")
    return {
        "today": "/",
        "find": "/find?q=an",
        "customers": "/customers",
        "customers-none": "/customers?search=nobody",
        "customer": f"/customers/{account['customer_id']}",
        "register": "/customers/register",
        "change": f"/customers/{account['customer_id']}/change",
        "open-account": f"/customers/{account['customer_id']}/open-account",
        "accounts": "/accounts",
        "account": own,
        "account-frozen": f"/accounts/{frozen['account_id']}",
        "statement": f"{own}/statement",
        "deposit": f"{own}/deposit",
        "withdraw": f"{own}/withdraw",
        "freeze": f"{own}/freeze",
        "close": f"/accounts/{empty['account_id']}/close",
        "close-refused": f"{own}/close",
        "reverse": f"{own}/entries/{cash['version']}/reverse",
        "transfers": "/transfers",
        "new-transfer": f"/transfers/new?from={account['account_id']}",
        "password": "/password",
        "missing": "/nowhere",
        **{f"transfer-{state.lower()}": f"/transfers/{id}" for state, id in transfers.items()},
    }


@pytest.fixture(scope="package")
def endless(teller_api: Api, supervisor_api: Api) -> dict[str, str]:
    """Pages with everything as long as it may be, in one word, and with the largest amounts."""
    payer, payee = (_endless_account(teller_api) for _ in range(2))
    for _ in range(2):
        teller_api.post(f"/accounts/{payer}/deposits", {"amount": LARGEST, "description": "D" * MAX_DESCRIPTION_LENGTH})
    transfer = {
        "from_account_id": payer,
        "to_account_id": payee,
        "amount": LARGEST,
        "description": "D" * MAX_DESCRIPTION_LENGTH,
        "reference": "R" * MAX_REFERENCE_LENGTH,
    }
    transfer_id = teller_api.post("/transfers", transfer, Prefer="wait=5")["transfer_id"]
    teller_api.get(f"/accounts/{payer}", min_version=4)
    supervisor_api.post(f"/accounts/{payee}/freeze", {"reason": "R" * MAX_REASON_LENGTH})
    refunded = teller_api.post("/transfers", transfer, Prefer="wait=5")["transfer_id"]
    account = teller_api.get(f"/accounts/{payer}")
    customer = f"/customers/{account['customer_id']}"
    return {
        "customer": customer,
        "change": f"{customer}/change",
        "open-account": f"{customer}/open-account",
        "account": f"/accounts/{payer}",
        "account-frozen": f"/accounts/{payee}",
        "statement": f"/accounts/{payer}/statement",
        "deposit": f"/accounts/{payer}/deposit",
        "refused-deposit": f"/accounts/{payee}/deposit",
        "reverse": f"/accounts/{payer}/entries/2/reverse",
        "transfer": f"/transfers/{transfer_id}",
        "transfer-refunded": f"/transfers/{refunded}",
        "new-transfer": f"/transfers/new?from={payer}",
        "find": f"/find?q={'N' * 100}",
        # The lists and Today, whose newest are these.
        "today": "/",
        "customers": "/customers",
        "accounts": "/accounts",
        "transfers": "/transfers",
    }


def _endless_account(api: Api) -> str:
    customer = {"name": "N" * MAX_NAME_LENGTH, "email": f"{'e' * 64}@{'d' * 60}.example", "phone": "+49 30 1234567"}
    made = api.post("/customers", {**customer, "reference": "R" * MAX_REFERENCE_LENGTH})
    account = {
        "customer_id": made["customer_id"],
        "title": "T" * MAX_TITLE_LENGTH,
        "currency": "EUR",
        "initial_balance": LARGEST,
        "reference": "R" * MAX_REFERENCE_LENGTH,
    }
    account_id = api.post("/accounts", account)["account_id"]
    api.get(f"/accounts/{account_id}", min_version=1)
    return account_id


def _wider_than_the_window(page: Page) -> list[str]:
    """What sticks out, or nothing."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
           [...document.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
           .map((one) => `${one.tagName}.${one.className}`).slice(0, 5)"""
    )
    return found


def _grave_findings(page: Page, rules: str = "light") -> list[str]:
    violations = Axe().run(page, options={**OPTIONS, "runOnly": RULES[rules]}).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {json.dumps([node['target'] for node in one['nodes'][:3]])}"
        for one in violations
        if one["impact"] in GRAVE
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_fits(theme: str, pages: dict[str, str], open_as: Open, watch: Watch) -> None:
    watch.expect("/nowhere|/close")
    page = open_as("supervisor", "/", theme=theme)
    wrong: dict[str, object] = {}
    for name, path in pages.items():
        page.set_viewport_size({"width": WIDTHS[0], "height": 800})
        page.goto(path)
        if findings := _grave_findings(page, theme):
            wrong[name] = findings
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            keep_picture(page, f"{name}-{theme}-{width}")
            if wide := _wider_than_the_window(page):
                wrong[f"{name} at {width}"] = wide
    assert wrong == {}


def test_every_page_holds_words_without_an_end(endless: dict[str, str], open_as: Open, watch: Watch) -> None:
    watch.expect("409|/deposit")
    page = open_as("supervisor", "/")
    wrong: dict[str, object] = {}

    def look(name: str) -> None:
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            keep_picture(page, f"endless-{name}-{width}")
            if wide := _wider_than_the_window(page):
                wrong[f"{name} at {width}"] = wide

    for name, path in endless.items():
        page.goto(path)
        look(name)
    page.goto(endless["new-transfer"])
    payee = page.request.get(f"/api/v1{endless['account-frozen']}").json()
    page.get_by_label("To", exact=True).fill(payee["number"])
    page.get_by_label("Amount", exact=True).fill(LARGEST)
    page.get_by_label("Description").fill("D" * MAX_DESCRIPTION_LENGTH)
    page.get_by_role("button", name="Review").click()
    expect(page.locator(".review")).to_be_visible()
    look("review")
    assert wrong == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_opens_over_a_page_is_accessible_too(theme: str, pages: dict[str, str], open_as: Open) -> None:
    page = open_as("supervisor", pages["account"], theme=theme)
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount", exact=True).fill("12,5")
    page.locator("dialog[open]").get_by_role("button", name="Deposit", exact=True).click()
    expect(page.locator("dialog[open] .error")).to_be_visible()
    keep_picture(page, f"dialog-{theme}-1280")
    found = {"dialog": _grave_findings(page, theme)}
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.locator("#find-box").press_sequentially("an")
    expect(page.locator("#find-results [role=option]").first).to_be_visible()
    keep_picture(page, f"find-box-{theme}-1280")
    found["find"] = _grave_findings(page, theme)
    page.locator("#find-box").fill("nobody of that name")
    expect(page.locator("#find").get_by_role("status")).to_contain_text("Nothing found for")
    keep_picture(page, f"find-box-nothing-{theme}-1280")
    found["nothing"] = _grave_findings(page, theme)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    found["keys"] = _grave_findings(page, theme)
    page.keyboard.press("Escape")
    page.get_by_label("Signed in as supervisor").click()
    found["menu"] = _grave_findings(page, theme)
    page.goto("/transfers/new")
    page.get_by_label("From", exact=True).press_sequentially("an")
    expect(page.locator("#payers [role=option]").first).to_be_visible()
    found["suggestions"] = _grave_findings(page, theme)
    page.get_by_label("From", exact=True).fill("nobody of that name")
    expect(page.locator("#payers-note")).to_contain_text("No open account is found for")
    found["no suggestions"] = _grave_findings(page, theme)
    assert [line for findings in found.values() for line in findings] == []


def test_the_log_in_is_accessible_and_fits(open_as: Open) -> None:
    for theme in ("light", "dark"):
        page = open_as("", "/log-in", theme=theme, width=360)
        page.get_by_role("button", name="Log in").click()
        assert _grave_findings(page, theme) == []
        assert _wider_than_the_window(page) == []
        keep_picture(page, f"log-in-{theme}-360")


def test_an_operator_has_a_home_of_their_own(open_as: Open) -> None:
    page = open_as("operator", "/")
    expect(page.get_by_role("heading", name="Daybook itself")).to_be_visible()
    assert _grave_findings(page) == []
    keep_picture(page, "today-as-operator-light-1280")
    expect(page.get_by_role("link", name="Find")).to_have_count(0)  # nothing that it would find is theirs to see
    page.get_by_role("link", name="Admin", exact=True).first.click()
    expect(page).to_have_url(re.compile("/admin/$"))
