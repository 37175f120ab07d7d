"""Limits on how often anybody may ask: by principal, and by address where nobody has signed in.

A limit is so many requests a minute, all of which may come at once (the "generic cell rate algorithm"): one number in
Redis for each principal and kind, one round trip for each request, and an exact time to come back at. Who is refused
something is counted like who gets it. Invariant: when
Redis is away nobody is limited, and nobody waits but who found it away; a thread finds out when it is back. Settings
name the classes and the middleware.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil
from threading import Event, Thread
from time import sleep
from typing import Any, Final

import redis
import structlog
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rest_framework.throttling import BaseThrottle

from config.addresses import client_address
from config.health import PROBES
from config.paths import is_by_api
from views_readmodel.pages.failures import too_many

_log = structlog.get_logger(__name__)

MINUTE_MICROSECONDS: Final = 60_000_000
PATIENCE_SECONDS: Final = 0.15
"""How long Redis may take; it answers in a tenth of a millisecond, or not at all."""
RETRY_SECONDS: Final = 2.0
"""How long to leave Redis alone after it did not answer."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# The API has throttles of its own, which know whose a token is. Probes and scrapes come every few seconds, cost next to
# nothing or are refused with a count of their own; what only begins as they do is counted as any page.
_NOT_COUNTED: Final = PROBES | {"/metrics"}
_COUNTED: Final = "is_counted"

# Takes one request's share of the minute and answers 0, or how many microseconds to wait for it.
_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + tonumber(ARGV[1])
if due - now > tonumber(ARGV[2]) then
    return due - now - tonumber(ARGV[2])
end
redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
return 0
"""

_away: Final = Event()
"""Set while Redis does not answer."""


def wait_seconds(kind: str, who: str) -> int:
    """Takes one request of a kind (a key of `RATE_LIMITS`) for somebody: 0, or the seconds until there is one left."""
    per_minute = settings.RATE_LIMITS[kind]
    if not per_minute or _away.is_set():
        return 0
    try:
        taken = _take(settings.REDIS_URL)(
            keys=[f"daybook:limit:{kind}:{who}"], args=[MINUTE_MICROSECONDS // per_minute, MINUTE_MICROSECONDS]
        )
    except (RedisError, OSError) as error:
        _note_away(error)
        return 0
    return ceil(int(taken) / 1_000_000)


def _note_away(error: Exception) -> None:
    """Has everybody pass until a thread has found Redis again."""
    if _away.is_set():
        return
    _away.set()
    _log.warning("limits.not_counted", error=type(error).__name__)
    Thread(target=_look_for_redis, name="limits", daemon=True).start()


def _look_for_redis() -> None:
    while True:
        sleep(RETRY_SECONDS)
        try:
            _client(settings.REDIS_URL).ping()
        except (RedisError, OSError):
            continue
        _away.clear()
        _log.warning("limits.counted_again")
        return


@lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


@lru_cache(maxsize=4)
def _take(url: str) -> Callable[..., Any]:
    return _client(url).register_script(_TAKE)


class _Limit(BaseThrottle):
    """A throttle of Django REST framework's that says how long to wait."""

    seconds = 0

    def allow_request(self, request: Any, view: Any) -> bool:
        """Whether the request may go on."""
        self.seconds = wait_seconds(*self.counted(request))
        return not self.seconds

    def wait(self) -> float:
        """For how long not."""
        return self.seconds

    def counted(self, request: Any) -> tuple[str, str]:
        """The kind of the request, and whose it is."""
        raise NotImplementedError


class RequestLimit(_Limit):
    """Reads and writes of the API: by principal, programs apart from people; else by address."""

    def counted(self, request: Any) -> tuple[str, str]:
        """A program does in bulk what a person does by hand."""
        if not request.user or not request.user.is_authenticated:
            return "anonymous", _address(request)
        what = "reads" if request.method in _READS else "writes"
        whose = "program" if getattr(request.user, "is_service", False) else "person"
        return f"{whose}_{what}", str(request.user.pk)


class LogInLimit(_Limit):
    """Log-ins, by address: what a lock-out does not see is how many are under way at once."""

    def counted(self, request: Any) -> tuple[str, str]:
        """All from one address together."""
        return "log_ins", _address(request)


def refused_token_wait_seconds(request: Any) -> int:
    """Counts a token that is none, by address; 0, or the seconds until the next will be looked at."""
    return wait_seconds("refused_tokens", _address(request))


def stranger_wait_seconds(request: Any) -> int:
    """Counts a request whose sender nobody knows, or nobody need know, by address: 0, or the seconds to wait."""
    return wait_seconds("anonymous", _address(request))


def refused_wait_seconds(request: HttpRequest) -> int:
    """Counts a request that is refused before it comes to the limits, by address: 0, or the seconds to wait."""
    return 0 if getattr(request, _COUNTED, False) else stranger_wait_seconds(request)


def listener_wait_seconds(request: HttpRequest, person: str | None) -> int:
    """Counts a stream that somebody asks for, among the reads of the person, or by address."""
    return wait_seconds("person_reads", person) if person else stranger_wait_seconds(request)


def page_limit_middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """The same for pages: by person, and by address before the log-in. Stands after the session's middleware."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if request.path in _NOT_COUNTED or is_by_api(request.path):
            return get_response(request)
        vars(request)[_COUNTED] = True
        seconds = wait_seconds(*_counted(request))
        return too_many(request, retry_seconds=seconds) if seconds else get_response(request)

    return answer


def _counted(request: HttpRequest) -> tuple[str, str]:
    if request.method == "POST" and request.path == reverse("log-in"):
        return "log_ins", _address(request)
    person = request.session.get(SESSION_KEY)
    if person is None:
        return "anonymous", _address(request)
    return "person_reads" if request.method in _READS else "person_writes", str(person)


def _address(request: Any) -> str:
    return client_address(request) or "unknown"
