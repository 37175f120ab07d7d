"""From a request to a command's circumstances: who asks, in which story, and under which idempotency key."""

from __future__ import annotations

import json
import re
from typing import Final
from uuid import UUID

import structlog
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request

from eventstore.context import CommandContext
from eventstore.idempotency import Claim, fingerprint_of
from eventstore.metadata import Metadata, actor_of
from eventstore.rest.correlation import correlation_id_of, parse_uuid
from eventstore.rest.problems import IdempotencyKeyRequired

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
MAX_KEY_LENGTH: Final = 255
_VISIBLE: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_LENGTH}}}")
_UUID: Final = re.compile(r"(?<![^/])[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![^/])")
_ORIGIN: Final = "api"


def command_context(request: Request) -> CommandContext:
    """The circumstances of what the request asks for.

    Raises `IdempotencyKeyRequired` for a POST without a key, ValidationError for an ill-formed key.
    """
    return CommandContext(
        metadata=Metadata(
            actor=actor_of(request.user),
            correlation_id=correlation_id_of(request),
            causation_id=_request_id(),
            origin=_ORIGIN,
        ),
        claim=_claim(request) if request.method == "POST" else None,
    )


def _claim(request: Request) -> Claim:
    key = request.headers.get(IDEMPOTENCY_KEY)
    if not key:
        raise IdempotencyKeyRequired
    if not _VISIBLE.fullmatch(key):
        detail = f"The key must be 1 to {MAX_KEY_LENGTH} visible ASCII characters, without spaces."
        raise ValidationError({IDEMPOTENCY_KEY: [ErrorDetail(detail, code="invalid")]})
    # Keys in order and no white space: what means the same has the same fingerprint.
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":")).encode()
    return Claim(
        principal=actor_of(request.user),
        key=key,
        fingerprint=fingerprint_of(b"POST", _canonical(request.path).encode(), body),
    )


def _canonical(path: str) -> str:
    """The path as we write it: a UUID means the same in capitals (RFC 9562)."""
    return _UUID.sub(lambda found: found[0].lower(), path)


def _request_id() -> UUID | None:
    """The id that the logs have for this request, so that an event leads to the log lines around it."""
    return parse_uuid(str(structlog.contextvars.get_contextvars().get("request_id", "")))
