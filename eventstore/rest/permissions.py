"""Who may call what: each handler of a view names the Django permission that it requires.

    @requires(AccountsPermission.DEPOSIT)
    def post(self, request, account_id): ...

Invariant: a handler that names none answers nobody. The schema and the tests read the same mark.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.core.exceptions import ImproperlyConfigured
from rest_framework.permissions import BasePermission

if TYPE_CHECKING:  # views import their permission classes
    from rest_framework.request import Request
    from rest_framework.views import APIView

H = TypeVar("H", bound=Callable[..., Any])

PUBLIC: Final = "public"
"""Instead of a permission: anybody, signed in or not."""

AUTHENTICATED: Final = "authenticated"
"""Instead of a permission: whoever is signed in, whatever the role."""

_MARK: Final = "required_permission"


def requires(permission: str) -> Callable[[H], H]:
    """Marks a handler method with the permission that it requires: `app_label.codename`, or one of the two above."""

    def mark(handler: H) -> H:
        setattr(handler, _MARK, str(permission))
        return handler

    return mark


def required_permission(view: type[APIView] | APIView, method: str) -> str | None:
    """What the view's handler of an HTTP method requires, or None when it has no handler or that says nothing."""
    return getattr(getattr(view, method.lower(), None), _MARK, None)


class HasRequiredPermission(BasePermission):
    """The permission class of every view."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the caller may use the handler. Raises ImproperlyConfigured when the handler does not say."""
        method = request.method or ""
        if method.lower() not in view.http_method_names or getattr(view, method.lower(), None) is None:
            # Then refused as a method, not as a person; where nobody need sign in, to anybody.
            return not request.authenticators or bool(request.user and request.user.is_authenticated)
        permission = required_permission(view, method)
        if permission is None:
            raise ImproperlyConfigured(f"{type(view).__qualname__}.{method.lower()} requires no permission")
        if permission == PUBLIC:
            return True
        if not (request.user and request.user.is_authenticated):
            return False
        return permission == AUTHENTICATED or request.user.has_perm(permission)
