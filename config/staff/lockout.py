"""Locks out who guesses passwords: by account, by address, and by both. django-axes asks and tells this handler.

Three counts, each over `LOCK_OUT_MINUTES` since the last failure it holds:

| failures of | limit | locks |
| --- | --- | --- |
| one account from one address | `LOCK_OUT_FAILURES` | that account from that address |
| one account from anywhere | `LOCK_OUT_FAILURES_OF_ACCOUNT` | that account, but not where its owner signed in lately |
| any account from one address | `LOCK_OUT_FAILURES_OF_ADDRESS` | that address |

Invariants: an attempt while locked is not looked at and does not prolong the lock, so that every lock ends; a stranger
cannot lock a person out of the desk they work at; a name that nobody has is counted like any other, and stored only as
a keyed hash, for it may be a password typed into the wrong field. Who ends a lock before its time is recorded with it,
where nobody can rewrite it. Nothing is asked but when somebody signs in.
"""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

import structlog
from axes.handlers.base import AbstractAxesHandler, AxesBaseHandler
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from config.addresses import client_address, spelled
from config.paths import is_by_api
from config.staff.models import StaffMember
from eventstore import operations
from eventstore.rest.problems import problem_response
from views_readmodel.pages.sessions import locked_out

_log = structlog.get_logger(__name__)

KNOWN_DAYS: Final = 30
"""How long an address counts as one where the account's owner works."""
_ROWS: Final = ("username", "attempt_time", "failures_since_start")

Row = tuple[str, datetime, int]

# One more failure of a name at an address; several at the same moment are all counted.
_COUNT: Final = """
INSERT INTO axes_accessattempt AS known (username, ip_address, attempt_time, failures_since_start,
    user_agent, http_accept, path_info, get_data, post_data)
VALUES (%s, %s, %s, 1, '', '', '', '', '')
ON CONFLICT (username, ip_address, user_agent) DO UPDATE
SET failures_since_start = known.failures_since_start + 1, attempt_time = EXCLUDED.attempt_time
"""


class LockOut(AbstractAxesHandler, AxesBaseHandler):  # type: ignore[misc]  # axes has no types
    """What django-axes calls around every log-in."""

    def is_locked(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        """Whether the attempt is not even looked at; the request then carries for how long."""
        request.locked_out_seconds = _locked_seconds(_key(credentials), client_address(request))
        return bool(request.locked_out_seconds)

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """How many failures the account has from this address."""
        rows = _failures(_key(credentials), client_address(request))
        return sum(failures for _, _, failures in rows)

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **_: Any) -> None:
        """Counts the failure, unless the attempt was refused because of earlier ones."""
        if request is None or request.axes_locked_out:
            return
        name, address = _key(credentials), client_address(request)
        prune()
        _count(name, address)
        _log.warning("log_in.failed", ip=address)
        if self.is_locked(request, credentials):
            request.axes_locked_out = True
            _log.warning("log_in.locked_out", ip=address, seconds=request.locked_out_seconds)

    def user_logged_in(self, sender: Any, request: Any, user: Any, **_: Any) -> None:
        """Forgets the failures of this account at this address, and remembers that its owner works there."""
        address = client_address(request)
        if address is None:
            return
        name = user.get_username()
        AccessAttempt.objects.filter(username=name, ip_address=address).delete()
        now = timezone.now()
        if not AccessLog.objects.filter(username=name, ip_address=address).update(attempt_time=now):
            AccessLog.objects.create(username=name, ip_address=address)
        prune()

    def user_logged_out(self, sender: Any, request: Any, user: Any, **_: Any) -> None:
        """Nothing follows from it."""

    def post_save_access_attempt(self, instance: Any, **_: Any) -> None:
        """Nothing follows from it."""

    def post_delete_access_attempt(self, instance: Any, **_: Any) -> None:
        """Nothing follows from it."""

    def reset_attempts(
        self, *, ip_address: str | None = None, username: str | None = None, ip_or_username: bool = False
    ) -> int:
        """What the commands of django-axes do: the same as `manage.py unlock`. Answers with how many failures."""
        actor = f"os:{getpass.getuser()}"
        if username and ip_address and ip_or_username:
            return let_in(actor=actor, username=username) + let_in(actor=actor, address=ip_address)
        return let_in(actor=actor, username=username or None, address=ip_address or None)


def let_in(*, actor: str, os_user: str = "", username: str | None = None, address: str | None = None) -> int:
    """Ends the lock of an account, of an address, of both together, or every lock, and records who did.

    An address of IPv6 stands for its network, as failures are counted by.
    Answers with how many failures are forgotten.
    """
    wanted = Q() if username is None else Q(username=username)
    if address is not None:
        address = spelled(address) or address
        wanted &= Q(ip_address=address)
    with transaction.atomic():
        found = AccessAttempt.objects.filter(wanted)
        forgotten: int = sum(found.values_list("failures_since_start", flat=True))
        found.delete()
        _record(actor, os_user, username=username, address=address, forgotten=forgotten)
    return forgotten


def forget(attempt: AccessAttempt, *, actor: str) -> None:
    """Forgets the failures of one account, or of one name that nobody has, at one address, and records who did."""
    with transaction.atomic():
        AccessAttempt.objects.filter(pk=attempt.pk).delete()
        failures = attempt.failures_since_start
        _record(actor, username=attempt.username, address=attempt.ip_address, forgotten=failures)


def locked_until(*, username: str) -> datetime | None:
    """Until when an account is locked, somewhere at least; None when it is not."""
    rows = list(AccessAttempt.objects.filter(username=username, attempt_time__gt=_since()).values_list(*_ROWS))
    ends = [_ends([row], settings.LOCK_OUT_FAILURES) for row in rows]
    ends.append(_ends(rows, settings.LOCK_OUT_FAILURES_OF_ACCOUNT))
    return max((end for end in ends if end), default=None)


def prune() -> None:
    """Removes what counts no more."""
    AccessAttempt.objects.filter(attempt_time__lte=_since()).delete()
    AccessLog.objects.filter(attempt_time__lte=timezone.now() - timedelta(days=KNOWN_DAYS)).delete()


def refusal(request: HttpRequest, _response: HttpResponse, _credentials: Any) -> HttpResponse:
    """What somebody who is locked out is told: for how long, and no more; django-axes puts it in the answer's place."""
    seconds = getattr(request, "locked_out_seconds", 0) or 1
    if not is_by_api(request.path):
        return locked_out(request, retry_seconds=seconds)
    detail = f"There were too many failed log-ins. Try again in {seconds} seconds."
    response = problem_response(request, code="rate_limited", detail=detail)
    response.headers["Retry-After"] = str(seconds)
    return response


def _record(actor: str, os_user: str = "", *, username: str | None, address: str | None, forgotten: int) -> None:
    """Names the account and the address; of a name that nobody has, which is stored as a hash, only that it was one."""
    detail: dict[str, Any] = {"failures_forgotten": forgotten}
    if address is not None:
        detail["address"] = address
    if username is not None:
        member = StaffMember.objects.filter(username=username).first()
        detail |= {"name": "unknown"} if member is None else {"member": member.actor}
    elif address is None:
        detail["locks"] = "all"
    operations.record(actor=actor, action="let in", detail=detail, os_user=os_user)


def _key(credentials: dict[str, Any] | None) -> str:
    """What the attempt is counted under: the account's name, or a hash of a name that nobody has."""
    name = str((credentials or {}).get("username") or "")
    if StaffMember.objects.filter(username=name).exists():
        return name
    return f"?{salted_hmac(__name__, name, algorithm='sha256').hexdigest()[:32]}"


def _count(name: str, address: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [name, address, timezone.now()])


def _locked_seconds(name: str, address: str | None) -> int:
    """For how long nobody may try this account from this address; 0 when they may."""
    here = _failures(name, address)
    ends = [_ends(here, settings.LOCK_OUT_FAILURES)]
    if address is not None:  # those of whom nobody knows the address have nothing in common
        at_address = AccessAttempt.objects.filter(ip_address=address, attempt_time__gt=_since())
        ends.append(_ends(list(at_address.values_list(*_ROWS)), settings.LOCK_OUT_FAILURES_OF_ADDRESS))
    of_account = AccessAttempt.objects.filter(username=name, attempt_time__gt=_since())
    anywhere = _ends(list(of_account.values_list(*_ROWS)), settings.LOCK_OUT_FAILURES_OF_ACCOUNT)
    if anywhere and not AccessLog.objects.filter(username=name, ip_address=address).exists():
        ends.append(anywhere)
    end = max((found for found in ends if found), default=None)
    return max(1, ceil((end - timezone.now()).total_seconds())) if end else 0


def _failures(name: str, address: str | None) -> Sequence[Row]:
    found = AccessAttempt.objects.filter(username=name, ip_address=address, attempt_time__gt=_since())
    return list(found.values_list(*_ROWS))


def _ends(rows: Sequence[Row], limit: int) -> datetime | None:
    """When so many of the failures will have aged that fewer than the limit are left; None when it is so now."""
    left = sum(failures for _, _, failures in rows)
    end = None
    for _, at, failures in sorted(rows, key=lambda row: row[1]):
        if left < limit:
            break
        left -= failures
        end = at + _window()
    return end


def _window() -> timedelta:
    return timedelta(minutes=settings.LOCK_OUT_MINUTES)


def _since() -> datetime:
    return timezone.now() - _window()
