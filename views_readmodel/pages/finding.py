"""Find: one box for customers by name, accounts by number, title or customer, and transfers by id or amount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.permissions import AccountsPermission
from eventstore.rest.correlation import parse_uuid
from transfers.permissions import TransfersPermission
from views_readmodel import queries
from views_readmodel.pages.forms.finding import amounts_in
from views_readmodel.pages.transfers import with_accounts
from views_readmodel.pages.viewing import SIGNED_IN, page, typed
from views_readmodel.projections.transfers import TransferRow

EACH: Final = 6
"""How many of each kind are shown; for more of them there is the way to the list."""
SHORTEST: Final = 2
"""From how many characters on it is worth looking for names and numbers."""


@page(SIGNED_IN)
def find(request: HttpRequest) -> HttpResponse:
    """What matches, by kind; as a fragment while somebody types, or as a page."""
    asked = typed(request, "q")
    found = _found(request.user, asked)
    is_enough = len(asked) >= SHORTEST or any(found.values())
    context = {"q": asked, "asked": is_enough, "nothing": not any(found.values()), **found}
    fragment = request.htmx and not request.htmx.boosted  # type: ignore[attr-defined]
    return render(request, "staff/found.html" if fragment else "staff/find.html", context)


def _found(user: Any, asked: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    id = parse_uuid(asked)
    if user.has_perm(TransfersPermission.VIEW_TRANSFERS):
        transfers = _transfers(asked, id)
        found |= {"transfers": with_accounts(transfers[:EACH]), "more_transfers": len(transfers) > EACH}
    if len(asked) < SHORTEST:
        return found
    if user.has_perm(AccountsPermission.VIEW_ACCOUNTS):
        accounts = _accounts(asked, id)
        found |= {"accounts": accounts[:EACH], "more_accounts": len(accounts) > EACH}
    if user.has_perm(AccountsPermission.VIEW_CUSTOMERS) and not id:
        customers = queries.customers(search=asked, limit=EACH + 1)
        found |= {"customers": customers[:EACH], "more_customers": len(customers) > EACH}
    return found


def _transfers(asked: str, id: UUID | None) -> Sequence[TransferRow]:
    if id is not None:
        transfer = queries.transfer(transfer_id=id)
        return [transfer] if transfer else []
    amounts = amounts_in(asked)
    return queries.transfers_of_amounts(amounts=amounts, limit=EACH + 1) if amounts else []


def _accounts(asked: str, id: UUID | None) -> list[queries.AccountView]:
    if id is not None:
        return list(queries.accounts_by_id(account_ids=[id]).values())
    return matching_accounts(asked, limit=EACH + 1)


def matching_accounts(asked: str, *, currency: str | None = None, limit: int) -> list[queries.AccountView]:
    """The account that has this number, then the newest of those that the words are found in."""
    found = queries.find_accounts(search=asked, currency=currency, limit=limit)
    meant = queries.account_of_number(number=asked)
    if meant is None or currency not in (None, meant.currency):
        return found
    return [meant, *(other for other in found if other.account_id != meant.account_id)][:limit]
