"""Wakes the dispatchers after a commit. Never fails and never delays whoever committed.

How is the project's choice (`EVENTSTORE["WAKE"]`, for Celery `eventstore.celery_wakeup.wake`); with none, somebody
runs `manage.py dispatch`. A wake-up that is lost costs the second until the next sweep, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial

import structlog
from django.db import transaction
from django.utils.module_loading import import_string

from eventstore.conf import store_settings

_log = structlog.get_logger(__name__)
_quiet: ContextVar[bool] = ContextVar("eventstore_quiet", default=False)


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
    except Exception as error:  # noqa: BLE001 - the commit stands, whatever its notice ran into
        _log.warning("eventstore.wake_up_lost", error=repr(error))


def wake_on_commit(using: str) -> None:
    """Wakes once the caller's transaction has committed, unless the caller is a dispatcher, who will look itself."""
    if not _quiet.get():
        transaction.on_commit(partial(wake, using), using=using, robust=True)


@contextmanager
def quietly() -> Iterator[None]:
    """In here commits wake nobody."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)
