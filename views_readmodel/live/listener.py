"""Who listens: the person behind the session cookie, and which kinds of streams their role may know of.

Invariant: as strict as a page: the host must be ours, the session valid, the person active. Runs in a thread, once per
stream that is opened; a stream lives a minute, so that a log-out ends it.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import DisallowedHost
from django.db import close_old_connections
from django.http import HttpRequest

from accounts.permissions import AccountsPermission
from transfers.permissions import TransfersPermission

_MAY_KNOW: Final = {
    "account": AccountsPermission.VIEW_ACCOUNTS,
    "customer": AccountsPermission.VIEW_CUSTOMERS,
    "transfer": TransfersPermission.VIEW_TRANSFERS,
}


class NotSignedIn(Exception):
    """There is no valid session."""


def stream_types_of(headers: dict[str, str]) -> frozenset[str]:
    """The types of streams that the person may know of. Raises `NotSignedIn`, DisallowedHost."""
    close_old_connections()
    try:
        request = _request(headers)
        request.get_host()
        user = get_user(request)
        if not user.is_authenticated:
            raise NotSignedIn
        return frozenset(name for name, permission in _MAY_KNOW.items() if user.has_perm(permission))
    finally:
        close_old_connections()


def _request(headers: dict[str, str]) -> HttpRequest:
    """As much of a request as Django needs to know whose it is."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError as error:
        raise NotSignedIn from error
    found = cookies.get(settings.SESSION_COOKIE_NAME)
    request: Any = HttpRequest()
    request.META["HTTP_HOST"] = headers.get("host", "")
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(found.value if found else None)
    checked: HttpRequest = request
    return checked


__all__ = ["DisallowedHost", "NotSignedIn", "stream_types_of"]
