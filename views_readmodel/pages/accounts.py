"""Accounts: the list, one of them with its statement, and the statement on paper."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from accounts.permissions import AccountsPermission
from accounts.published.events import AccountStatus
from accounts.published.money import DECIMALS
from eventstore.rest.csv_files import TooManyDownloads
from eventstore.rest.requests import MAX_VERSION
from views_readmodel import queries
from views_readmodel.downloads import entries_csv
from views_readmodel.pages.account_actions import REVERSIBLE, offered
from views_readmodel.pages.commanding import posting
from views_readmodel.pages.days import bank_today, bank_zone
from views_readmodel.pages.failures import RETRY_SECONDS, too_many
from views_readmodel.pages.forms.currencies import CURRENCIES, FUNDS
from views_readmodel.pages.forms.days import SpanForm
from views_readmodel.pages.viewing import Version, listed, page, typed
from views_readmodel.projections.accounts import EntryKind

STATES: Final = tuple(status.value for status in AccountStatus)
MOST_LINES: Final = 400
"""How many entries one sheet of a printed statement takes, so that it is made in 200 ms; the next sheet goes on."""


class Statement(NamedTuple):
    """A sheet with the entries of some days, the oldest first, between two balances in minor units."""

    opening: int
    entries: list[queries.EntryView]
    closing: int
    money_in: int
    money_out: int
    earlier: int | None  # the version before which an earlier sheet ends, when the days have more entries
    is_last: bool  # whether no later sheet goes on from here
    is_whole: bool  # whether all entries of the days are on this one sheet


@page(AccountsPermission.VIEW_ACCOUNTS)
def accounts(request: HttpRequest) -> HttpResponse:
    """All accounts, newest first, or those that are filtered and searched for, as Find does."""
    search = typed(request, "search")
    state, currency = request.GET.get("state", ""), request.GET.get("currency", "")
    state, currency = state if state in STATES else "", currency if currency in DECIMALS else ""

    def rows(after: Any, limit: int) -> list[queries.AccountView]:
        narrowed: dict[str, Any] = {"state": state or None, "currency": currency or None}
        if search:
            return queries.find_accounts(search=search, **narrowed, after=after, limit=limit)
        return queries.accounts(**narrowed, after=after, limit=limit)

    found, older = listed(request, rows, key=lambda row: (row.opened_at, row.account_id), key_type=queries.Newest)
    context = {
        "accounts": found,
        "older": older,
        "search": search,
        "state": state,
        "currency": currency,
        "states": STATES,
        "currencies": [*CURRENCIES, *sorted(FUNDS)],
        "filtered": bool(search or state or currency),
        "common_name": bool(search) and not older and queries.is_common_name(search=search),
        "most_customers": queries.MOST_CUSTOMERS_OF_A_NAME,
    }
    return render(request, "accounts/list.html", context)


@page(AccountsPermission.VIEW_ACCOUNTS)
def account(request: HttpRequest, account_id: UUID) -> HttpResponse:
    """One account: its balance, its state, what can be done with it, and its statement."""
    waited_for = posting(request)
    found = queries.account(account_id=account_id)
    if found is None:
        if not waited_for:
            raise Http404
        return render(request, "parts/posting.html", {"what": "account"})
    kind = request.GET.get("kind", "")
    kind = kind if kind in [known.value for known in EntryKind] else ""

    def rows(after: Any, limit: int) -> list[queries.EntryView]:
        return queries.entries(account_id=account_id, kind=kind or None, after=after, limit=limit)

    entries, older = listed(request, rows, key=lambda row: row.version, key_type=Version)
    context = {
        "account": found,
        "entries": entries,
        "older": older,
        "kind": kind,
        "kinds": [known.value for known in EntryKind],
        "actions": offered(request.user, found),
        "reversible": REVERSIBLE,
        "reversed": queries.reversed_entries(entries=entries),
        "posting": found.version < waited_for,
    }
    return render(request, "accounts/account.html", context)


@page(AccountsPermission.VIEW_ACCOUNTS)
def statement(request: HttpRequest, account_id: UUID) -> HttpResponse:
    """The statement of some days, fit to be printed: opening balance, entries, closing balance.

    In the bank's time zone, wherever the reader is: the days are the bank's, and so are the times beside them.
    """
    found = queries.account(account_id=account_id)
    if found is None:
        raise Http404
    form = _span_form(request)
    context: dict[str, Any] = {"account": found, "form": form}
    if form.is_valid():
        before = _version(request.GET.get("before", ""))
        context |= form.cleaned_data | {"statement": _statement(account_id, before=before, **form.moments())}
    with timezone.override(bank_zone()):
        return render(request, "accounts/statement.html", context)


@page(AccountsPermission.VIEW_ACCOUNTS)
def statement_file(request: HttpRequest, account_id: UUID) -> HttpResponseBase:
    """The entries of some days, every one of them, for a spreadsheet."""
    found = queries.account(account_id=account_id)
    form = _span_form(request)
    if found is None or not form.is_valid():
        raise Http404
    try:
        return entries_csv(found, **form.moments(), for_spreadsheets=True)
    except TooManyDownloads:
        return too_many(request, retry_seconds=RETRY_SECONDS)


def _span_form(request: HttpRequest) -> SpanForm:
    """The days that are asked for; this month's so far when none are."""
    now = bank_today()
    return SpanForm(request.GET if "first" in request.GET else {"first": now.replace(day=1), "last": now})


def _version(text: str) -> int | None:
    """The version that an address names, or None when it names none. Raises Http404 for anything else."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 0 < int(text) <= MAX_VERSION):
        raise Http404
    return int(text)


def _statement(
    account_id: UUID, *, created_from: datetime | None, created_to: datetime | None, before: int | None
) -> Statement:
    newest_first = queries.entries(
        account_id=account_id,
        created_from=created_from,
        created_to=created_to,
        after=before,
        limit=MOST_LINES + 1,
    )
    entries = newest_first[:MOST_LINES][::-1]
    if entries:
        opening = entries[0].balance_after - entries[0].amount
    else:
        earlier = queries.entries(account_id=account_id, created_to=created_from, limit=1)
        opening = earlier[0].balance_after if earlier else 0
    return Statement(
        opening=opening,
        entries=entries,
        closing=entries[-1].balance_after if entries else opening,
        money_in=sum(entry.amount for entry in entries if entry.amount > 0),
        money_out=sum(entry.amount for entry in entries if entry.amount < 0),
        earlier=entries[0].version if len(newest_first) > MOST_LINES else None,
        is_last=before is None,
        is_whole=before is None and len(newest_first) <= MOST_LINES,
    )
