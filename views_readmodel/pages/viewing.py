"""What every page has in common: who may see it, how it is answered, and how its lists go on.

    @page(AccountsPermission.VIEW_ACCOUNTS)
    def account(request, account_id): ...

Invariant: a view without the mark `required_permission` is no page of ours; a test walks all addresses and looks.
Nothing that was shown is kept by a browser or a proxy: the next person at the counter must not find it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Final, TypeVar

import msgspec
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, InterfaceError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django_htmx.http import HttpResponseClientRedirect
from rest_framework.exceptions import ValidationError

from eventstore.failures import is_passing
from eventstore.rest.cursors import decode_cursor, name_of_list, page_of
from eventstore.rest.freshness import asking_as
from eventstore.rest.requests import MAX_VERSION
from views_readmodel.pages.failures import not_allowed, unavailable

K = TypeVar("K")
R = TypeVar("R")
View = Callable[..., HttpResponseBase]

Version = Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
"""A version as the key of a list."""

PAGE_ROWS: Final = 25
LONGEST_SEARCH: Final = 100
SIGNED_IN: Final = "signed in"
"""Instead of a permission: whoever is signed in, whatever the role."""
ANYBODY: Final = "anybody"
"""Instead of a permission: nobody need be signed in."""


def page(permission: str, *, methods: Sequence[str] = ("GET", "HEAD")) -> Callable[[View], View]:
    """Marks and guards a view: who is not signed in is asked to, who may not is told so, and nothing is cached."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method not in methods:
                return not_allowed(request, methods=methods)
            try:
                response = _guard(request, str(permission), methods)
                if response is None:
                    with asking_as() as tell_principal:
                        if permission != ANYBODY:
                            tell_principal(str(request.user.pk))
                        response = view(request, *args, **kwargs)
            except (DatabaseError, InterfaceError) as error:
                if not is_passing(error):
                    raise
                response = unavailable(request)
            add_never_cache_headers(response)  # no-store, private
            return response

        guarded.required_permission = str(permission)  # type: ignore[attr-defined]
        guarded.methods = tuple(methods)  # type: ignore[attr-defined]
        return guarded

    return decorate


def _guard(request: HttpRequest, permission: str, methods: Sequence[str]) -> HttpResponseBase | None:
    if permission == ANYBODY:
        return None
    if not request.user.is_authenticated:
        return ask_to_sign_in(request, comes_back="GET" in methods)
    if permission != SIGNED_IN and not request.user.has_perm(permission):
        raise PermissionDenied
    return None


def ask_to_sign_in(request: HttpRequest, *, comes_back: bool) -> HttpResponseBase:
    """To the log-in, and back if there is a page to come back to.

    What htmx asked for is refused instead: the page stays, and with it what was typed.
    """
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=401)
    if not comes_back:
        return HttpResponseRedirect(reverse("log-in"))
    return redirect_to_login(request.get_full_path(), reverse("log-in"))


def go_to(request: HttpRequest, address: str) -> HttpResponse:
    """On to another page, after a form was done: for htmx and without."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRedirect(address)
    return HttpResponseRedirect(address, status=303)


def typed(request: HttpRequest, name: str) -> str:
    """What somebody typed into a search box: trimmed, bounded, and fit to be asked of a database."""
    return request.GET.get(name, "").replace("\0", "").strip()[:LONGEST_SEARCH]


def listed(
    request: HttpRequest, rows: Callable[[Any, int], Sequence[R]], *, key: Callable[[R], K], key_type: Any
) -> tuple[Sequence[R], str]:
    """One page of a list, and the address of the next, "" when there is none.

    `rows(after, limit)` reads. Raises Http404 for a cursor that no list of ours made.
    """
    query = request.GET.copy()
    cursor = query.pop("cursor", [None])[-1]
    list_name = name_of_list(request.path, dict(query.lists()))
    try:
        after = decode_cursor(cursor, key_type, list_name=list_name)
    except ValidationError as error:
        raise Http404 from error
    shown, cursor = page_of(rows(after, PAGE_ROWS + 1), limit=PAGE_ROWS, key=key, list_name=list_name)
    if cursor is None:
        return shown, ""
    query["cursor"] = cursor
    return shown, f"{request.path}?{query.urlencode()}"
