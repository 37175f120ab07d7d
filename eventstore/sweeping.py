"""Sweeps in need: dispatches from a thread of the process that keeps the clock, when nobody else does.

The broker carries wake-ups, and sweeps are messages too: without it no worker would hear of anything, though all that
there is to do stands in Postgres. So who sends the sweeps looks at the sequencer's heartbeat, and when that has stood
still for some seconds, does the work itself: slower, for it is one process, and without a pause
(docs/adr/0016-wake-ups-leave-the-request.md). Any number of dispatchers may run at once, so a needless sweep does no
harm. Imported by `tasks`, and by projects that have a clock of their own.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable
from typing import Final

import structlog
from django.db import close_old_connections, connections

from eventstore.dispatch import drain
from eventstore.failures import is_passing
from eventstore.store import EventStore

_log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 0.5
STILL_SECONDS: Final = 2.5
"""Sweeps come every second; when the heart has not beaten for so long, nobody takes them."""
POLL_SECONDS: Final = 0.1
"""How often to look for work while there are no wake-ups at all."""
TURN_SECONDS: Final = 5.0
HANGING_SECONDS: Final = 20.0
"""A turn that goes on for so long hangs, in a thread where nothing interrupts it: then the process ends. Whoever keeps
it running starts it anew, and what it hung on counts as an attempt without a result."""

# How long no sequencer has shown that it lives. A sign of life from before the clock was set back is none: who lives
# gives another soon.
_STILL_FOR = """
SELECT CASE WHEN heartbeat_at > clock_timestamp() THEN 'infinity'
    ELSE extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 END
FROM eventstore_sequencer WHERE id = 1
"""


def begin(*, using: str, help_away: Callable[[], bool], call_for_help: Callable[[], None]) -> threading.Event:
    """Watches from now on, in a thread that ends with the process, or when the event is set that this answers with.

    `call_for_help` wakes the workers; `help_away` tells whether that is known to be in vain.
    """
    stopped = threading.Event()
    watching = (stopped, using, help_away, call_for_help)
    threading.Thread(target=_watch, args=watching, name="sweep-in-need", daemon=True).start()
    return stopped


def _watch(
    stopped: threading.Event, using: str, help_away: Callable[[], bool], call_for_help: Callable[[], None]
) -> None:
    alone = False
    while not stopped.wait(POLL_SECONDS if alone else LOOK_SECONDS):
        try:
            alone = look(using=using, alone=alone, help_away=help_away, call_for_help=call_for_help)
        except Exception as error:  # noqa: BLE001 - the next look may go better; without this thread nobody looks
            alone = False
            connections[using].close()
            if not is_passing(error):
                _log.exception("eventstore.sweep_failed")


def look(*, using: str, alone: bool, help_away: Callable[[], bool], call_for_help: Callable[[], None]) -> bool:
    """Sweeps if nobody else does, and calls for help; answers whether there is nobody to hear it."""
    close_old_connections()
    if not alone and still_for_seconds(using=using) < STILL_SECONDS:
        return False
    if not alone:
        _log.warning("eventstore.sweeping_in_need", reason="no worker has looked for some seconds")
    call_for_help()
    # To the process's own output: what Celery has put in its place is no file.
    faulthandler.dump_traceback_later(HANGING_SECONDS, exit=True, file=sys.__stderr__ or 2)
    try:
        drain(store=EventStore(using=using), budget_seconds=TURN_SECONDS)
    finally:
        faulthandler.cancel_dump_traceback_later()
    if alone and not help_away():
        _log.warning("eventstore.sweeping_ends", reason="the broker is back")
    return help_away()


def still_for_seconds(*, using: str) -> float:
    """How long no sequencer has shown that it lives."""
    with connections[using].cursor() as cursor:
        cursor.execute(_STILL_FOR)
        return float(cursor.fetchone()[0])
