"""Who may do what: everybody, at every address, by every method. What is not in the table fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

import pytest
from axes.models import AccessAttempt
from pytest_django import Settings

from eventstore.models import OutboxEntry
from tests.conftest import Database
from tests.integration.admins import fill_store
from tests.integration.security.access_table import COLUMNS, METHODS, table
from tests.integration.security.addresses import routes
from tests.integration.security.bank import Bank, everything
from tests.integration.security.people import DEACTIVATED, NOBODY, PEOPLE, Visitor

KINDS: Final = re.compile(r"<\w+:")
ADMINS: Final = ("auditor", "operator")
SIGNS_OUT: Final = ("log-out", "logout", "log-in")


def _named(route: str) -> str:
    """The route as the table has it: parameters without their kinds."""
    return KINDS.sub("<", route)


@pytest.fixture
def bank(fresh_database: Database, settings: Settings) -> Bank:
    """A bank with something of everything, whose passwords are quick to check."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    fill_store()
    OutboxEntry.objects.all().delete()  # it stood for an event that has its place already
    AccessAttempt.objects.create(username="somebody", ip_address="192.0.2.1", failures_since_start=1)
    return Bank()


def test_every_address_is_in_the_table_and_nothing_else_is() -> None:
    assert {_named(route) for route in routes()} == set(table())


def _expected(who: str) -> Iterator[tuple[str, str, int]]:
    """Route, method and answer, for one of them."""
    column = COLUMNS.index(NOBODY if who == DEACTIVATED else who)
    answers = table()
    for route in routes():
        for method in METHODS:
            yield route, method, answers.get(_named(route), {}).get(method, (0,) * 6)[column]


def _is_refused(who: str, route: str, answer: int) -> bool:
    if route == "api/v1/auth/login":  # a failed log-in is counted, whoever it is
        return False
    return answer >= 400 or (answer == 302 and not (route.startswith("admin") and who in ADMINS))


@pytest.mark.parametrize("who", PEOPLE)
def test_everybody_is_answered_as_the_table_says(bank: Bank, who: str) -> None:
    visitor = Visitor(who)
    refused = [row for row in _expected(who) if _is_refused(who, row[0], row[2])]
    allowed = [row for row in _expected(who) if not _is_refused(who, row[0], row[2])]
    assert len(refused) > len(allowed)

    requests = [(*row, bank.request(row[0], row[1])) for row in refused]
    before = everything()
    wrong = [_wrong(visitor, method, answer, request) for _, method, answer, request in requests]
    after = everything()
    assert {name for name in before if before[name] != after[name]} == set()  # who is refused writes nothing

    for route, method, answer in allowed:
        is_write = method in ("POST", "PATCH") and not route.startswith("admin")
        if is_write or route.startswith("accounts/"):  # whose pages say what its state allows
            bank.renew()
        if is_write:
            bank.prepare(route)
        somebody = Visitor(who) if any(part in route for part in SIGNS_OUT) else visitor
        wrong.append(_wrong(somebody, method, answer, bank.request(route, method)))
    assert [line for line in wrong if line] == []


def _wrong(visitor: Visitor, method: str, expected: int, request: tuple[str, bytes, str]) -> str:
    """What is wrong with the answer, in a line; "" when it is as expected."""
    path, body, content_type = request
    answered = visitor.ask(method, path, body, content_type, **{"Idempotency-Key": str(uuid4())})
    if answered.status_code >= 400 and path.startswith("/api/"):
        assert answered.headers["Content-Type"] == "application/problem+json", f"{method} {path}"
        assert method == "HEAD" or json.loads(answered.content)["code"], f"{method} {path}"
    if answered.status_code == expected:
        return ""
    return f"{visitor.who}: {method} {path} is answered {answered.status_code}, not {expected}"
