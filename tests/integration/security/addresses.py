"""Every address that Daybook answers, from its own table of addresses, and something to fill each in with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from django.urls import URLResolver, get_resolver

PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_EXPRESSIONS: Final = {  # routes that are regular expressions, each with an address that it matches
    r"^api(/(?s:.*))?\Z": "api/nowhere",
    "admin/(?P<url>.*)$": "admin/nowhere",
}
_APP_LIST: Final = re.compile(r"^admin/\^\(\?P<app_label>.*\)/\$$")


def routes() -> Iterator[str]:
    """Each route once; the list of applications of the admin under a name that does not change with them."""
    yield from sorted({_APP_LIST.sub("admin/<app_label>/", route) for route, _ in views()})


def views() -> Iterator[tuple[str, Any]]:
    """Each route with its view."""
    yield from _walk(get_resolver().url_patterns, "")


def _walk(patterns: Any, before: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        else:
            yield route, pattern.callback


def path_of(route: str, things: dict[str, UUID | int | str]) -> str:
    """An address of the route, with those things in it."""
    if route in _EXPRESSIONS:
        return f"/{_EXPRESSIONS[route]}"
    kind = re.match(r"admin/(\w+)/(\w+)/", route)
    known = things | {"object_id": things.get(f"{kind[1]}.{kind[2]}", 1) if kind else 1}
    return "/" + PARAMETER.sub(lambda found: str(known[found[1]]), route)
