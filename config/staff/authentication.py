"""How a request says who it is from: a token for people and programs, a session for the pages.

Invariant: signing in costs one query, and what its role permits another. Settings name these classes.
"""

import re
from typing import Any, Final

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from config.staff.models import StaffMember

_TOKEN: Final = re.compile(rb"[0-9a-f]{64}")
_KEPT: Final = "permissions_of_request"  # the attribute in which a member carries what it may do


class BearerAuthentication(TokenAuthentication):  # type: ignore[misc]
    """`Authorization: Bearer …` with a token from the log-in, or an API key. Only hashes are stored."""

    def authenticate_credentials(self, token: bytes) -> tuple[StaffMember, AuthToken]:
        """The member and the token. Raises AuthenticationFailed."""
        if not _TOKEN.fullmatch(token):  # nothing else is worth a query, or can be one
            raise AuthenticationFailed
        found: tuple[StaffMember, AuthToken] = super().authenticate_credentials(token)
        return found

    def _cleanup_token(self, auth_token: AuthToken) -> bool:
        """Whether the token has expired. Nothing is deleted while reading: that would cost a query each time."""
        return auth_token.expiry is not None and auth_token.expiry < timezone.now()


class RoleBackend(ModelBackend):
    """Django's own backend, with all permissions of a member in one query: those of the roles, and its own."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """`app_label.codename` of each; kept on the user, and so for one request."""
        if obj is not None or user_obj.is_anonymous or not user_obj.is_active:
            return set()
        if user_obj.is_superuser:
            return super().get_all_permissions(user_obj, obj)
        known: set[str] | None = getattr(user_obj, _KEPT, None)
        if known is None:
            of_roles = Permission.objects.filter(group__user=user_obj)
            own = Permission.objects.filter(user=user_obj)
            columns = ("content_type__app_label", "codename")
            found = of_roles.order_by().values_list(*columns).union(own.order_by().values_list(*columns))
            known = {f"{label}.{codename}" for label, codename in found}
            setattr(user_obj, _KEPT, known)
        return known
