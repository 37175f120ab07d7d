"""The ASGI entry point, what the web server runs: live updates are streamed, everything else is Django's.

One origin and one process for both. A stream holds no thread and no connection to the database; a request of Django's
has a thread to itself, which keeps its connection (`config.bridge`).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.urls import reverse

from config.bodies import Bodies
from config.bridge import Bridge, Receive, Send, send_whole
from config.celery import warm_publishing
from config.handler import wsgi_application
from config.headers import with_headers
from config.heads import LIMITS, has_too_long, with_plain_cookies
from config.processes import end_with, raise_file_limit
from config.statement_limits import limit_statements
from views_readmodel.live.stream import MOST_LISTENERS, PATH, LiveChanges

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

_django = wsgi_application()

# They know models, which are there once Django is set up.
from config.paths import is_by_api  # noqa: E402
from config.refusals import refusal  # noqa: E402
from config.staff.limits import listener_wait_seconds  # noqa: E402
from eventstore.rest.parsing import MAX_BODY_BYTES  # noqa: E402

FILES_PER_LISTENER = 4
"""Of the files that a process may have open, listeners take a part; the rest is for who asks."""


LOG_IN_BYTES = 16 * 1024
"""A log-in by API: the longest name and password, every character escaped, and no more, for it is anybody's."""
_LOG_IN = reverse("api-login")


def _most_bytes_of(path: str) -> int:
    """How large a body may be: as large as whoever reads it has use for."""
    if path == _LOG_IN:
        return LOG_IN_BYTES
    return MAX_BODY_BYTES if is_by_api(path) else int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


_pages = Bridge(
    _django,
    threads=settings.WEB_THREADS,
    refuse=refusal,
    bodies=Bodies(most_of=_most_bytes_of),
)
_live = LiveChanges(
    wait_seconds=listener_wait_seconds,
    most_listeners=min(MOST_LISTENERS, raise_file_limit() // FILES_PER_LISTENER),
)
_noticing: set[int] = set()  # the signals that end the streams


async def application(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """Answers a request. Start and stop of the server need nothing; servers do without what raises."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    send = with_headers(scope, send)
    if has_too_long(scope):
        await send_whole(send, *refusal(scope, code="headers_too_large", detail=f"{LIMITS}."))
        return
    scope = with_plain_cookies(scope)
    if scope["path"] != PATH:
        await _pages(scope, receive, send)
        return
    if not _noticing and threading.current_thread() is threading.main_thread():
        _end_streams_when_asked_to_stop()
    await _live(scope, receive, send)


def _end_streams_when_asked_to_stop() -> None:
    """Ends the streams as soon as the process is told to stop, before whatever the server does about the signal.

    Servers wait for open requests, which a stream always is, and kill the process when they lose patience. Done with
    the first stream, for only then the server has set its own handlers.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def stop(number: int, frame: Any, before: Any = before) -> None:
            loop.call_soon_threadsafe(_live.hub.stop)
            if callable(before):
                before(number, frame)

        signal.signal(number, stop)
        _noticing.add(number)


_server = multiprocessing.parent_process()
if _server is not None and _server.pid is not None:  # one of several that a server started for itself
    end_with(parent=_server.pid)
limit_statements()
warm_publishing()
