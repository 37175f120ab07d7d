"""What a service is told beside its arguments: who asks, in which story, and whether this is a repeat.

A service takes one `CommandContext` and hands it to `EventStore.run_once`; it never looks at a request. Services of
every context import this, and whoever calls them.
"""

from __future__ import annotations

import msgspec

from eventstore.idempotency import Claim
from eventstore.metadata import Metadata


class CommandContext(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one use case."""

    metadata: Metadata
    claim: Claim | None = None  # None: the caller does not repeat, or does not mind doing it twice
