"""Pages keep up by themselves: by the stream, through one tab for all, and by asking when there is no stream."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import psutil
from playwright.sync_api import expect

from tests.browser.conftest import Api, Open, Watch
from tests.browser.signing import log_in, log_out_elsewhere
from tests.daybook_process import ROOT, Daybook


def test_a_page_shows_what_others_do_without_a_reload(open_as: Open, teller_api: Api) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    page = open_as("auditor", f"/accounts/{payee['account_id']}")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    teller_api.transfer(payer, payee, "150.00")
    expect(page.locator("#balance")).to_have_text("250.00EUR")
    page.goto("/")
    newest = teller_api.transfer(payer, payee, "1.00")
    expect(page.locator(f"#transfer-{newest['transfer_id']} .pill").first).to_have_text("COMPLETED")


def test_the_page_of_a_customer_shows_an_account_that_is_opened_elsewhere(open_as: Open, teller_api: Api) -> None:
    known = teller_api.account(balance="500.00")
    page = open_as("auditor", f"/customers/{known['customer_id']}")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    body = {"customer_id": known["customer_id"], "title": "Holiday", "currency": "EUR", "initial_balance": "7.00"}
    teller_api.post("/accounts", body)
    expect(page.get_by_role("link", name="Holiday")).to_be_visible()
    expect(page.locator("#holdings tfoot")).to_contain_text("507.00")


@contextmanager
def _saga_at_rest(daybook: Daybook) -> Iterator[None]:
    """An operator has paused the transfers' part of the saga."""

    def operate(deed: str) -> None:
        command = [sys.executable, "manage.py", "subscriptions", deed, "transfers.saga", "--reason", "A test"]
        subprocess.run(command, cwd=ROOT, env=daybook.environment, check=True, capture_output=True)

    operate("pause")
    try:
        yield
    finally:
        operate("resume")


def test_a_transfer_walks_to_its_end_before_one_s_eyes(open_as: Open, teller_api: Api, daybook: Daybook) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    with _saga_at_rest(daybook):
        body = {"from_account_id": payer["account_id"], "to_account_id": payee["account_id"], "amount": "150.00"}
        transfer_id = teller_api.post("/transfers", body)["transfer_id"]
        page = open_as("teller", f"/transfers/{transfer_id}?posting=1")
        expect(page.locator(".transfer-title .pill")).to_have_text("INITIAL")
        expect(page.locator(".step-name")).to_have_text(["Created", "Debiting …", "Credited"])
        expect(page.locator("[aria-current=step]")).to_contain_text("Debiting")
        page.evaluate("window.notReloaded = true")
    expect(page.locator(".transfer-title .pill")).to_have_text("COMPLETED")
    expect(page.locator(".step-name")).to_have_text(["Created", "Debited", "Credited"])
    expect(page.locator("#announcer")).to_have_text("COMPLETED")
    assert page.evaluate("window.notReloaded")
    # Nothing more will change, and nothing more is looked at.
    expect(page.locator("#live")).to_have_attribute("data-state", "page")
    expect(page.locator("#live")).to_contain_text("As of")


def test_a_page_that_could_not_be_refreshed_is_not_called_live(open_as: Open, teller_api: Api, watch: Watch) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    watch.expect("500|htmx:")
    page = open_as("teller", f"/accounts/{payee['account_id']}")
    mark = page.locator("#live")
    expect(mark).to_have_attribute("data-state", "live")
    page.route("**/accounts/*", lambda route: route.fulfill(status=500))
    teller_api.transfer(payer, payee, "150.00")
    expect(mark).to_have_attribute("data-state", "behind")
    expect(mark).to_contain_text("Not up to date since")
    since = page.locator("#live time").inner_text()
    with page.expect_response(lambda response: response.status == 500):  # after a while, with a tick of the stream
        pass
    expect(mark).to_have_attribute("data-state", "behind")
    assert page.locator("#live time").inner_text() == since
    page.unroute("**/accounts/*")
    expect(page.locator("#balance")).to_have_text("250.00EUR", timeout=30_000)
    expect(mark).to_have_attribute("data-state", "live")


def test_a_tab_asks_no_more_after_a_log_out_in_another_and_goes_on_after_a_log_in(
    open_as: Open, teller_api: Api, watch: Watch
) -> None:
    watch.expect("401|/live/changes")
    account = teller_api.account(balance="100.00")
    page = open_as("", f"/log-in?next=/accounts/{account['account_id']}")
    page.clock.install()
    log_in(page)
    mark = page.locator("#live")
    expect(mark).to_have_attribute("data-state", "live")
    other = log_out_elsewhere(page)
    expect(mark).to_have_attribute("data-state", "out")
    expect(mark.get_by_role("link", name="Log in")).to_be_visible()
    expect(mark.locator("time")).not_to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward(60_000)
    page.evaluate("fetch('/health/live')")
    assert [url for url in asked if "/health/" not in url] == []
    log_in(other)
    other.goto("/accounts")
    expect(mark).to_have_attribute("data-state", "live")
    teller_api.post(f"/accounts/{account['account_id']}/deposits", {"amount": "5.00"})
    page.bring_to_front()
    expect(page.locator("#balance")).to_have_text("105.00EUR")


def test_the_tabs_of_a_browser_share_one_stream(open_as: Open, teller_api: Api, watch: Watch) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="0.00")
    first = open_as("teller", f"/accounts/{payer['account_id']}")
    expect(first.locator("#live")).to_have_attribute("data-state", "live")
    tabs = [first.context.new_page() for _ in range(8)]  # more than a browser opens connections to one host
    for tab in tabs:
        tab.goto(f"/accounts/{payee['account_id']}")
        expect(tab.locator("#live")).to_have_attribute("data-state", "live")
    teller_api.transfer(payer, payee, "150.00")
    for tab in tabs:
        tab.bring_to_front()
        expect(tab.locator("#balance")).to_have_text("150.00EUR")
    assert watch.streams == 1
    first.close()
    teller_api.transfer(payer, payee, "50.00")
    tabs[-1].bring_to_front()
    expect(tabs[-1].locator("#balance")).to_have_text("200.00EUR")  # another tab has taken over


def test_without_a_stream_a_page_asks_by_itself_and_says_so(open_as: Open, teller_api: Api, watch: Watch) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    watch.expect("/live/changes")
    page = open_as("teller", "/log-in")
    page.context.route("**/live/changes", lambda route: route.abort())
    page.goto(f"/accounts/{payee['account_id']}")
    teller_api.transfer(payer, payee, "150.00")
    expect(page.locator("#live")).to_have_attribute("data-state", "polling", timeout=30_000)
    expect(page.locator("#balance")).to_have_text("250.00EUR", timeout=30_000)


@contextmanager
def _web_away(daybook: Daybook) -> Iterator[None]:
    """The web server has been killed, and nobody starts another for as long as the block."""
    supervisor = psutil.Process(daybook.process.pid)
    supervisor.suspend()
    try:
        for process in daybook.children():
            if "granian" in " ".join(process.cmdline()):
                # The parent first: it would start another in the place of a child that died.
                for one in (process, *process.children(recursive=True)):
                    one.kill()
        yield
    finally:
        supervisor.resume()


def test_a_page_says_that_the_server_is_away_and_recovers_by_itself(
    open_as: Open, teller_api: Api, daybook: Daybook, watch: Watch
) -> None:
    payer, payee = teller_api.account(balance="500.00"), teller_api.account(balance="100.00")
    watch.expect("ERR_|Failed to load|htmx:|answer 50|/live/changes")
    page = open_as("teller", f"/accounts/{payee['account_id']}")
    mark = page.locator("#live")
    expect(mark).to_have_attribute("data-state", "live")
    page.evaluate("window.notReloaded = true")
    with _web_away(daybook):
        expect(mark).to_have_attribute("data-state", "away", timeout=60_000)
        expect(mark).to_contain_text("Not reachable since")
        expect(page.locator("#balance")).to_have_text("100.00EUR")  # what was shown stays
    expect(mark).to_have_attribute("data-state", "live", timeout=60_000)
    teller_api.transfer(payer, payee, "150.00")
    # What took long to be fetched, just after the server came back, is fetched again the more seldom.
    expect(page.locator("#balance")).to_have_text("250.00EUR", timeout=60_000)
    assert page.evaluate("window.notReloaded")


def test_the_mark_tells_the_time_of_the_zone_that_the_page_is_in(open_as: Open, watch: Watch) -> None:
    page = open_as("teller", "/transfers")
    page.context.add_init_script("Object.defineProperty(document, 'cookie', { get: () => '', set: () => {} })")
    page.context.add_cookies([{"name": "zone", "value": "Asia/Kolkata", "url": page.url}])
    page.goto("/transfers")
    expect(page.locator(".foot")).to_contain_text("Times in Asia/Kolkata")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    now = datetime.now(ZoneInfo("Asia/Kolkata"))
    times = {(now + timedelta(minutes=minutes)).strftime("%H:%M") for minutes in (-1, 0, 1)}
    assert page.locator("#live time").inner_text()[:5] in times


def test_what_somebody_is_typing_is_left_alone(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="0.00")
    page = open_as("teller", f"/accounts/{account['account_id']}")
    page.get_by_role("link", name="Deposit", exact=True).click()
    page.get_by_label("Amount", exact=True).fill("20")
    teller_api.post(f"/accounts/{account['account_id']}/deposits", {"amount": "5.00"})
    expect(page.locator("#balance")).to_have_text("5.00EUR")
    expect(page.get_by_label("Amount", exact=True)).to_have_value("20")
    expect(page.get_by_label("Amount", exact=True)).to_be_focused()
