"""Idempotency: a request's key and its effect commit together, so a repeat is answered alike and changes nothing.

Only a success leaves a record: no effect, no key. Only `store` calls `claim` and `record`.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec
from django.db import OperationalError, connections

from eventstore.appending import require_transaction
from eventstore.failures import is_lock_timeout

WAIT_SECONDS = 5
"""How long a repeat waits for the first request, while that is in progress."""

# Two transactions with one key go one after the other; the wait is bounded.
_LOCK_CLAIM = """
WITH bound AS MATERIALIZED (SELECT set_config('lock_timeout', %s, true))
SELECT pg_advisory_xact_lock(%s) FROM bound
"""

# The first answer to the key.
_SELECT_RECORD = """
SELECT fingerprint, answer FROM eventstore_idempotency_record WHERE principal = %s AND key = %s
"""

# Keeps the first answer.
_INSERT_RECORD = """
INSERT INTO eventstore_idempotency_record (principal, key, fingerprint, answer) VALUES (%s, %s, %s, %s::jsonb)
"""


class IdempotencyKeyReused(Exception):
    """This Idempotency-Key was used for a different request."""

    code = "idempotency_key_reused"


class IdempotencyInProgress(Exception):
    """The first request with this Idempotency-Key is still in progress."""

    code = "idempotency_in_progress"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A request's claim to be done once."""

    principal: str  # whose key it is: two clients may use the same one
    key: str  # made by the client
    fingerprint: bytes  # of what is asked: the same key for something else is a mistake

    def lock_key(self) -> int:
        """The claim's advisory lock, a signed 64-bit integer."""
        digest = sha256(f"{self.principal}\x00{self.key}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


def fingerprint_of(*parts: bytes) -> bytes:
    """A digest of the parts, each with its length, so that no two requests look alike."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def recorded_answer(claim: Claim, *, using: str) -> str | None:
    """The JSON of the first answer, or None when this request is the first; then others with the key wait for it.

    Raises `IdempotencyKeyReused` and `IdempotencyInProgress`.
    """
    require_transaction(using)
    with connections[using].cursor() as cursor:
        try:
            cursor.execute(_LOCK_CLAIM, [f"{WAIT_SECONDS}s", claim.lock_key()])
        except OperationalError as error:
            if is_lock_timeout(error):
                raise IdempotencyInProgress("the first request has not ended in time") from error
            raise
        # A statement of its own: it sees what the first request has committed.
        cursor.execute(_SELECT_RECORD, [claim.principal, claim.key])
        found = cursor.fetchone()
    if found is None:
        return None
    fingerprint, answer = found
    if bytes(fingerprint) != claim.fingerprint:
        raise IdempotencyKeyReused("the fingerprints differ")
    return str(answer)


def record_answer(claim: Claim, answer: str, *, using: str) -> None:
    """Keeps the answer's JSON, in the transaction of its effect."""
    require_transaction(using)
    with connections[using].cursor() as cursor:
        cursor.execute(_INSERT_RECORD, [claim.principal, claim.key, claim.fingerprint, answer])
