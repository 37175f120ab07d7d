"""Whether this process lives, and whether it is ready to serve: `/health/live` and `/health/ready`.

Invariants: an answer comes within a few seconds whatever is broken, and tells which part is; however many ask, there is
one look at the database and the broker in a second. Imported by `config.urls`.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from time import monotonic
from typing import Final

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from config.celery import app as celery_app
from views_readmodel.delay import posting_is_delayed

PROBES: Final = frozenset({"/health/live", "/health/ready"})
"""Their addresses: what stands in front of them asks the database nothing, for that may be what is broken."""
BROKER_TIMEOUT_SECONDS = 1.0
KEPT_SECONDS = 1.0
"""For how long an answer is given again."""

logger = logging.getLogger(__name__)


@csrf_exempt  # it changes nothing, so that whoever asks otherwise may be told so
@never_cache
@require_safe
def live(_request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process can answer at all."""
    return JsonResponse({"status": "ok"})


@csrf_exempt  # it changes nothing, so that whoever asks otherwise may be told so
@never_cache
@require_safe
def ready(_request: HttpRequest) -> JsonResponse:
    """Answer 200 when database and migrations are in order, else 503; the body names these and the broker.

    Without its broker the bank serves all the same, and what it is told is posted later: that sends nobody away.
    """
    status, body = _latest.answer()
    return JsonResponse(body, status=status)


Answer = tuple[int, dict[str, str]]


class Latest:
    """The answer of the last look, for as long as it is young; while one thread looks, others are told what was."""

    def __init__(self, look: Callable[[], Answer]) -> None:
        self._look = look
        self._lock = Lock()
        self._found: Answer | None = None
        self._at = 0.0  # monotonic seconds

    def answer(self) -> Answer:
        """Status and body."""
        if self._found is not None and monotonic() - self._at < KEPT_SECONDS:
            return self._found
        if not self._lock.acquire(blocking=self._found is None):
            return self._found or self._look()
        try:
            if self._found is None or monotonic() - self._at >= KEPT_SECONDS:
                self._found = self._look()
                self._at = monotonic()
            return self._found
        finally:
            self._lock.release()


def _look() -> Answer:
    checks = {
        "database": _passes(_check_database),
        "broker": _passes(_check_broker),
        "migrations": _passes(_check_migrations),
    }
    serves = checks["database"] and checks["migrations"]
    status = "failing" if not serves else "ok" if checks["broker"] else "degraded"
    body = {name: "ok" if passed else "failing" for name, passed in checks.items()}
    # This is told, too, and sends nobody away.
    body["posting"] = "delayed" if not checks["database"] or posting_is_delayed() else "ok"
    return 200 if serves else 503, {"status": status, **body}


_latest: Final = Latest(_look)


def _passes(check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception:  # whatever is wrong, the answer is "failing"; the log has the rest
        logger.warning("Readiness check %s failed", check.__name__, exc_info=settings.DEBUG)
        return False
    return True


def _check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _check_broker() -> None:
    with celery_app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_TIMEOUT_SECONDS)


class MigrationsMissing(Exception):
    """The database has not been migrated to this version of the code."""


@lru_cache(maxsize=1)
def _check_migrations() -> None:
    """Raises until everything is applied; from then on it stays so for the code that runs here."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise MigrationsMissing
