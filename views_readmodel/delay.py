"""Whether posting is delayed: what was recorded takes longer than usual to show in balances and transfers.

A cheap question: the answer holds for two seconds in a process. Pages say it, and the probe of readiness does.
"""

from __future__ import annotations

import time
from typing import Final

from django.db import Error

from eventstore import inspection
from eventstore.celery_wakeup import is_broker_away
from eventstore.store import EventStore

DELAYED_SECONDS: Final = 3.0
"""What was recorded is usually posted within a tenth of a second."""
ASK_SECONDS: Final = 2.0


class _Answer:
    """The last answer, and until when it holds."""

    delayed: bool = False
    until: float = 0.0  # monotonic seconds


_answer: Final = _Answer()


def posting_is_delayed(*, now: float | None = None) -> bool:
    """Whether the wake-ups cannot be sent, or an event has waited for more than some seconds. Never raises."""
    now = time.monotonic() if now is None else now
    if now >= _answer.until:
        _answer.until = now + ASK_SECONDS  # others in the meantime take the answer before this one
        _answer.delayed = _waits_long()
    return _answer.delayed or is_broker_away()


def _waits_long() -> bool:
    try:
        return inspection.longest_wait_seconds(store=EventStore()) > DELAYED_SECONDS
    except Error:
        return True
