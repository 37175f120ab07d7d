"""The headers that every answer carries, whoever gives it: Django, the file server, the live streams, the bridge.

Invariant: no answer leaves without them; what an answer says itself stands. Imported by settings (by name) and by
`config.asgi`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from csp.utils import build_policy
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from eventstore.rest.correlation import HEADER as CORRELATION_ID
from eventstore.rest.scopes import correlation_id_of_scope

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

# A bank's pages need none of what a browser could let them do. Only what Chromium knows on every system is named: it
# writes an error to the console of every page for any other (bluetooth, on Linux).
_FEATURES: Final = (
    *("accelerometer", "autoplay", "camera", "clipboard-read", "display-capture", "encrypted-media"),
    *("fullscreen", "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts", "magnetometer", "microphone"),
    *("midi", "payment", "publickey-credentials-get", "screen-wake-lock", "serial", "usb", "xr-spatial-tracking"),
)
_PERMISSIONS: Final = ", ".join(f"{feature}=()" for feature in _FEATURES)
_NOT_KEPT: Final = "no-store, private"
_CORRELATION: Final = CORRELATION_ID.lower().encode()


@lru_cache(maxsize=1)
def security_headers() -> dict[str, str]:
    """All of them, for an answer that no middleware of Django's has seen. What is shown to a person is kept nowhere."""
    found = {
        "Cache-Control": _NOT_KEPT,
        "Content-Security-Policy": build_policy(),
        "Cross-Origin-Opener-Policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": _PERMISSIONS,
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
    }
    if settings.SECURE_HSTS_SECONDS:
        found["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}; includeSubDomains; preload"
    return found


def headers_middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Adds what the answer does not say itself. Outside of whatever may answer on its own."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        for name, value in security_headers().items():
            if name not in response.headers:
                response.headers[name] = value
        return response

    return answer


def own_host_middleware(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Refuses files to another host's name, as Django refuses all the rest; before the file server."""
    static = f"/{settings.STATIC_URL.strip('/')}/"

    def answer(request: HttpRequest) -> HttpResponseBase:
        if request.path.startswith(static):
            request.get_host()  # raises DisallowedHost
        return get_response(request)

    return answer


def with_headers(scope: Mapping[str, Any], send: Send) -> Send:
    """The same around an ASGI server's `send`, and the correlation id where whoever answered knows of none."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            named = {name.lower() for name, _ in given}
            missing = [pair for pair in _encoded() if pair[0] not in named]
            if _CORRELATION not in named:
                missing.append((_CORRELATION, str(correlation_id_of_scope(scope)).encode()))
            message = {**message, "headers": [*given, *missing]}
        await send(message)

    return sending


@lru_cache(maxsize=1)
def _encoded() -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower().encode(), value.encode()) for name, value in security_headers().items())
