"""Celery's part: a wake-up for a batch, never a task per event. Only Celery imports this module.

Redis carries wake-ups, Postgres the truth: any of these may be lost, doubled or late.
"""

from __future__ import annotations

from functools import partial

from celery import shared_task

from eventstore.celery_wakeup import DISPATCH_TASK, clear_mark
from eventstore.dispatch import drain
from eventstore.store import EventStore
from eventstore.wakeup import wake


@shared_task(name=DISPATCH_TASK, ignore_result=True)
def dispatch(*, using: str = "default") -> None:
    """Dispatches what was committed, and wakes again when there is more than one turn's worth."""
    clear_mark(using)
    if not drain(store=EventStore(using=using), on_more=partial(wake, using)):
        wake(using)


@shared_task(name="eventstore.sweep", ignore_result=True)
def sweep(*, using: str = "default") -> None:
    """Finds what a lost wake-up left. Sent by beat every second or so; several are harmless."""
    drain(store=EventStore(using=using), on_more=partial(wake, using))
