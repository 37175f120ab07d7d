"""What Celery's clock does for the read side: it looks for what is slow, broker or not. Only Celery imports this."""

from __future__ import annotations

import threading
from typing import Any, Final

import structlog
from celery.signals import beat_init
from django.db import Error, close_old_connections, connection

from views_readmodel.slow import AgeWatch, StepWatch, slow_steps, slow_transfers

_log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 15.0


@beat_init.connect(dispatch_uid="views_readmodel.watch_ages")  # type: ignore[untyped-decorator]
def watch_ages(**_: Any) -> None:
    """Watches from now on, in a thread that ends with the process."""
    threading.Thread(target=_watch, name="age-watch", daemon=True).start()


def _watch() -> None:
    watch, steps, pause = AgeWatch(), StepWatch(), threading.Event()
    while not pause.wait(LOOK_SECONDS):
        close_old_connections()
        try:
            steps.look(slow_steps())
            watch.look(slow_transfers())
        except Error as error:
            connection.close()
            _log.warning("transfers.not_watched", reason=str(error).partition("\n")[0])
