"""Who listens: the person behind the session cookie, and which kinds of streams their role may know of.

Invariant: as strict as a page: the host must be ours, the session valid, the person active, and their password their
own. Runs in a thread, once per stream that is opened; a stream lives a minute, so that a log-out ends it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import DisallowedHost
from django.db import close_old_connections
from django.http import HttpRequest, parse_cookie

from accounts.permissions import AccountsPermission
from transfers.permissions import TransfersPermission

_MAY_KNOW: Final = {
    "account": AccountsPermission.VIEW_ACCOUNTS,
    "customer": AccountsPermission.VIEW_CUSTOMERS,
    "transfer": TransfersPermission.VIEW_TRANSFERS,
}


class NotSignedIn(Exception):
    """There is no valid session."""


class PasswordIsGiven(Exception):
    """They have to choose a password of their own first, and are shown nothing before."""


class Listener(NamedTuple):
    """Somebody who may listen."""

    person: str
    types: frozenset[str]  # of the streams that they may know of


def listener_of(request: HttpRequest) -> Listener:
    """The person, and the types of streams that they may know of.

    Raises `NotSignedIn`, `PasswordIsGiven`, DisallowedHost.
    """
    close_old_connections()
    try:
        request.get_host()
        session: Any = import_module(settings.SESSION_ENGINE).SessionStore(_session_key(request))
        request.session = session
        user = get_user(request)
        if not user.is_authenticated:
            raise NotSignedIn
        if getattr(user, "password_is_given", False):
            raise PasswordIsGiven
        types = frozenset(name for name, permission in _MAY_KNOW.items() if user.has_perm(permission))
        return Listener(str(user.pk), types)
    finally:
        close_old_connections()


def _session_key(request: HttpRequest) -> str | None:
    cookies: dict[str, str] = parse_cookie(request.META.get("HTTP_COOKIE", ""))
    return cookies.get(settings.SESSION_COOKIE_NAME)


__all__ = ["DisallowedHost", "Listener", "NotSignedIn", "PasswordIsGiven", "listener_of"]
