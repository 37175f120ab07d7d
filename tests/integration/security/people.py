"""Everybody who may come: nobody, each role, a program, and somebody who was let go. With what each of them sends.

People come to the API with a token and to everything else with a session; a program has its key and nothing else.
Whoever was let go still holds both.
"""

from __future__ import annotations

from typing import Any, Final

from django.test import Client
from knox.models import AuthToken

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.ids import new_id
from tests.integration.counter import member_of

NOBODY: Final = "nobody"
DEACTIVATED: Final = "deactivated"
PEOPLE: Final = (NOBODY, *(role.value for role in Role), DEACTIVATED)
_API: Final = "/api/"


class Visitor:
    """One of them, with a browser and a token."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.browser = Client(raise_request_exception=False)
        self.token = ""
        if who == NOBODY:
            return
        role = Role.SUPERVISOR if who == DEACTIVATED else Role(who)
        self.member = member_of(role, name=f"{who}-{new_id()}")
        _, self.token = AuthToken.objects.create(self.member)
        if role is not Role.SERVICE:
            self.browser.force_login(self.member)
        if who == DEACTIVATED:
            StaffMember.objects.filter(pk=self.member.pk).update(is_active=False)

    def ask(self, method: str, path: str, body: Any = b"", content_type: str = "", **headers: str) -> Any:
        """Any method at any address, as this visitor can."""
        sent = dict(headers)
        comes_with_token = self.token and (path.startswith(_API) or self.who == Role.SERVICE)
        if comes_with_token:
            sent["Authorization"] = f"Bearer {self.token}"
        client = Client(raise_request_exception=False) if comes_with_token else self.browser
        return client.generic(method, path, body, content_type or "application/octet-stream", headers=sent)
