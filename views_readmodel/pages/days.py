"""The bank's days: what "today" means, wherever the reader is."""

from __future__ import annotations

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone


def bank_zone() -> ZoneInfo:
    """The bank's own time zone."""
    return ZoneInfo(settings.BANK_TIME_ZONE)


def bank_zone_elsewhere() -> str:
    """The name of the bank's zone where the reader's is another; "" where there is nothing to tell apart."""
    name = str(bank_zone())
    return "" if name == str(timezone.get_current_timezone()) else name


def bank_today() -> date:
    """The day that it is at the bank now."""
    return timezone.now().astimezone(bank_zone()).date()


def begins(day: date) -> datetime:
    """When a day of the bank begins."""
    return datetime.combine(day, time(), tzinfo=bank_zone())
