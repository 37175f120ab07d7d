"""What is due now and then about those who sign in, and what they left. Only Celery imports this module."""

from __future__ import annotations

from celery import shared_task
from django.contrib.sessions.models import Session
from django.utils import timezone
from knox.models import AuthToken

from config.staff import lockout
from views_readmodel.drafts import keeping


@shared_task(name="staff.prune", ignore_result=True)  # type: ignore[untyped-decorator]
def prune() -> None:
    """Removes sessions, tokens, failed log-ins and drafts that have expired; none of them was good for anything."""
    now = timezone.now()
    Session.objects.filter(expire_date__lt=now).delete()
    AuthToken.objects.filter(expiry__lt=now).delete()
    lockout.prune()
    keeping.prune()
