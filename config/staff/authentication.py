"""How a request says who it is from: a token for people and programs, a session for the pages.

Invariant: a request with a token is told apart, and what its sender may do is known, with one query. Settings name
these classes.
"""

import re
from typing import Any, Final

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission
from django.db import connection
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed, Throttled

from config.staff.limits import refused_token_wait_seconds
from config.staff.models import StaffMember

# Whose token it is, and all that the member may do: by its roles, and by itself.
_SELECT_BEARER: Final = """
SELECT t.expiry, m.id, m.is_superuser, m.username, m.is_active, m.is_service,
    ARRAY(
        SELECT c.app_label || '.' || p.codename
        FROM auth_permission p JOIN django_content_type c ON c.id = p.content_type_id
        WHERE p.id IN (
            SELECT of_role.permission_id
            FROM staff_staffmember_groups g JOIN auth_group_permissions of_role ON of_role.group_id = g.group_id
            WHERE g.staffmember_id = m.id
            UNION ALL
            SELECT own.permission_id FROM staff_staffmember_user_permissions own WHERE own.staffmember_id = m.id
        )
    )
FROM knox_authtoken t JOIN staff_staffmember m ON m.id = t.user_id
WHERE t.digest = %s
"""

_TOKEN: Final = re.compile(r"[0-9a-f]{64}")
_FIELDS: Final = ("id", "is_superuser", "username", "is_active", "is_service")  # in the model's order: Django wants it
_KEPT: Final = "permissions_of_request"  # the attribute in which a member carries what it may do


class BearerAuthentication(TokenAuthentication):  # type: ignore[misc]
    """`Authorization: Bearer …` with a token from the log-in, or an API key. Only hashes are stored."""

    def authenticate(self, request: Any) -> tuple[StaffMember, AuthToken] | None:
        """The member and the token, or None without one. Raises AuthenticationFailed, and Throttled for who guesses."""
        try:
            found: tuple[StaffMember, AuthToken] | None = super().authenticate(request)
        except AuthenticationFailed:
            if seconds := refused_token_wait_seconds(request):
                raise Throttled(seconds) from None
            raise
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[StaffMember, AuthToken]:
        """The member, with its permissions, and the token. Raises AuthenticationFailed."""
        text = token.decode("latin-1")
        if not _TOKEN.fullmatch(text):  # nothing else is worth a query
            raise AuthenticationFailed
        digest = hash_token(text)
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_BEARER, [digest])
            found = cursor.fetchone()
        if found is None:
            raise AuthenticationFailed
        expiry, *values, permissions = found
        member = StaffMember.from_db(connection.alias, _FIELDS, values)  # other fields are read when asked for
        if not member.is_active or (expiry is not None and expiry < timezone.now()):
            raise AuthenticationFailed
        setattr(member, _KEPT, frozenset(permissions))
        return member, AuthToken(digest=digest, user=member, expiry=expiry)


class RoleBackend(ModelBackend):
    """Django's own backend, with all permissions of a member in one query: those of the roles, and its own."""

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> Any:
        """`app_label.codename` of each; kept on the user, and so for one request."""
        if obj is not None or user_obj.is_anonymous or not user_obj.is_active:
            return frozenset()
        if user_obj.is_superuser:
            return super().get_all_permissions(user_obj, obj)
        known: frozenset[str] | None = getattr(user_obj, _KEPT, None)
        if known is None:
            of_roles = Permission.objects.filter(group__user=user_obj)
            own = Permission.objects.filter(user=user_obj)
            columns = ("content_type__app_label", "codename")
            found = of_roles.order_by().values_list(*columns).union(own.order_by().values_list(*columns))
            known = frozenset(f"{label}.{codename}" for label, codename in found)
            setattr(user_obj, _KEPT, known)
        return known
