"""Today: what the day has come to so far, and the newest transfers as they arrive."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from django.db import DEFAULT_DB_ALIAS
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from eventstore import inspection
from transfers.permissions import TransfersPermission
from transfers.published.events import TransferStatus
from views_readmodel import counts, queries
from views_readmodel.counts import Tally
from views_readmodel.pages.days import bank_today, bank_zone_elsewhere, begins
from views_readmodel.pages.transfers import with_accounts
from views_readmodel.pages.viewing import SIGNED_IN, page
from views_readmodel.projections.transfers import TransferRow
from views_readmodel.slow import SlowTransfer, slow_steps, slow_transfers

NEWEST: Final = 12
MOST_SLOW: Final = 8
"""So many of the slow transfers are shown; the lists by state have the rest."""

_REFUSED: Final = (
    TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS.value,
    TransferStatus.REJECTED.value,
    TransferStatus.REFUNDED.value,
)


SEES_SUBSCRIPTIONS: Final = "eventstore.view_checkpoint"
"""The permission of those who look after Daybook itself."""


class Machine(NamedTuple):
    """How Daybook itself is doing."""

    log: inspection.LogState
    parked_events: int
    parked_since: datetime | None
    furthest_behind: inspection.Part | None
    stopped: list[inspection.Part]  # paused by an operator, or held for a while
    slow_step: inspection.Undone | None  # the oldest that no saga has taken


class Volume(NamedTuple):
    """What moved in one currency."""

    currency: str
    transfers: int
    amount: int  # minor units


@page(SIGNED_IN)
def today(request: HttpRequest) -> HttpResponse:
    """The page that a day begins with; it shows what the reader's role may see."""
    day = bank_today()
    context: dict[str, Any] = {"day": day, "bank_zone_elsewhere": bank_zone_elsewhere()}
    if request.user.has_perm(TransfersPermission.VIEW_TRANSFERS):
        context |= _transfers_of(day)
    if request.user.has_perm(SEES_SUBSCRIPTIONS):
        context |= {"machine": _machine()}
    return render(request, "staff/today.html", context)


def _transfers_of(day: date) -> dict[str, Any]:
    tallies = counts.tallies_since(moment=begins(day))
    moving = counts.moving()
    slow = slow_transfers()
    return {
        "of_the_day": urlencode({"first": day, "last": day}),  # what the list is to be narrowed down to
        "made": sum(tally.transfers for tally in tallies),
        "volumes": _volumes(tallies),
        "refused": [(state, _count(tallies, state)) for state in _REFUSED if _count(tallies, state)],
        "moving": moving,
        "slow": slow,
        "slow_step": next(iter(slow_steps()), None),
        "slow_lines": with_accounts(_shown(slow[:MOST_SLOW])),
        "slow_states": sorted({one.state for one in slow}),
        "newest": with_accounts(queries.transfers(limit=NEWEST)),
    }


def _shown(slow: list[SlowTransfer]) -> list[TransferRow]:
    found = [queries.transfer(transfer_id=one.transfer_id) for one in slow]
    return [transfer for transfer in found if transfer is not None]


def _machine() -> Machine:
    using = DEFAULT_DB_ALIAS
    parked = inspection.count_parked(using=using).values()
    parts = [part for part in inspection.parts(using=using) if part.status != "replaying"]
    behind = [part for part in parts if part.lag_events]
    return Machine(
        log=inspection.log_state(using=using),
        parked_events=sum(one.events for one in parked),
        parked_since=min((one.oldest for one in parked), default=None),
        furthest_behind=max(behind, key=lambda part: part.lag_events, default=None),
        stopped=[part for part in parts if part.status == "paused" or part.held_reason],
        slow_step=next(iter(slow_steps()), None),
    )


def _volumes(tallies: list[Tally]) -> list[Volume]:
    """What was completed, by currency."""
    return [
        Volume(tally.currency, tally.transfers, tally.amount)
        for tally in tallies
        if tally.state == TransferStatus.COMPLETED.value
    ]


def _count(tallies: list[Tally], state: str) -> int:
    return sum(tally.transfers for tally in tallies if tally.state == state)
