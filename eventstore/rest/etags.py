"""Entity tags: strong, made from the version and the very bytes of the answer, so that they change whenever it does.

The version stands in front, so that `If-Match` on a later write names the version that the client has seen.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, Final

from rest_framework.request import Request

from eventstore.rest.requests import MAX_VERSION, RequestSerializer, read_body
from eventstore.store import VersionMismatch

_OURS: Final = re.compile(r'"(\d{1,10})-[0-9a-f]{24}"', re.ASCII)


def etag_of(body: bytes, *, version: int = 0) -> str:
    """The tag of an answer; `version` is that of the stream it shows, 0 when it shows several or none."""
    return f'"{version}-{blake2b(body, digest_size=12).hexdigest()}"'


def read_change(request: Request, serializer: type[RequestSerializer]) -> dict[str, Any]:
    """The body's fields, and as `expected_version` the version that the change is meant for.

    The body comes first: a bad one is bad whatever version is preferred. Raises ValidationError and `VersionMismatch`.
    """
    return {**read_body(request, serializer), "expected_version": expected_version(request)}


def expected_version(request: Request) -> int | None:
    """The version that `If-Match` demands, or None when any will do.

    Of several tags the newest counts: a stream never goes back. Raises `VersionMismatch` when no tag is one of ours.
    """
    given = request.headers.get("If-Match", "").strip()
    if given in ("", "*"):
        return None
    versions = [int(found) for found in _OURS.findall(given)]
    if not versions or not 0 < max(versions) <= MAX_VERSION:
        raise VersionMismatch(expected=0, actual=0)
    return max(versions)
