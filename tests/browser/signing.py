"""Logging in and out as a teller, for tests that end the session which they are in."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from config.demo import PASSWORD


def log_in(page: Page) -> None:
    """Fills in the log-in that is shown."""
    page.get_by_label("Name").fill("teller")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Signed in as teller")).to_be_visible()


def log_out_elsewhere(page: Page) -> Page:
    """Another tab of the browser, in which somebody has logged out."""
    other = page.context.new_page()
    other.goto("/password")
    other.get_by_label("Signed in as teller").click()
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("heading", name="Log in")).to_be_visible()
    return other
