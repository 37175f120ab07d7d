"""The staff pages as somebody at a desk uses them without a script: real requests, forms filled in and sent.

Used with `committed_db`, like `counter`, whose people it signs in.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from config.staff.roles import Role
from tests.integration.counter import member_of


class Form(HTMLParser):
    """The fields of the form on a page that is sent by POST to an address, as a browser would send them."""

    def __init__(self, html: str, *, action: str) -> None:
        super().__init__()
        self._action = action
        self._inside = False
        self._select = ""
        self.fields: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a field."""
        known = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = known.get("method") == "post" and known.get("action") == self._action
        elif self._inside and tag == "input" and known.get("name"):
            self.fields[known["name"]] = known.get("value", "")
        elif self._inside and tag == "select":
            self._select = known["name"]
        elif self._inside and tag == "option" and "selected" in known:
            self.fields[self._select] = known["value"]

    def handle_endtag(self, tag: str) -> None:
        """Leaves the form."""
        if tag == "form":
            self._inside = False


class Desk:
    """One member of staff at a browser."""

    def __init__(self, role: Role) -> None:
        self.member = member_of(role)
        self.client = Client()
        self.client.force_login(self.member)
        self.queries = 0

    def get(self, address: str, **headers: str) -> Any:
        """Looks at a page; `queries` is then how many it took."""
        with CaptureQueriesContext(connection) as captured:
            response = self.client.get(address, headers=headers)
        self.queries = len(captured)
        return response

    def form(self, address: str) -> dict[str, str]:
        """The fields of the form at an address."""
        response = self.get(address)
        assert response.status_code == 200, response.content
        found = Form(response.content.decode(), action=address).fields
        assert found, f"{address} has no form that is sent there"
        return found

    def send(self, address: str, fields: dict[str, str], **headers: str) -> Any:
        """Sends a form."""
        return self.client.post(address, fields, headers=headers)

    def fill_in(self, address: str, **fields: str) -> Any:
        """Opens a form, fills it in and sends it."""
        return self.send(address, self.form(address) | fields)
