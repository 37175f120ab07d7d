"""Roles: the one table that says who may do what.

A role is a Django group of that name. After every migration the groups get exactly the permissions of this table,
however they were changed before; what one program needs besides is granted to it alone.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from django.apps import apps as all_apps
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db import router

from accounts.permissions import AccountsPermission
from transfers.permissions import TransfersPermission


class Role(StrEnum):
    """What somebody is at the bank."""

    TELLER = "teller"
    SUPERVISOR = "supervisor"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    SERVICE = "service"


_SEES_THE_BANK: Final = frozenset(
    {AccountsPermission.VIEW_CUSTOMERS, AccountsPermission.VIEW_ACCOUNTS, TransfersPermission.VIEW_TRANSFERS}
)
_AT_THE_COUNTER: Final = _SEES_THE_BANK | {
    AccountsPermission.REGISTER_CUSTOMER,
    AccountsPermission.CHANGE_CUSTOMER,
    AccountsPermission.OPEN_ACCOUNT,
    AccountsPermission.DEPOSIT,
    AccountsPermission.WITHDRAW,
    TransfersPermission.CREATE_TRANSFER,
}
_SEES_THE_STORE: Final = frozenset(
    {"eventstore.view_event", "eventstore.view_logentry", "eventstore.view_operation", "eventstore.view_seal"}
)
_RUNS_THE_STORE: Final = _SEES_THE_STORE | {
    "eventstore.view_checkpoint",
    "eventstore.view_outboxentry",
    "eventstore.view_parkedevent",
    "eventstore.view_parkedkey",
    "eventstore.view_sequencer",
    "eventstore.view_snapshot",
    "eventstore.view_subjectkey",  # whose key there is; the keys are shown to nobody
    "eventstore.view_idempotencyrecord",
    "eventstore.change_checkpoint",  # pause and resume
    "eventstore.change_parkedkey",  # retry and discard
}
_RUNS_THE_STAFF: Final = frozenset(
    {
        "staff.add_staffmember",
        "staff.change_staffmember",
        "staff.view_staffmember",
        "auth.view_group",
        "knox.view_authtoken",
        "knox.delete_authtoken",  # revoke
        "axes.view_accessattempt",
        "axes.delete_accessattempt",  # let in who is locked out
    }
)

PERMISSIONS_OF: Final[Mapping[Role, frozenset[str]]] = MappingProxyType(
    {
        Role.TELLER: _AT_THE_COUNTER,
        Role.SUPERVISOR: _AT_THE_COUNTER
        | {
            AccountsPermission.REVERSE_ENTRY,
            AccountsPermission.FREEZE_ACCOUNT,
            AccountsPermission.CLOSE_ACCOUNT,
            AccountsPermission.PAY_OUT_CLOSED_ACCOUNT,
        },
        Role.AUDITOR: _SEES_THE_BANK | _SEES_THE_STORE,
        Role.OPERATOR: _RUNS_THE_STORE | _RUNS_THE_STAFF,
        Role.SERVICE: _AT_THE_COUNTER,
    }
)
"""What each role may do. A supervisor is a teller with more rights; an operator moves no money."""


class PermissionUnknown(Exception):
    """The table of roles names a permission that no application declares."""


def apply_roles(*, using: str, apps: Apps = all_apps, **_: Any) -> None:
    """Makes the groups of the roles and gives each exactly its permissions; harmless when repeated.

    Raises `PermissionUnknown`.
    """
    try:
        apps.get_model("auth", "Group")
    except LookupError:  # migrated back to before there were groups
        return
    if not router.allow_migrate_model(using, Group):
        return
    for label in sorted({name.partition(".")[0] for names in PERMISSIONS_OF.values() for name in names}):
        # Django makes an application's permissions in its own turn, which may be after ours.
        create_permissions(all_apps.get_app_config(label), verbosity=0, interactive=False, using=using, apps=apps)
    for role, names in PERMISSIONS_OF.items():
        group, _created = Group.objects.using(using).get_or_create(name=role.value)
        group.permissions.set(_permissions(names, using=using))


def _permissions(names: Iterable[str], *, using: str) -> list[Permission]:
    wanted = {str(name) for name in names}
    codenames = {name.partition(".")[2] for name in wanted}
    known = Permission.objects.using(using).filter(codename__in=codenames).select_related("content_type")
    found = {f"{known_one.content_type.app_label}.{known_one.codename}": known_one for known_one in known}
    if missing := wanted - found.keys():
        raise PermissionUnknown(", ".join(sorted(missing)))
    return [found[name] for name in sorted(wanted)]
