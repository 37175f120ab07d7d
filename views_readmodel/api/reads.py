"""The handlers of the read API: each asks one query, and answers with documents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final, Protocol, TypeVar
from uuid import UUID

import msgspec
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from msgspec import UNSET
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from accounts.permissions import AccountsPermission
from eventstore.facts import first_events
from eventstore.rest.answers import JSON, document
from eventstore.rest.csv_files import CSV, CsvRenderer
from eventstore.rest.cursors import decode_cursor, name_of_list, page_of, refuse_paging
from eventstore.rest.permissions import requires
from eventstore.rest.requests import MAX_VERSION, read_query
from eventstore.rest.schema import ETAG, IF_NONE_MATCH
from eventstore.rest.views import ApiView
from transfers.permissions import TransfersPermission
from views_readmodel import queries
from views_readmodel.api.documents import (
    AccountDocument,
    AccountPage,
    CustomerDocument,
    CustomerPage,
    EntryDocument,
    EntryPage,
    TransferDocument,
    TransferPage,
    account_document,
    customer_document,
    entry_document,
    transfer_document,
)
from views_readmodel.api.parameters import (
    AccountQuery,
    AccountsQuery,
    CustomersQuery,
    EntriesQuery,
    MinVersionQuery,
    TransfersQuery,
)
from views_readmodel.downloads import entries_csv
from views_readmodel.queries import AccountView, Subject

INCLUDED_ROWS: Final = 20
"""How many changes and transfers an account's document has at most."""

NewestKey = tuple[Annotated[datetime, msgspec.Meta(tz=True)], UUID]
VersionKey = Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]


class Versioned(Protocol):
    """What says how far it has come."""

    @property
    def version(self) -> int:
        """The stream's version."""


V = TypeVar("V", bound=Versioned)


class ReadCustomers(ApiView):
    """All customers."""

    @extend_schema(
        operation_id="list_customers",
        parameters=[CustomersQuery, IF_NONE_MATCH, ETAG],
        responses={200: CustomerPage},
    )
    @requires(AccountsPermission.VIEW_CUSTOMERS)
    def get(self, request: Request) -> HttpResponse:
        """List customers, newest first."""
        asked = read_query(request, CustomersQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        list_name = name_of_list("customers", asked)
        after = decode_cursor(cursor, NewestKey, list_name=list_name)
        rows = queries.customers(**asked, after=after, limit=limit + 1)
        page, cursor = page_of(
            rows, limit=limit, key=lambda row: (row.created_at, row.customer_id), list_name=list_name
        )
        return document(request, CustomerPage(data=list(map(customer_document, page)), next_cursor=cursor))


class ReadCustomer(ApiView):
    """One customer."""

    @extend_schema(
        operation_id="get_customer",
        parameters=[MinVersionQuery, IF_NONE_MATCH, ETAG],
        responses={200: CustomerDocument},
    )
    @requires(AccountsPermission.VIEW_CUSTOMERS)
    def get(self, request: Request, customer_id: UUID) -> HttpResponse:
        """Get a customer."""
        asked = read_query(request, MinVersionQuery)
        row = _visible(
            lambda: queries.customer(customer_id=customer_id),
            subject=Subject.CUSTOMER,
            id=customer_id,
            min_version=asked.get("min_version"),
        )
        return document(request, customer_document(row), version=row.version)


class ReadAccounts(ApiView):
    """All accounts."""

    @extend_schema(
        operation_id="list_accounts",
        parameters=[AccountsQuery, IF_NONE_MATCH, ETAG],
        responses={200: AccountPage},
    )
    @requires(AccountsPermission.VIEW_ACCOUNTS)
    def get(self, request: Request) -> HttpResponse:
        """List accounts, newest first."""
        asked = read_query(request, AccountsQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        list_name = name_of_list("accounts", asked)
        after = decode_cursor(cursor, NewestKey, list_name=list_name)
        rows = queries.accounts(**asked, after=after, limit=limit + 1)
        page, cursor = page_of(rows, limit=limit, key=lambda row: (row.opened_at, row.account_id), list_name=list_name)
        return document(request, AccountPage(data=list(map(account_document, page)), next_cursor=cursor))


class ReadAccount(ApiView):
    """One account."""

    account_at: Callable[..., AccountView]
    """The account as it was at a `version` or `as_of` a moment, from its events. The router gives it."""

    @extend_schema(
        operation_id="get_account",
        parameters=[AccountQuery, IF_NONE_MATCH, ETAG],
        responses={200: AccountDocument},
    )
    @requires(AccountsPermission.VIEW_ACCOUNTS)
    def get(self, request: Request, account_id: UUID) -> HttpResponse:
        """Get an account, as it is or as it was.

        `as_of` and `at_version` answer from the events; the customer's name is today's.
        """
        asked = read_query(request, AccountQuery)
        if "as_of" in asked or "at_version" in asked:
            past = self.account_at(account_id=account_id, as_of=asked.get("as_of"), version=asked.get("at_version"))
            return document(request, account_document(past), version=past.version)
        view = _visible_account(account_id, asked.get("min_version"))
        include = asked.get("include", frozenset())
        found = account_document(
            view,
            changes=_newest_entries(view) if "changes" in include else UNSET,
            transfers=_newest_transfers(view) if "transfers" in include else UNSET,
        )
        return document(request, found, version=view.version)


class ReadEntries(ApiView):
    """An account's statement."""

    renderer_classes = (JSONRenderer, CsvRenderer)

    @extend_schema(
        operation_id="list_entries",
        parameters=[EntriesQuery, IF_NONE_MATCH, ETAG],
        responses={(200, JSON): EntryPage, (200, CSV): OpenApiTypes.STR},
    )
    @requires(AccountsPermission.VIEW_ACCOUNTS)
    def get(self, request: Request, account_id: UUID) -> HttpResponseBase:
        """List the lines of an account's statement, newest first.

        A page of them as JSON, or every one as CSV: with `Accept: text/csv` or `format=csv`.
        """
        asked = read_query(request, EntriesQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        min_version = asked.pop("min_version", None)
        if asked.pop("format", request.accepted_renderer.format) == CsvRenderer.format:
            refuse_paging(request, whole="CSV")
            return entries_csv(_visible_account(account_id, min_version), **asked)
        list_name = name_of_list(f"entries of {account_id}", asked)
        after = decode_cursor(cursor, VersionKey, list_name=list_name)
        account = _visible_account(account_id, min_version)
        rows = queries.entries(account_id=account_id, **asked, after=after, limit=limit + 1)
        page, cursor = page_of(rows, limit=limit, key=lambda row: row.version, list_name=list_name)
        lines = [entry_document(row, currency=account.currency) for row in page]
        return document(request, EntryPage(data=lines, next_cursor=cursor), version=account.version)


class ReadTransfers(ApiView):
    """All transfers."""

    @extend_schema(
        operation_id="list_transfers",
        parameters=[TransfersQuery, IF_NONE_MATCH, ETAG],
        responses={200: TransferPage},
    )
    @requires(TransfersPermission.VIEW_TRANSFERS)
    def get(self, request: Request) -> HttpResponse:
        """List transfers, newest first, without their steps."""
        asked = read_query(request, TransfersQuery)
        limit, cursor = asked.pop("limit"), asked.pop("cursor", None)
        list_name = name_of_list("transfers", asked)
        after = decode_cursor(cursor, NewestKey, list_name=list_name)
        rows = queries.transfers(**asked, after=after, limit=limit + 1)
        page, cursor = page_of(
            rows, limit=limit, key=lambda row: (row.created_at, row.transfer_id), list_name=list_name
        )
        return document(request, TransferPage(data=list(map(transfer_document, page)), next_cursor=cursor))


class ReadTransfer(ApiView):
    """One transfer."""

    @extend_schema(
        operation_id="get_transfer",
        parameters=[MinVersionQuery, IF_NONE_MATCH, ETAG],
        responses={200: TransferDocument},
    )
    @requires(TransfersPermission.VIEW_TRANSFERS)
    def get(self, request: Request, transfer_id: UUID) -> HttpResponse:
        """Get a transfer with its steps."""
        asked = read_query(request, MinVersionQuery)
        row = _visible(
            lambda: queries.transfer(transfer_id=transfer_id),
            subject=Subject.TRANSFER,
            id=transfer_id,
            min_version=asked.get("min_version"),
        )
        return document(request, transfer_document(row), version=row.version)


def _visible(read: Callable[[], V | None], *, subject: Subject, id: UUID, min_version: int | None) -> V:
    """What `read` finds, as soon as it has come to `min_version`. Raises NotFound, `NotYetVisible`."""
    found = read()
    if min_version is not None and (found is None or found.version < min_version):
        if id not in first_events([id]):  # it would be waited for in vain
            raise NotFound(f"There is no such {subject}.")
        queries.wait_for_version(subject=subject, id=id, version=min_version)
        found = read()
    if found is None:
        raise NotFound(f"There is no such {subject}.")
    return found


def _visible_account(account_id: UUID, min_version: int | None) -> AccountView:
    return _visible(
        lambda: queries.account(account_id=account_id),
        subject=Subject.ACCOUNT,
        id=account_id,
        min_version=min_version,
    )


def _newest_entries(account: AccountView) -> list[EntryDocument]:
    rows = queries.entries(account_id=account.account_id, limit=INCLUDED_ROWS)
    return [entry_document(row, currency=account.currency) for row in rows]


def _newest_transfers(account: AccountView) -> list[TransferDocument]:
    rows = queries.transfers(account_id=account.account_id, limit=INCLUDED_ROWS)
    return [transfer_document(row) for row in rows]
