"""The Celery application: it carries wake-ups; Postgres keeps the truth.

Imported by the worker and beat processes and by whoever sends a task. Its settings are the `CELERY_` ones
of `config.settings`.
"""

import os
import warnings
from typing import Any

from celery import Celery
from celery.signals import task_prerun
from django.db import close_old_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Running everything as root is supported, and a worker takes nothing but JSON.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

app = Celery("daybook")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@task_prerun.connect(dispatch_uid="config.drop_dead_connections")  # type: ignore[untyped-decorator]
def drop_dead_connections(**_: Any) -> None:
    """Check the kept connection before a task uses it.

    With CELERY_DB_REUSE_MAX Celery keeps the connection over many tasks; unchecked, every task after
    a killed backend would fail.
    """
    close_old_connections()
