"""How long the server takes for each page over a large book, of the staff and of the admin, for each role."""

from __future__ import annotations

import re
import statistics
import time
from typing import Final

from django.conf import settings

from bench.banks import fresh_bank
from bench.measuring import Comparison, Figures
from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.pages.desk import Desk
from tests.integration.pages.large_book import admin_addresses, large_book
from tests.integration.pages.test_shape import addresses
from tests.servers import Servers

NAME: Final = "daybook_bench"
ROLES: Final = (Role.TELLER, Role.SUPERVISOR, Role.AUDITOR, Role.OPERATOR)
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pages(servers: Servers, *, count: int, runs: int) -> list[Comparison]:  # noqa: ARG001 - each page has its own runs
    """For each role the pages it may see, one figure a page: the median of `count` times, after one to warm up."""
    settings.ALLOWED_HOSTS.append("testserver")
    with fresh_bank(servers, name=NAME):
        database = Database(
            name=NAME,
            app_url=servers.database_url(name=NAME, login=servers.app),
            owner_url=servers.database_url(name=NAME, login=servers.owner),
            redis_url=servers.redis_url,
        )
        book = large_book(database)
        every = [*addresses(book), *admin_addresses(book)]
        return [_as_role(role, every, count=count) for role in ROLES]


def _as_role(role: Role, every: list[str], *, count: int) -> Comparison:
    desk = Desk(role)
    seen = [address for address in every if desk.client.get(address).status_code == 200]
    took = {address: statistics.median(_milliseconds(desk, address) for _ in range(count)) for address in seen}
    slowest = _ID.sub("…", max(took, key=lambda address: took[address]))
    what = f"a page as {role.value}, the slowest of {len(took)} being {slowest}"
    return Comparison(ours=Figures(what=what, unit="ms", runs=list(took.values())))


def _milliseconds(desk: Desk, address: str) -> float:
    began = time.perf_counter()
    desk.client.get(address)
    return (time.perf_counter() - began) * 1_000
