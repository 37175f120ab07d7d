"""Sessions end when nobody works in them, and a working day after the log-in in any case.

A session's row expires so many minutes after the last sign of work (`SESSION_IDLE_MINUTES`); whatever reads sessions,
live streams included, heeds that. What a page asks by itself is no sign of work. Invariant: for this the row is
written at most once a minute. Settings name the middleware.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from threading import Lock
from time import monotonic, time
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from config.health import PROBES

WRITE_EVERY_SECONDS: Final = 60.0
SIGNED_IN_AT: Final = "signed_in_at"
"""In the session: the moment of the log-in, in seconds since 1970."""
_MOST_REMEMBERED: Final = 10_000

_written: OrderedDict[str, float] = OrderedDict()  # by session, in this process: when its row was written
_lock: Final = Lock()


def idle_middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Stands after the session's and the authentication's middleware."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        if _has_session(request) and SESSION_KEY in request.session:
            if time() - request.session.get(SIGNED_IN_AT, 0) > settings.SESSION_LONGEST_SECONDS:
                logout(request)
            elif _is_work(request):
                _prolong(str(request.session.session_key))
        return get_response(request)

    return answer


@receiver(user_logged_in, dispatch_uid="config.staff.idle")
def stamp(*, request: Any, **_: Any) -> None:
    """Notes when the session began; a log-in by API has none."""
    session = getattr(request, "session", None)
    if session is not None and SESSION_KEY in session and SIGNED_IN_AT not in session:
        session[SIGNED_IN_AT] = int(time())


def _has_session(request: HttpRequest) -> bool:
    return settings.SESSION_COOKIE_NAME in request.COOKIES and request.path not in PROBES


def _is_work(request: HttpRequest) -> bool:
    """Whether somebody did something: went to a page or sent a form. A page keeps itself up to date with htmx."""
    return request.method == "POST" or "HX-Request" not in request.headers


def _prolong(key: str) -> None:
    now = monotonic()
    with _lock:
        if now - _written.get(key, -WRITE_EVERY_SECONDS) < WRITE_EVERY_SECONDS:
            return
        _written[key] = now
        _written.move_to_end(key)
        while len(_written) > _MOST_REMEMBERED:
            _written.popitem(last=False)
    until = timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE)
    Session.objects.filter(session_key=key, expire_date__lt=until).update(expire_date=until)
