"""How a request says who it is from: a token for people and programs, a session for the pages.

Invariant: signing in costs one query, and what its role permits another. Settings name these classes.
"""

import re
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission
from django.utils import timezone
from drf_spectacular.contrib.knox_auth_token import KnoxTokenScheme
from knox.auth import TokenAuthentication
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from config.staff.models import StaffMember

_TOKEN = re.compile(rb"[0-9a-f]{64}")


class BearerAuthentication(TokenAuthentication):
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


class BearerScheme(KnoxTokenScheme):  # type: ignore[no-untyped-call]
    """How the OpenAPI schema describes it."""

    target_class = "config.staff.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """The scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of `POST auth/login`, or an API key made with `manage.py create_api_key`.",
        }


class RoleBackend(ModelBackend):
    """Django's own backend, with all permissions of a member in one query: those of the roles, and its own."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        """`app_label.codename` of each; kept on the user, and so for one request."""
        if obj is not None or user_obj.is_anonymous or not user_obj.is_active:
            return set()
        if user_obj.is_superuser:
            return super().get_all_permissions(user_obj, obj)
        if not hasattr(user_obj, "_perm_cache"):
            of_roles = Permission.objects.filter(group__user=user_obj)
            own = Permission.objects.filter(user=user_obj)
            columns = ("content_type__app_label", "codename")
            found = of_roles.order_by().values_list(*columns).union(own.order_by().values_list(*columns))
            user_obj._perm_cache = {f"{label}.{codename}" for label, codename in found}
        permissions: set[str] = user_obj._perm_cache
        return permissions
