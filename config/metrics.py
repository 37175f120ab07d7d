"""`GET /metrics`, for Prometheus: what all processes of this host counted, and how the database stands.

Who may ask: whoever has `METRICS_TOKEN` (`Authorization: Bearer …`), and people and programs whose role looks after the
subscriptions. Invariant: a scrape costs a few queries, whatever history holds. Imported by `config.urls`.
"""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from rest_framework.exceptions import APIException, Throttled
from rest_framework.request import Request

from config.staff.authentication import BearerAuthentication
from config.staff.limits import stranger_wait_seconds
from eventstore.collecting import StoreCollector
from views_readmodel.slow import TransfersCollector

SEES_SUBSCRIPTIONS: Final = "eventstore.view_checkpoint"
MULTIPROCESS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_HEADER: Final = "Authorization"

logger = logging.getLogger(__name__)


@csrf_exempt  # it changes nothing, so that whoever asks otherwise may be told so
@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Everything, in Prometheus's text format."""
    if not _has_token(request):
        try:
            member = _member(request)
        except Throttled as throttled:
            return _wait(int(getattr(throttled, "wait", None) or 1))
        except APIException:  # counted where the token was looked up
            return _unknown()
        if member is None or not member.has_perm(SEES_SUBSCRIPTIONS):
            seconds = stranger_wait_seconds(request)
            return _wait(seconds) if seconds else _unknown() if member is None else _forbidden()
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _forbidden() -> HttpResponse:
    return HttpResponse("Your role may not see this.\n", status=403, content_type="text/plain")


def _unknown() -> HttpResponse:
    refused = HttpResponse("Who are you?\n", status=401, content_type="text/plain")
    refused["WWW-Authenticate"] = "Bearer"
    return refused


def _wait(seconds: int) -> HttpResponse:
    refused = HttpResponse("There were too many requests.\n", status=429, content_type="text/plain")
    refused["Retry-After"] = str(seconds)
    return refused


def _has_token(request: HttpRequest) -> bool:
    wanted = settings.METRICS_TOKEN
    given = request.headers.get(_HEADER, "")
    return bool(wanted) and hmac.compare_digest(given.encode(), f"Bearer {wanted}".encode())


def _member(request: HttpRequest) -> Any:
    """Whose token or session it is, or None. Raises APIException for a wrong token, Throttled for who guesses."""
    if _HEADER not in request.headers:
        return request.user if request.user.is_authenticated else None
    found = BearerAuthentication().authenticate(Request(request))
    return found and found[0]


def _registry() -> CollectorRegistry:
    """What is told at this scrape: the counters of all processes, and what the database says."""
    counted: Collector = REGISTRY
    registry = CollectorRegistry(auto_describe=False)
    if os.environ.get(MULTIPROCESS_VARIABLE):
        counted = MultiProcessCollector(None)  # type: ignore[no-untyped-call]
    registry.register(counted)
    registry.register(StoreCollector(using=DEFAULT_DB_ALIAS))
    registry.register(_Forgiving(TransfersCollector(counted=counted)))
    return registry


class _Forgiving(Collector):
    """A collector that tells nothing when the database does not answer; another one tells that."""

    def __init__(self, inner: Collector) -> None:
        self._inner = inner

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self._inner.collect())
        except Error as error:
            logger.warning("Metrics without the database: %s", type(error).__name__)
            return []
