"""Counts over the read models, for the page that a day begins with. Reading code: nothing in here writes.

Amounts are integers in minor units.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

from django.db import connections, router

from transfers.published.events import FINAL_STATUSES, TransferStatus
from views_readmodel import models

MOVING: Final = tuple(sorted(status.value for status in TransferStatus if status not in FINAL_STATUSES))
"""The states of transfers that are on their way."""


class Tally(NamedTuple):
    """How many transfers there are in a currency and a state, and what they come to."""

    currency: str
    state: str
    transfers: int
    amount: int


class Moving(NamedTuple):
    """The transfers that are on their way."""

    transfers: int
    oldest_at: datetime | None


# Transfers made since a moment, by currency and state.
_TALLIES = """
SELECT currency, state, count(*), sum(amount)::bigint
FROM readmodel.transfer WHERE created_at >= %s
GROUP BY currency, state ORDER BY currency, state
"""

# How many transfers are in one of some states, and since when the oldest is.
_MOVING = "SELECT count(*), min(created_at) FROM readmodel.transfer WHERE state = ANY(%s)"


def tallies_since(*, moment: datetime) -> list[Tally]:
    """What has been asked for since a moment, by currency and state."""
    with connections[router.db_for_read(models.Transfer)].cursor() as cursor:
        cursor.execute(_TALLIES, [moment])
        return [Tally(*row) for row in cursor.fetchall()]


def moving(*, states: Collection[str] = MOVING) -> Moving:
    """The transfers that are on their way now."""
    with connections[router.db_for_read(models.Transfer)].cursor() as cursor:
        cursor.execute(_MOVING, [list(states)])
        return Moving(*cursor.fetchone())
