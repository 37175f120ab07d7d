"""The Celery application: it carries wake-ups; Postgres keeps the truth.

Imported by `config.apps`, so that whoever sends a task finds it, and by the worker and beat processes. Its settings are
the `CELERY_` ones of `config.settings`.
"""

import os
import sys
import warnings
from typing import Any

from celery import Celery
from celery.signals import beat_init, task_prerun, worker_init, worker_process_init, worker_ready
from django.db import close_old_connections

from config.processes import READY_VARIABLE, end_with
from config.statement_limits import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Running everything as root is supported, and a worker takes nothing but JSON.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

app = Celery("daybook")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# A new application is the current one of its own thread alone; requests are served, and tasks sent, in others.
app.set_default()


def warm_publishing() -> None:
    """Load what the first wake-up of a process needs, so that no request waits for it; opens no connection."""
    app.finalize()
    app.connection_for_write().get_transport_cls()
    getattr(app.amqp, "send_task_message")  # noqa: B009 - built when it is first looked at


@task_prerun.connect(dispatch_uid="config.drop_dead_connections")  # type: ignore[untyped-decorator]
def drop_dead_connections(**_: Any) -> None:
    """Check the kept connection before a task uses it.

    With CELERY_DB_REUSE_MAX Celery keeps the connection over many tasks; unchecked, every task after
    a killed backend would fail.
    """
    close_old_connections()


@worker_init.connect(dispatch_uid="config.limit_statements")  # type: ignore[untyped-decorator]
def limit_workers_statements(**_: Any) -> None:
    """Let no process of the pool, nor the sweeps of the worker itself, wait for ever for a silent server."""
    limit_statements()


@worker_init.connect(dispatch_uid="config.bind_children")  # type: ignore[untyped-decorator]
def bind_children(**_: Any) -> None:
    """See to it that no process of the pool outlives the worker that forks it."""
    worker = os.getpid()

    def bind(**_: Any) -> None:
        end_with(parent=worker)

    worker_process_init.connect(bind, weak=False, dispatch_uid="config.end_with_worker")


@worker_ready.connect(dispatch_uid="config.say_worker_is_ready")  # type: ignore[untyped-decorator]
@beat_init.connect(dispatch_uid="config.say_beat_is_ready")  # type: ignore[untyped-decorator]
def say_ready(**_: Any) -> None:
    """Tell who watches this process, if anybody asked, that it works from now on."""
    line = os.environ.get(READY_VARIABLE)
    if line and sys.__stdout__ is not None:  # what Celery has put in its place writes to the log
        sys.__stdout__.write(f"{line}\n")
        sys.__stdout__.flush()
