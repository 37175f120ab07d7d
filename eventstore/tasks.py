"""Celery's part: a wake-up for a batch, never a task per event. Only Celery imports this module.

Redis carries wake-ups, Postgres the truth: any of these may be lost, doubled or late.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog
from celery import shared_task
from celery.signals import beat_init, worker_ready

from eventstore import sweeping
from eventstore.celery_wakeup import DISPATCH_TASK, clear_mark, is_broker_away, send
from eventstore.dispatch import drain
from eventstore.failures import is_passing
from eventstore.store import EventStore
from eventstore.wakeup import wake

_log = structlog.get_logger(__name__)


@shared_task(name=DISPATCH_TASK, ignore_result=True)
def dispatch(*, using: str = "default") -> None:
    """Dispatches what was committed, and wakes again when there is more than one turn's worth."""
    clear_mark(using)
    if not _drain(using):
        wake(using)


@shared_task(name="eventstore.sweep", ignore_result=True)
def sweep(*, using: str = "default") -> None:
    """Finds what a lost wake-up left. Sent by beat every second or so; several are harmless."""
    _drain(using)


@worker_ready.connect(dispatch_uid="eventstore.wake_at_start")
def wake_at_start(**_: Any) -> None:
    """Has a worker that has just started look at once: the mark of one that was killed keeps commits from waking."""
    clear_mark("default")
    try:
        # At once, and by no thread of its own: this process forks.
        send("default", whatever_the_mark=True)
    except Exception as error:  # noqa: BLE001 - whatever the clients raise: the worker works all the same
        _log.warning("eventstore.wake_up_lost", error=repr(error))


@beat_init.connect(dispatch_uid="eventstore.sweep_in_need")
def sweep_in_need(**_: Any) -> None:
    """Has beat do the sweeping itself when nobody takes the sweeps that it sends, as without a broker."""
    sweeping.begin(using="default", help_away=is_broker_away, call_for_help=partial(wake, "default"))


def _drain(using: str) -> bool:
    """Drains; answers whether it need not be tried again at once. What passes by itself is left to the next sweep."""
    try:
        return drain(store=EventStore(using=using), on_more=partial(wake, using))
    except Exception as error:
        if not is_passing(error):
            raise
        _log.warning("eventstore.not_dispatched", reason=str(error).partition("\n")[0])
        return True
