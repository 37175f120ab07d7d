"""One Daybook with demo data and one browser for all tests in this folder.

Whatever a page does is watched: an error in the console, an answer that a page should not have got, a request to
another host fails the test. Tests use no database of their own: they ask the API, as a program would.

The browser is Debian's chromium (`CHROMIUM` names another); without one the tests are skipped, except in CI.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, sync_playwright

from config.demo import PASSWORD
from tests.daybook_process import ROOT, Daybook
from tests.folders import passing_folder, remove_folder
from tests.servers import Servers

RESULTS = ROOT / "test-results" / "screenshots"
REDIS_DATABASE = 15  # one that no process of the test run has
WAIT_MILLISECONDS = 10_000
# Nothing but the pages: without these chromium asks its maker's hosts about updates and the like.
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _chromium() -> str:
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None and os.environ.get("CI"):
        pytest.fail("There is no chromium; apt-get install chromium")
    if found is None:
        pytest.skip("no chromium on this machine: apt-get install chromium, or name one with CHROMIUM")
    return found


@pytest.fixture(scope="package")
def daybook(django_db_setup: None, servers: Servers) -> Iterator[Daybook]:
    """A whole Daybook on a database of its own, with demo data."""
    name = f"daybook_test_{servers.run}_browser"
    servers.clone(name=name)
    folder = passing_folder()
    environment = {
        "DATABASE_URL": servers.database_url(name=name, login=servers.app),
        "DATABASE_OWNER_URL": servers.database_url(name=name, login=servers.owner),
        "REDIS_URL": servers.redis_database_url(number=REDIS_DATABASE),
        "SECRET_KEY": "only-for-tests",
        "SEALING_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "LOG_LEVEL": "WARNING",
        # One address signs in more often than a bank does.
        **dict.fromkeys(("RATE_LIMIT_LOG_INS", "RATE_LIMIT_ANONYMOUS", "RATE_LIMIT_PERSON_READS"), "0"),
    }
    try:
        with Daybook(data_dir=folder, environment=environment, demo=True).ready() as running:
            running.wait_for_line("Log in as teller")
            yield running
            running.stop()
    finally:
        remove_folder(folder)
        servers.drop(name=name)


@pytest.fixture(scope="package")
def address(daybook: Daybook) -> str:
    """Where it is."""
    return f"http://127.0.0.1:{daybook.port}"


@pytest.fixture(scope="package")
def browser(daybook: Daybook) -> Iterator[Browser]:
    """The browser; gone after the last test of this folder, for it keeps an event loop in this thread."""
    program = _chromium()
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=[*CHROMIUM_ARGUMENTS])


@dataclass
class Watch:
    """What went wrong on pages, and what the test expects to."""

    host: str
    wrong: list[str] = field(default_factory=list)
    # Whoever goes on to another page cuts off what this one was asking for, and htmx says so.
    expected: list[str] = field(default_factory=lambda: [r"^console: htmx:(afterRequest|sendError|sendAbort)"])
    streams: int = 0  # how many live streams were asked for

    def expect(self, pattern: str) -> None:
        """Something that goes wrong on purpose."""
        self.expected.append(pattern)

    def follow(self, context: BrowserContext) -> None:
        """Watches every page of a context."""
        context.on("console", self._console)
        context.on("weberror", lambda error: self.wrong.append(f"script: {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)

    def unexpected(self) -> list[str]:
        """What went wrong that should not."""
        return [line for line in self.wrong if not any(re.search(pattern, line) for pattern in self.expected)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text} at {message.location.get('url')}")

    def _request(self, request: Request) -> None:
        self.streams += "/live/" in request.url
        if urlsplit(request.url).netloc != self.host and not request.url.startswith(("data:", "blob:")):
            self.wrong.append(f"request to another host: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.wrong.append(f"answer {response.status} at {response.url}")


@pytest.fixture
def watch(address: str) -> Iterator[Watch]:
    """Watches all pages of the test, and fails it for what went wrong unexpectedly."""
    found = Watch(host=urlsplit(address).netloc)
    yield found
    assert found.unexpected() == []


@pytest.fixture(scope="package")
def signed_in(browser: Browser, address: str) -> Callable[[str], list[dict[str, object]]]:
    """The cookies of a role, which signs in once."""
    known: dict[str, list[dict[str, object]]] = {}

    def cookies(role: str) -> list[dict[str, object]]:
        if role not in known:
            with browser.new_context(timezone_id="Europe/Berlin") as context:
                page = context.new_page()
                page.goto(f"{address}/log-in")
                page.get_by_label("Name").fill(role)
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Log in").click()
                page.wait_for_url(f"{address}/")
                known[role] = [dict(cookie) for cookie in context.cookies()]
        return known[role]

    return cookies


Open = Callable[..., Page]


@pytest.fixture
def open_as(browser: Browser, address: str, watch: Watch, signed_in: Callable[[str], list[object]]) -> Iterator[Open]:
    """Opens a page as a role: `open_as("teller", "/accounts", width=360, theme="dark")`; "" is nobody."""
    contexts: list[BrowserContext] = []

    def open_page(role: str, path: str = "/", *, width: int = 1280, theme: str = "light", script: bool = True) -> Page:
        context = browser.new_context(
            base_url=address,
            viewport={"width": width, "height": 800},
            color_scheme="dark" if theme == "dark" else "light",
            timezone_id="Europe/Berlin",
            java_script_enabled=script,
            reduced_motion="reduce",
        )
        context.set_default_timeout(WAIT_MILLISECONDS)
        contexts.append(context)
        watch.follow(context)
        if role:
            context.add_cookies(signed_in(role))  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


class Api:
    """The REST API, as somebody with a role."""

    def __init__(self, address: str, role: str) -> None:
        self._client = httpx.Client(base_url=f"{address}/api/v1", timeout=WAIT_MILLISECONDS / 1000)
        signed = self._client.post("/auth/login", json={"username": role, "password": PASSWORD}).json()
        self._client.headers["Authorization"] = f"Bearer {signed['token']}"

    def close(self) -> None:
        """Hangs up."""
        self._client.close()

    def get(self, path: str, **query: object) -> dict[str, object]:
        """What an address answers."""
        answered = self._client.get(path, params={name: str(value) for name, value in query.items()})
        assert answered.is_success, answered.text
        found: dict[str, object] = answered.json()
        return found

    def all(self, path: str) -> list[dict[str, str]]:
        """Every row of a list."""
        rows: list[dict[str, str]] = []
        cursor: object = ""
        while cursor is not None:
            page = self.get(path, limit=200, **({"cursor": cursor} if cursor else {}))
            rows += page["data"]  # type: ignore[arg-type]
            cursor = page["next_cursor"]
        return rows

    def post(self, path: str, body: Mapping[str, object], **headers: str) -> dict[str, str]:
        """Gives a command."""
        answered = self._client.post(path, json=body, headers={"Idempotency-Key": str(uuid4()), **headers})
        assert answered.is_success, answered.text
        found: dict[str, str] = answered.json()
        return found

    def account(self, *, balance: str, name: str = "Alice Abel", currency: str = "EUR") -> dict[str, str]:
        """A new account of a new customer, once it can be seen."""
        customer = self.post("/customers", {"name": name})
        body = {"customer_id": customer["customer_id"], "title": "Household", "currency": currency}
        opened = self.post("/accounts", {**body, "initial_balance": balance})
        self.get(f"/customers/{customer['customer_id']}", min_version=1)
        return dict(self.get(f"/accounts/{opened['account_id']}", min_version=1))  # type: ignore[arg-type]

    def balance(self, account: dict[str, str]) -> str:
        """What an account holds."""
        return str(self.get(f"/accounts/{account['account_id']}")["balance"])

    def transfer(self, payer: dict[str, str], payee: dict[str, str], amount: str) -> dict[str, str]:
        """A transfer, at its end."""
        body = {"from_account_id": payer["account_id"], "to_account_id": payee["account_id"], "amount": amount}
        return self.post("/transfers", body, Prefer="wait=5")


@pytest.fixture(scope="package")
def teller_api(address: str) -> Iterator[Api]:
    """The API as a teller."""
    with closing(Api(address, "teller")) as api:
        yield api


@pytest.fixture(scope="package")
def supervisor_api(address: str) -> Iterator[Api]:
    """The API as a supervisor."""
    with closing(Api(address, "supervisor")) as api:
        yield api


def keep_picture(page: Page, name: str) -> None:
    """Saves what the page looks like, for people who ask for it (`make pictures`): pictures take half of the time."""
    if not os.environ.get("PICTURES"):
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=RESULTS / f"{name}.png", full_page=True)
