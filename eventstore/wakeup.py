"""Wakes the dispatchers after a commit. Never fails and never delays whoever committed.

How is the project's choice (`EVENTSTORE["WAKE"]`, for Celery `eventstore.celery_wakeup.wake`); with none, somebody
runs `manage.py dispatch`. A wake-up that is lost costs the second until the next sweep, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import structlog
from django.utils.module_loading import import_string

from eventstore.conf import store_settings

_log = structlog.get_logger(__name__)


@lru_cache
def _waker(path: str) -> Callable[[str], None]:
    found: Callable[[str], None] = import_string(path)
    return found


def wake(using: str) -> None:
    """Has somebody dispatch what was committed."""
    path = store_settings().WAKE
    if path is None:
        return
    try:
        _waker(path)(using)
    except Exception as error:
        _log.warning("eventstore.wake_up_lost", error=repr(error))
