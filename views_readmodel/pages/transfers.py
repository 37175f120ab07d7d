"""Transfers: the list, and one of them with its steps as they are taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from transfers.permissions import TransfersPermission
from transfers.published.events import TransferStatus
from views_readmodel import queries
from views_readmodel.pages.commanding import posting
from views_readmodel.pages.days import bank_zone, bank_zone_elsewhere
from views_readmodel.pages.forms.finding import TransfersForm
from views_readmodel.pages.story import Story, story_of
from views_readmodel.pages.viewing import listed, page
from views_readmodel.projections.transfers import TransferRow

STATES: Final = tuple(status.value for status in TransferStatus)


class Line(NamedTuple):
    """A transfer in a list, with its accounts as far as they can be seen yet."""

    transfer: TransferRow
    payer: queries.AccountView | None
    payee: queries.AccountView | None


@page(TransfersPermission.VIEW_TRANSFERS)
def transfers(request: HttpRequest) -> HttpResponse:
    """All transfers, newest first, or those in a state, of an amount, and of some of the bank's days."""
    state = request.GET.get("state", "")
    state = state if state in STATES else ""
    form = TransfersForm(request.GET)

    def rows(after: Any, limit: int) -> list[TransferRow]:
        if not form.is_valid():
            return []
        narrowed: dict[str, Any] = {"state": state or None, **form.moments()}
        if amounts := form.cleaned_data["amount"]:
            return queries.transfers_of_amounts(amounts=amounts, **narrowed, after=after, limit=limit)
        return queries.transfers(**narrowed, after=after, limit=limit)

    shown, older = listed(request, rows, key=lambda row: (row.created_at, row.transfer_id), key_type=queries.Newest)
    context = {
        "lines": with_accounts(shown),
        "older": older,
        "state": state,
        "states": STATES,
        "form": form,
        "filtered": bool(state or any(form.cleaned_data.values())),
        "bank_zone_elsewhere": bank_zone_elsewhere(),
    }
    return render(request, "transfers/list.html", context)


@page(TransfersPermission.VIEW_TRANSFERS)
def transfer(request: HttpRequest, transfer_id: UUID) -> HttpResponse:
    """One transfer: what it is about, and how far it has come."""
    waited_for = posting(request)
    found = queries.transfer(transfer_id=transfer_id)
    if found is None:
        if not waited_for:
            raise Http404
        return render(request, "parts/posting.html", {"what": "transfer"})
    (line,) = with_accounts([found])
    story: Story = story_of(found, payer=line.payer, payee=line.payee)
    context = {"transfer": found, "line": line, "story": story, "bank_zone": bank_zone()}
    return render(request, "transfers/transfer.html", context)


def with_accounts(rows: Iterable[TransferRow]) -> list[Line]:
    """The transfers with their accounts, in one query more."""
    rows = list(rows)
    ids = {id for row in rows for id in (row.from_account_id, row.to_account_id)}
    known = queries.accounts_by_id(account_ids=ids)
    return [Line(row, known.get(row.from_account_id), known.get(row.to_account_id)) for row in rows]
