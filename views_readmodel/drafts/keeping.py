"""Drafts of transfers, kept for whoever wrote them: across the end of a session, for some hours.

Invariants: a draft is known by its owner and the idempotency key that it is sent under, and is nobody else's to see;
what became of it is kept in its place, so that the way back leads to the transfer and never to a second one. Pages
import this, and what prunes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from django.db import connection
from django.http import QueryDict
from django.utils import timezone

from eventstore.idempotency import fingerprint_of
from views_readmodel.drafts.models import TransferDraft

FIELDS: Final = ("key", "from_account", "to_account", "amount", "description")
KEPT_HOURS: Final = 12
"""A working day: whoever is logged out over lunch finds it again."""
MOST_DRAFTS: Final = 20
"""Of one person; the oldest gives way."""

# Keeps a draft, or what was changed in it; one that was sent stays as it was sent.
_KEEP: Final = """
INSERT INTO drafts_transfer_draft AS kept (principal, key, written, expires_at) VALUES (%s, %s, %s::jsonb, %s)
ON CONFLICT (principal, key) DO UPDATE SET written = excluded.written, expires_at = excluded.expires_at
WHERE kept.transfer_id IS NULL
"""

# Removes a person's oldest.
_REMOVE_OLDEST: Final = """
DELETE FROM drafts_transfer_draft WHERE principal = %s AND id NOT IN (
    SELECT id FROM drafts_transfer_draft WHERE principal = %s ORDER BY expires_at DESC, id DESC LIMIT %s
)
"""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer that was written down."""

    written: dict[str, str]
    transfer_id: UUID | None  # None: it was not sent yet

    @property
    def fingerprint(self) -> str:
        """Tells whether it is still what somebody looked at."""
        return fingerprint_of(*(self.written[name].encode() for name in FIELDS)).hex()

    def form_data(self) -> QueryDict:
        """As the form takes it."""
        found = QueryDict(mutable=True)
        found.update(self.written)
        return found


def fields_of(sent: Mapping[str, str]) -> dict[str, str]:
    """What was written down, of all that a form was sent with."""
    return {name: sent.get(name, "") for name in FIELDS}


def keep(*, principal: str, key: UUID, written: Mapping[str, str]) -> Draft:
    """Keeps what was written down; answers with what is kept, which is what was sent if it was sent already."""
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, [principal, key, msgspec.json.encode(written).decode(), _expiry()])
        cursor.execute(_REMOVE_OLDEST, [principal, principal, MOST_DRAFTS])
    return find(principal=principal, key=key) or Draft(written=dict(written), transfer_id=None)


def find(*, principal: str, key: UUID) -> Draft | None:
    """Somebody's draft; None when they have none of that key, or no longer."""
    row = TransferDraft.objects.filter(principal=principal, key=key, expires_at__gt=timezone.now()).first()
    return Draft(written=row.written, transfer_id=row.transfer_id) if row else None


def note_sent(*, principal: str, key: UUID, transfer_id: UUID) -> None:
    """Says what a draft became."""
    mine = TransferDraft.objects.filter(principal=principal, key=key)
    mine.update(transfer_id=transfer_id, expires_at=_expiry())


def prune() -> None:
    """Removes those that have expired."""
    TransferDraft.objects.filter(expires_at__lte=timezone.now()).delete()


def _expiry() -> datetime:
    return timezone.now() + timedelta(hours=KEPT_HOURS)
