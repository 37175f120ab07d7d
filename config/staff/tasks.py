"""What is due now and then about those who sign in. Only Celery imports this module."""

from __future__ import annotations

from celery import shared_task
from django.contrib.sessions.models import Session
from django.utils import timezone
from knox.models import AuthToken

from config.staff import lockout


@shared_task(name="staff.prune", ignore_result=True)  # type: ignore[untyped-decorator]
def prune() -> None:
    """Removes sessions, tokens and failed log-ins that have expired; none of them opened anything any more."""
    now = timezone.now()
    Session.objects.filter(expire_date__lt=now).delete()
    AuthToken.objects.filter(expiry__lt=now).delete()
    lockout.prune()
