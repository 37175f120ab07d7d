"""The heads of requests, looked at before anything takes a header apart, and before anybody has signed in.

Invariant: no header that is passed on is longer than `most_bytes_of` says, however often its name stands there, and no
cookie has a backslash. Reading some takes a time that grows with the square of their length: the parameters of a media
type, and a quoted cookie with backslashes (CVE-2024-7592, in Python up to 3.11.9 and 3.12.5). Nor is a media type taken
apart that has an extended parameter. Imported by `config.asgi`, and by `config.handler` and `config.plain_text` for
these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

MOST_HEADER_BYTES: Final = 8 * 1024
"""Of any header: a cookie of a log-in service in front, a long address that somebody came from."""

_COOKIE: Final = b"cookie"
# Those that are read as media types: what browsers and programs send is far shorter.
_MOST_BYTES: Final = {b"content-type": 256, b"accept": 1024}
_BETWEEN_BYTES: Final = 2  # what stands between them when several become one
LIMITS: Final = f"A header may have {MOST_HEADER_BYTES} bytes, " + " and ".join(
    f"{name.decode().title()} {most_bytes}" for name, most_bytes in _MOST_BYTES.items()
)
"""What who sent more is told; it does not repeat what was sent."""


def most_bytes_of(name: bytes) -> int:
    """How long a header may be, by its name in lower case; of several with one name, all together."""
    return _MOST_BYTES.get(name, MOST_HEADER_BYTES)


def has_too_long(scope: Mapping[str, Any]) -> bool:
    """Whether there is a header that is longer than anybody needs."""
    lengths: Counter[bytes] = Counter()
    for name, value in scope["headers"]:
        lengths[name] += len(value) + (_BETWEEN_BYTES if name in lengths else 0)
    return any(length > most_bytes_of(name) for name, length in lengths.items())


def with_plain_cookies(scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request without cookies that have a backslash: no cookie of ours does, and others share a host with us."""
    if not any(name == _COOKIE and b"\\" in value for name, value in scope["headers"]):
        return scope
    headers = [(name, _plain(value) if name == _COOKIE else value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}


def has_extended_parameter(media_types: str) -> bool:
    """Whether a header of media types has a parameter that is coded or in pieces (RFC 2231): `x*=a`, `x*0=a; x*1=b`.

    Django has Python's reader of mails take parameters apart, which breaks on some of these, not with a ValueError
    alone; and nobody needs one here. An asterisk behind a semicolon is enough, quoted too: Django REST framework writes
    what it has read once more without the quotes, and reads that.
    """
    return any("*" in media_type.partition(";")[2] for media_type in media_types.split(","))


def _plain(cookies: bytes) -> bytes:
    return b";".join(cookie for cookie in cookies.split(b";") if b"\\" not in cookie)
