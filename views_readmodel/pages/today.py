"""Today: what the day has come to so far, and the newest transfers as they arrive."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from transfers.permissions import TransfersPermission
from transfers.published.events import TransferStatus
from views_readmodel import counts, queries
from views_readmodel.counts import Tally
from views_readmodel.pages.days import bank_today, begins
from views_readmodel.pages.transfers import with_accounts
from views_readmodel.pages.viewing import SIGNED_IN, page

NEWEST: Final = 12
SLOW_SECONDS: Final = 60
"""A transfer that has been on its way for so long is somebody's business."""

_REFUSED: Final = (
    TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS.value,
    TransferStatus.REJECTED.value,
    TransferStatus.REFUNDED.value,
)


class Volume(NamedTuple):
    """What moved in one currency."""

    currency: str
    transfers: int
    amount: int  # minor units


@page(SIGNED_IN)
def today(request: HttpRequest) -> HttpResponse:
    """The page that a day begins with; it shows what the reader's role may see."""
    context: dict[str, Any] = {"day": bank_today()}
    if request.user.has_perm(TransfersPermission.VIEW_TRANSFERS):
        context |= _transfers_of_today()
    return render(request, "staff/today.html", context)


def _transfers_of_today() -> dict[str, Any]:
    tallies = counts.tallies_since(moment=begins(bank_today()))
    moving = counts.moving()
    slow = moving.oldest_at is not None and (timezone.now() - moving.oldest_at).total_seconds() > SLOW_SECONDS
    return {
        "made": sum(tally.transfers for tally in tallies),
        "volumes": _volumes(tallies),
        "refused": [(state, _count(tallies, state)) for state in _REFUSED if _count(tallies, state)],
        "moving": moving,
        "slow": slow,
        "newest": with_accounts(queries.transfers(limit=NEWEST)),
    }


def _volumes(tallies: list[Tally]) -> list[Volume]:
    """What was completed, by currency."""
    return [
        Volume(tally.currency, tally.transfers, tally.amount)
        for tally in tallies
        if tally.state == TransferStatus.COMPLETED.value
    ]


def _count(tallies: list[Tally], state: str) -> int:
    return sum(tally.transfers for tally in tallies if tally.state == state)
