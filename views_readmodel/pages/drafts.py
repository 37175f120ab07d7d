"""Transfers that were written down and not yet sent, kept in the session of who wrote them.

Invariant: a draft is known by the idempotency key that it will be sent under, for good: what became of it is kept in
its place, so that the way back leads to the transfer and never to a second one.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, QueryDict

from eventstore.rest.correlation import parse_uuid

MOST_DRAFTS: Final = 8
FIELDS: Final = ("key", "from_account", "to_account", "amount", "description")
_DRAFTS: Final = "transfer_drafts"
_SENT: Final = "sent"


def keep(request: HttpRequest, written: QueryDict) -> UUID:
    """Keeps what was written down; answers with its key."""
    draft = {name: written.get(name, "") for name in FIELDS}
    key = UUID(draft["key"])
    _put(request, str(key), draft)
    return key


def find(request: HttpRequest, key: UUID) -> QueryDict | None:
    """What was written down, as the form takes it; None when it was sent, or is no longer there."""
    draft = _drafts(request).get(str(key))
    if draft is None or _SENT in draft:
        return None
    found = QueryDict(mutable=True)
    found.update(draft)
    return found


def sent_as(request: HttpRequest, key: UUID) -> UUID | None:
    """The transfer that a draft became, if it did."""
    draft = _drafts(request).get(str(key), {})
    return parse_uuid(draft.get(_SENT, ""))


def note_sent(request: HttpRequest, key: UUID, transfer_id: UUID) -> None:
    """Says what a draft became."""
    _put(request, str(key), {_SENT: str(transfer_id)})


def _drafts(request: HttpRequest) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = request.session.get(_DRAFTS, {})
    return found


def _put(request: HttpRequest, key: str, draft: dict[str, Any]) -> None:
    drafts = {other: kept for other, kept in _drafts(request).items() if other != key} | {key: draft}
    request.session[_DRAFTS] = dict(list(drafts.items())[-MOST_DRAFTS:])
