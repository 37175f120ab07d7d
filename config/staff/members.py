"""Making those who sign in: people with a password, programs with an API key.

Invariant: a key or a password is never stored readable and never logged. Imported by the commands and the demo data.
"""

from collections.abc import Set
from datetime import datetime
from typing import Final

import msgspec
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from knox.models import AuthToken

from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.visible import has_unprintable, has_visible

ADMIN_ROLES: Final = frozenset({Role.OPERATOR, Role.AUDITOR})
"""Whose work is in the admin site, too; what they may do there, their permissions say."""


COUNTER_ROLES: Final = frozenset({Role.TELLER, Role.SUPERVISOR})
"""Whose work moves money."""


LONGEST_PASSWORD: Final = 1_000
"""Characters, as every log-in takes them."""


class MemberRefused(Exception):
    """Nobody of that name can be made."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new API key; the only moment at which it can be read."""

    key: str
    role: Role
    expires_at: datetime


def create_person(*, name: str, role: Role, password: str, check_password: bool = True) -> StaffMember:
    """Makes a person who signs in with a password. Raises `MemberRefused` with the reason for people."""
    if role is Role.SERVICE:
        raise MemberRefused("A program has no password: use `manage.py create_api_key`.")
    member = StaffMember(username=clean_name(name), is_staff=role in ADMIN_ROLES)
    _check_fields(member)
    _check_text(password)
    if check_password:
        _check_password(member, password)
    member.set_password(password)
    return _save(member, role)


def create_api_key(*, name: str, role: Role | None = None, replace: bool = False) -> ApiKey:
    """Makes a program, or finds it, and gives it its one key, valid for `API_KEY_TTL`. A new one needs a role.

    Raises `MemberRefused`, also when the program has a key that is still good, unless that is to be replaced.
    """
    with transaction.atomic():
        known = _member(name)
        if known is not None:
            member, role = known, _role_of_program(known, role)
        elif role is not None:
            member = _new_program(name, role)
        else:
            raise MemberRefused(f"There is no program named {name} yet: say with --role what it may do.")
        if replace:
            _keys(member).delete()
        elif _keys(member).filter(expiry__gt=timezone.now()).exists():
            raise MemberRefused(f"{name} has a key already: add --replace to revoke it and make a new one.")
        token, key = AuthToken.objects.create(member, expiry=settings.API_KEY_TTL)
    return ApiKey(key=key, role=role, expires_at=token.expiry)


def revoke_api_keys(*, name: str) -> int:
    """Revokes all keys of a program; it remains. Answers with how many. Raises `MemberRefused`."""
    with transaction.atomic():
        known = _member(name)
        if known is None:
            raise MemberRefused(f"There is no program named {name}.")
        if not known.is_service:
            raise MemberRefused(f"{name} is a person, who has no API key.")
        revoked, _ = _keys(known).delete()
    return revoked


def clean_name(name: str) -> str:
    """The name of a new member as the log-in looks for it: NFKC, so that wide letters are the usual ones.

    Raises `MemberRefused` for one that looks like nothing, or like another, and for one that somebody has, be it in
    other capitals.
    """
    name = StaffMember.normalize_username(name)
    if not has_visible(name):
        raise MemberRefused("This name has nothing in it that can be seen.")
    if has_unprintable(name):
        raise MemberRefused("This name has a character in it that cannot be seen.")
    if StaffMember.objects.filter(username__iexact=name).exists():
        raise MemberRefused(f"There is a {name} already.")
    return name


def check_roles(roles: Set[str], *, is_service: bool) -> None:
    """Keeps apart what one member must not be at once, a program no less than a person: somebody has its key.

    Raises `MemberRefused` with the reason for people.
    """
    if not is_service and Role.SERVICE in roles:
        raise MemberRefused("The role service is for programs: manage.py create_api_key makes one.")
    if not ADMIN_ROLES.isdisjoint(roles) and not (COUNTER_ROLES | {Role.SERVICE}).isdisjoint(roles):
        raise MemberRefused("Who runs or audits Daybook does not move money: choose either kind of role.")
    if roles >= ADMIN_ROLES:
        raise MemberRefused("Who audits operators is not one of them: choose operator or auditor.")


def end_access(member: StaffMember) -> None:
    """Signs a member out everywhere: tokens, API keys and sessions are gone, and do not come back with the member."""
    _keys(member).delete()
    live = Session.objects.filter(expire_date__gt=timezone.now()).only("session_data")
    theirs = [one.pk for one in live.iterator() if one.get_decoded().get(SESSION_KEY) == str(member.pk)]
    Session.objects.filter(pk__in=theirs).delete()


def _member(name: str) -> StaffMember | None:
    """The member of that name, locked: one command at a time sees to the keys of a program."""
    return StaffMember.objects.select_for_update().filter(username=name).first()


def _keys(member: StaffMember) -> QuerySet[AuthToken]:
    found: QuerySet[AuthToken] = AuthToken.objects.filter(user=member)
    return found


def _new_program(name: str, role: Role) -> StaffMember:
    member = StaffMember(username=clean_name(name), is_service=True)
    _check_fields(member)
    member.set_unusable_password()
    return _save(member, role)


def _role_of_program(member: StaffMember, role: Role | None) -> Role:
    """What a known program may do, which is `role` where that is given. Raises `MemberRefused`."""
    if not member.is_service:
        raise MemberRefused(f"{member.username} is a person; give the program a name of its own.")
    if not member.is_active:
        raise MemberRefused(f"{member.username} was deactivated.")
    roles = sorted(member.groups.values_list("name", flat=True))
    if role is None and len(roles) == 1:
        return Role(roles[0])
    if role is None or roles != [role.value]:
        wanted = "one role" if role is None else role.value
        raise MemberRefused(f"{member.username} has the role {' and '.join(roles) or 'none'}, not {wanted}.")
    return role


def _save(member: StaffMember, role: Role) -> StaffMember:
    with transaction.atomic():
        member.save()
        member.groups.add(Group.objects.get(name=role.value))
    return member


def _check_fields(member: StaffMember) -> None:
    try:
        member.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise MemberRefused(" ".join(error.messages)) from error


def _check_text(password: str) -> None:
    """Refuses a password that no log-in could be sent, or would take. Raises `MemberRefused`."""
    if len(password) > LONGEST_PASSWORD:
        raise MemberRefused(f"A password has at most {LONGEST_PASSWORD:,} characters.")
    if "\0" in password or any("\ud800" <= one <= "\udfff" for one in password):
        raise MemberRefused("A password is text in UTF-8, without the character NUL.")


def _check_password(member: StaffMember, password: str) -> None:
    try:
        validate_password(password, member)
    except ValidationError as error:
        raise MemberRefused(" ".join(error.messages)) from error
