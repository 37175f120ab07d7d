"""The admin in a browser: every page in both themes, as operator and as auditor, and what an operator does there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Api, Open, Watch, keep_picture
from tests.browser.test_every_page import _grave_findings, _wider_than_the_window
from tests.daybook_process import Daybook

WIDTHS = (1280, 360, 2560)
NARROW = 360  # where tables scroll in their boxes
PICTURED = 1280  # wider pictures take as long as everything else here, and show more margin
EVENTS = "/admin/eventstore/event/"
SUBSCRIPTIONS = "/admin/eventstore/checkpoint/"
PARKED = "/admin/eventstore/parkedkey/"
OPERATIONS = "/admin/eventstore/operation/"
STAFF = "/admin/staff/staffmember/"

# A key that the saga could not handle, as the runner parks it; what comes with that key is set aside behind it.
PARK = """
INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
VALUES ('accounts.saga', %s, 12, clock_timestamp() + interval '1 hour', clock_timestamp(), 'ValueError: too odd')
RETURNING id
"""
FREE = "DELETE FROM eventstore_parked_event; DELETE FROM eventstore_parked_key"
COUNT_BEHIND = "SELECT count(*) FROM eventstore_parked_event WHERE parked_key_id = ANY(%s)"


@pytest.fixture
def owner(daybook: Daybook) -> Iterator[psycopg.Connection]:
    """The running Daybook's database, as its owner."""
    with psycopg.connect(daybook.environment["DATABASE_OWNER_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture
def parked(owner: psycopg.Connection, teller_api: Api) -> Iterator[int]:
    """A transfer that is parked behind its key; the key's id."""
    transfer = UUID(teller_api.all("/transfers")[0]["transfer_id"])
    found = owner.execute(PARK, [transfer]).fetchone()
    assert found is not None
    owner.execute(
        "INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)"
        " SELECT %s, 'accounts.saga', l.position, clock_timestamp() FROM eventstore_log l"
        " JOIN eventstore_event e ON e.id = l.event_id"
        " WHERE e.stream_id = %s AND e.event_type = 'MoneyTransferCreated'",
        [found[0], transfer],
    )
    yield int(found[0])
    owner.execute(FREE)


def _number(owner: psycopg.Connection, statement: str) -> int:
    found = owner.execute(statement).fetchone()
    assert found is not None
    return int(found[0])


def _shared_pages(owner: psycopg.Connection) -> dict[str, str]:
    """What an auditor sees, too."""
    debited = owner.execute(
        "SELECT id, stream_id, metadata ->> 'correlation_id' FROM eventstore_event"
        " WHERE event_type = 'AccountDebited' ORDER BY id LIMIT 1"
    ).fetchone()
    customer = owner.execute(
        "SELECT stream_id FROM eventstore_event WHERE event_type = 'CustomerRegistered' ORDER BY id LIMIT 1"
    ).fetchone()
    assert debited is not None
    assert customer is not None
    return {
        "index": "/admin/",
        "application": "/admin/eventstore/",
        "events": EVENTS,
        "events-none": f"{EVENTS}?actor=staff:nobody",
        "events-wrong": f"{EVENTS}?id=12",
        "event": f"{EVENTS}{debited[0]}/change/",
        "stream": f"{EVENTS}stream/account/{debited[1]}/",
        "stream-early": f"{EVENTS}stream/account/{debited[1]}/?version=1",
        "customer": f"{EVENTS}stream/customer/{customer[0]}/",
        "story": f"{EVENTS}story/{debited[2]}/",
        "operations": OPERATIONS,
    }


def _operators_pages(owner: psycopg.Connection, key: int) -> dict[str, str]:
    """What an operator alone sees."""
    member = _number(owner, "SELECT id FROM staff_staffmember WHERE username = 'teller'")
    own = _number(owner, "SELECT id FROM staff_staffmember WHERE username = 'operator'")
    role = _number(owner, "SELECT id FROM auth_group WHERE name = 'operator'")
    person = owner.execute("SELECT subject_id FROM eventstore_subject_key LIMIT 1").fetchone()
    assert person is not None
    return {
        "subscriptions": SUBSCRIPTIONS,
        "pause": f"{SUBSCRIPTIONS}pause/accounts.saga/",
        "parked": PARKED,
        "parked-key": f"{PARKED}{key}/change/",
        "snapshots": "/admin/eventstore/snapshot/",
        "requests": "/admin/eventstore/idempotencyrecord/",
        "keys": "/admin/eventstore/subjectkey/",
        "key": f"/admin/eventstore/subjectkey/{person[0]}/change/",
        "backlog": "/admin/eventstore/outboxentry/",
        "log": "/admin/eventstore/sequencer/",
        "head": "/admin/eventstore/sequencer/1/change/",
        "staff": STAFF,
        "member": f"{STAFF}{member}/change/",
        "member-own": f"{STAFF}{own}/change/",
        "member-history": f"{STAFF}{member}/history/",
        "member-password": f"{STAFF}{member}/password/",
        "new-member": f"{STAFF}add/",
        "roles": "/admin/auth/group/",
        "role": f"/admin/auth/group/{role}/change/",
        "tokens": "/admin/knox/authtoken/",
        "failed-log-ins": "/admin/axes/accessattempt/",
        "seals": "/admin/eventstore/seal/",
        "nowhere": "/admin/nowhere/",
    }


def _look_at(page: Page, pages: dict[str, str], *, theme: str, role: str) -> dict[str, object]:
    """What is wrong with the pages, at each width; and pictures of them."""
    wrong: dict[str, object] = {}
    for name, path in pages.items():
        page.set_viewport_size({"width": WIDTHS[0], "height": 800})
        page.goto(path)
        if findings := _grave_findings(page, theme):
            wrong[name] = findings
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            if width == NARROW and theme == "light" and (findings := _grave_findings(page, "narrow")):
                wrong[f"{name} at {width}, for who touches or types"] = findings
            if width <= PICTURED:
                keep_picture(page, f"admin-{name}-{role}-{theme}-{width}")
            if wide := _wider_than_the_window(page):
                wrong[f"{name} at {width}"] = wide
    return wrong


@pytest.mark.parametrize(("role", "theme"), [("operator", "light"), ("operator", "dark"), ("auditor", "light")])
def test_every_admin_page_is_accessible_and_fits(
    role: str, theme: str, open_as: Open, watch: Watch, owner: psycopg.Connection, parked: int
) -> None:
    pages = _shared_pages(owner) | (_operators_pages(owner, parked) if role == "operator" else {})
    page = open_as(role, "/admin/", theme=theme)
    watch.expect("404")  # the page that says that there is none
    assert _look_at(page, pages, theme=theme, role=role) == {}


def test_an_auditor_is_offered_nothing_to_do(open_as: Open, watch: Watch) -> None:
    page = open_as("auditor", "/admin/")
    named = page.locator("#content-main").get_by_role("link").all_inner_texts()
    assert {"Events", "Operations"} <= set(named)
    assert not {"Staff", "Parked", "Subscriptions"} & set(named)
    watch.expect("answer 403|status of 403")
    for path in (SUBSCRIPTIONS, PARKED, STAFF):
        answered = page.goto(path)
        assert answered is not None
        assert answered.status == 403


def _rows(page: Page) -> list[str]:
    """The addresses of the events that a list shows."""
    found: list[str] = page.locator("#result_list .field-what a").evaluate_all("all => all.map(one => one.href)")
    return found


def _search(page: Page, **fields: str) -> list[str]:
    page.goto(EVENTS)
    for label, text in fields.items():
        page.get_by_role("search", name="Search").get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(re.compile(r"\?"))
    return _rows(page)


def test_events_are_searched_for_by_stream_type_person_story_and_time(
    open_as: Open, owner: psycopg.Connection, teller_api: Api
) -> None:
    payer, payee = teller_api.account(balance="100.00"), teller_api.account(balance="0.00", name="Bob Baker")
    moved = teller_api.transfer(payer, payee, "1.00")
    page = open_as("auditor", EVENTS)
    stream = _search(page, Id=payer["account_id"])
    assert len(stream) == 2  # opened, debited
    page.get_by_role("link", name="AccountDebited", exact=True).click()
    story = page.locator(".es-facts a[href*='/story/']").inner_text()
    in_story = _search(page, Id=story)
    assert len(in_story) == 5  # created, debited, recorded, credited, recorded
    assert set(in_story) & set(stream)
    assert set(_search(page, **{"Id": story, "Type of event": "CreditRecorded"})) < set(in_story)
    by_teller = _search(page, Id=story, Who="staff:teller")
    expect(page.locator("#result_list .field-what")).to_have_text(["MoneyTransferCreated"])
    assert len(by_teller) == 1
    assert _search(page, Id=moved["transfer_id"], From="2100-01-01T00:00:00") == []
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    assert len(_search(page, Id=moved["transfer_id"], Until="2100-01-01T00:00:00")) == 3


def test_events_are_paged_by_key_there_and_back(open_as: Open) -> None:
    page = open_as("auditor", EVENTS)
    first = _rows(page)
    page.get_by_role("link", name="Older").click()
    page.wait_for_url(re.compile("before="))
    second = _rows(page)
    assert len(first) == len(second) == 50
    assert not set(first) & set(second)
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url(re.compile("after="))
    assert _rows(page) == first


def test_the_slider_shows_the_state_after_each_version(open_as: Open, teller_api: Api) -> None:
    account = teller_api.account(balance="10.00")
    for amount in ("1.00", "2.00", "3.00"):
        teller_api.post(f"/accounts/{account['account_id']}/deposits", {"amount": amount})
    page = open_as("auditor", f"{EVENTS}stream/account/{account['account_id']}/?version=1")
    slider = page.get_by_role("slider", name="Version")
    balance = page.locator(".es-state tr", has=page.get_by_role("rowheader", name="balance")).locator("td").first
    for version, expected in enumerate((1000, 1100, 1300, 1600), start=1):
        expect(page.get_by_role("heading", name=f"State after version {version}")).to_be_visible()
        expect(balance).to_have_text(str(expected))
        expect(page.locator(".es-chosen .es-version")).to_have_text(str(version))
        if version < 4:
            slider.press("ArrowRight")
            page.wait_for_url(re.compile(f"version={version + 1}$"))
    expect(page.locator(".es-changed").filter(has_text="balance")).to_contain_text("1300")


def test_causes_are_followed_from_the_end_of_a_transfer_to_its_beginning(open_as: Open, teller_api: Api) -> None:
    payer, payee = teller_api.account(balance="100.00"), teller_api.account(balance="0.00", name="Bob Baker")
    moved = teller_api.transfer(payer, payee, "1.00")
    page = open_as("auditor", f"{EVENTS}?id={moved['transfer_id']}&type=CreditRecorded")
    page.get_by_role("link", name="CreditRecorded", exact=True).click()
    for cause in ("AccountCredited", "DebitRecorded", "AccountDebited", "MoneyTransferCreated"):
        page.get_by_role("region", name="Why it happened").get_by_role("link", name=cause).click()
        expect(page.get_by_role("heading", name=cause, level=1)).to_be_visible()
    expect(page.get_by_role("region", name="Why it happened")).to_contain_text("A request:")
    page.get_by_role("region", name="What came of it").get_by_role("link", name="AccountDebited").click()
    expect(page.get_by_role("heading", name="AccountDebited", level=1)).to_be_visible()
    page.locator(".es-facts a[href*='/story/']").click()
    expect(page.locator(".es-tree > li")).to_have_count(5)


def _do(page: Page, verb: str, reason: str) -> None:
    """Confirms, with the reason."""
    page.get_by_label("Why", exact=True).fill(reason)
    page.get_by_role("button", name=verb, exact=True).click()


def _pause_or_resume(page: Page, verb: str, reason: str) -> None:
    page.goto(SUBSCRIPTIONS)
    section = page.get_by_role("region", name="accounts.saga", exact=True)
    section.get_by_role("link", name=verb).click()
    _do(page, verb, reason)
    page.wait_for_url(re.compile(f"{SUBSCRIPTIONS}$"))


def _until(holds: Callable[[], bool], page: Page, *, limit_seconds: float = 20) -> None:
    """Waits for what workers do."""
    for _ in range(int(limit_seconds * 10)):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come about")


def _recorded(page: Page, reason: str) -> str:
    """The line of the operations that gives this reason."""
    page.goto(OPERATIONS)
    row = page.locator("#result_list tbody tr").filter(has_text=reason)
    expect(row).to_have_count(1)
    keep_picture(page, "admin-operations-done-light-1280")
    assert row.locator("time").get_attribute("datetime")
    return row.inner_text()


def test_a_paused_subscription_waits_and_a_parked_transfer_is_retried_and_another_ended(
    open_as: Open, owner: psycopg.Connection, teller_api: Api
) -> None:
    payer, payee = teller_api.account(balance="100.00"), teller_api.account(balance="0.00", name="Bob Baker")
    page = open_as("operator", SUBSCRIPTIONS)
    _pause_or_resume(page, "Pause", "The clearing house is closed")
    expect(page.get_by_text("Paused by staff:operator: The clearing house is closed")).to_be_visible()
    keep_picture(page, "admin-subscriptions-paused-light-1280")
    between = {"from_account_id": payer["account_id"], "to_account_id": payee["account_id"]}
    transfers = [teller_api.post("/transfers", {**between, "amount": amount}) for amount in ("10.00", "20.00")]
    keys = [owner.execute(PARK, [UUID(one["transfer_id"])]).fetchone() for one in transfers]
    ids = [key[0] for key in keys if key is not None]
    _pause_or_resume(page, "Resume", "It is open again")
    _until(lambda: owner.execute(COUNT_BEHIND, [ids]).fetchone() == (2,), page)  # the runner set them aside itself

    page.goto(PARKED)
    expect(page.get_by_text("2 keys, 2 events behind them")).to_be_visible()
    expect(page.get_by_text("ValueError: 2")).to_be_visible()
    keep_picture(page, "admin-parked-two-light-1280")
    page.get_by_role("link", name=transfers[0]["transfer_id"]).click()
    page.get_by_role("button", name="Retry now …").click()
    _do(page, "Retry", "The account is whole again")
    # By a worker, which has other things to do on a busy machine.
    expect(page.get_by_text(re.compile("1 (handled and free again|will be tried within seconds)"))).to_be_visible()
    _until(lambda: teller_api.get(f"/transfers/{transfers[0]['transfer_id']}")["state"] == "COMPLETED", page)

    page.get_by_role("link", name=transfers[1]["transfer_id"]).click()
    page.get_by_role("button", name="Discard the first event …").click()
    expect(page.get_by_text("the transfer ends as if it had refused")).to_be_visible()
    keep_picture(page, "admin-discard-light-1280")
    assert _grave_findings(page) == []
    _do(page, "Discard", "The customer withdrew the order")
    expect(page.get_by_text(re.compile("Discarded the event at position"))).to_be_visible()
    expect(page.get_by_text("Nothing is parked")).to_be_visible()
    _until(lambda: teller_api.get(f"/transfers/{transfers[1]['transfer_id']}")["state"] == "REJECTED", page)
    assert teller_api.balance(payer) == "90.00"
    assert teller_api.balance(payee) == "10.00"

    for reason, action in {
        "The clearing house is closed": "pause",
        "It is open again": "resume",
        "The account is whole again": "retry",
        "The customer withdrew the order": "discard",
    }.items():
        line = _recorded(page, reason)
        assert "staff:operator" in line
        assert action in line
        assert "accounts.saga" in line


def test_it_does_nothing_without_a_reason_and_says_so_beside_the_field(
    open_as: Open, watch: Watch, parked: int
) -> None:
    watch.expect("422")
    page = open_as("operator", f"{PARKED}{parked}/change/")
    page.get_by_role("button", name="Retry now …").click()
    page.get_by_label("Why", exact=True).fill(" ")
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_text("Say why, in a few words.")).to_be_visible()
    assert _grave_findings(page) == []


def test_the_words_of_the_trail_are_the_banks_own(open_as: Open, parked: int) -> None:
    page = open_as("operator", f"{PARKED}{parked}/change/")
    trail = page.get_by_role("navigation", name="Where this page is")
    words = ("Admin", "What runs", "Parked", r"Parked by accounts\.saga")
    expect(trail).to_have_text(re.compile(r"^\s*" + r"\s+\S\s+".join(words) + r"\s*$"))
    trail.get_by_role("link", name="Parked").click()
    assert urlsplit(page.url).path == PARKED
