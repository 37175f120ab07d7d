"""The frame of every page: its navigation by role, the theme, and the reader's time zone.

Theme and zone are the browser's own cookies, so that the first paint is right without a script; neither says anything
about a person. Named in the settings: a context processor and a middleware.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from accounts.permissions import AccountsPermission
from transfers.permissions import TransfersPermission
from views_readmodel.delay import posting_is_delayed
from views_readmodel.pages.theme import theme_of

ZONE_COOKIE: Final = "zone"
DIALOG: Final = "dialog-inside"
"""The id of the element that htmx puts dialogs into."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the navigation."""

    word: str
    address: str
    here: bool


_PLACES: Final = (
    # word, name of the address, beginning of the addresses below it, permission
    ("Customers", "customers", "/customers", AccountsPermission.VIEW_CUSTOMERS),
    ("Accounts", "accounts", "/accounts", AccountsPermission.VIEW_ACCOUNTS),
    ("Transfers", "transfers", "/transfers", TransfersPermission.VIEW_TRANSFERS),
)


def shell(request: HttpRequest) -> dict[str, Any]:
    """What the base template needs; nothing is asked before it is shown."""
    return {
        "places": lambda: _places(request),
        "theme": theme_of(request),
        "zone_name": str(timezone.get_current_timezone()),
        "now": timezone.now(),
        "posting_is_delayed": lambda: request.user.is_authenticated and posting_is_delayed(),
        # A form is the same in a dialog and on a page of its own; only what stands around it differs.
        "layout": "layouts/dialog.html" if _asks_for_dialog(request) else "base.html",
    }


def _places(request: HttpRequest) -> list[Place]:
    user = request.user
    if not user.is_authenticated:
        return []
    found = [Place(word="Today", address=reverse("today"), here=request.path == "/")]
    found += [
        Place(word=word, address=reverse(name), here=request.path.startswith(below))
        for word, name, below, permission in _PLACES
        if user.has_perm(permission)
    ]
    if user.is_staff:
        with suppress(NoReverseMatch):  # where the admin is not served
            found.append(Place(word="Admin", address=reverse("admin:index"), here=False))
    return found


def _asks_for_dialog(request: HttpRequest) -> bool:
    htmx = getattr(request, "htmx", None)
    return htmx is not None and htmx.target == DIALOG


def zone_middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Shows times in the reader's zone, which the log-in page told us; else in the bank's."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(_zone(request.COOKIES.get(ZONE_COOKIE, ""))):
            return get_response(request)

    return answer


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, empty, or no name of a zone at all
        return ZoneInfo(settings.BANK_TIME_ZONE)
