"""What is recorded beside every event: who, and because of what. Pure."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """Who caused an event and which story it belongs to. Never holds personal data."""

    actor: str  # "staff:<name>", "service:<name>" or "system:<subscription id>"
    correlation_id: UUID  # one for the whole story, across streams
    causation_id: UUID | None = None  # the event or the request that directly caused this one
    origin: str = ""  # where the request came in: "api", "web", "command"

    def caused_by(self, *, event_id: UUID, actor: str) -> Metadata:
        """The metadata of what `actor` does because of the event `event_id`, in the same story."""
        return Metadata(actor=actor, correlation_id=self.correlation_id, causation_id=event_id, origin=self.origin)


def actor_of(user: Any) -> str:
    """How events and the record name a user: by the user model's own `actor`, such as "staff:alice"."""
    return getattr(user, "actor", None) or f"user:{user.get_username()}"
