"""The REST API's addresses: joins what reads and what writes at one address, and gives each what only the other knows.

Imported by `config.urls`. A class here has no code of its own beside that: its handlers are the contexts'.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Final, NamedTuple
from uuid import UUID

from django.http import HttpResponse
from django.urls import path, register_converter
from django.urls.converters import UUIDConverter
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.accounts import Close, Deposits, EntryReversal, Freeze, Unfreeze, Withdrawals, WriteAccounts
from accounts.api.customers import WriteCustomer, WriteCustomers
from accounts.services import account_at
from config.staff.api import Login, Logout
from eventstore.rest.answers import tagged
from eventstore.rest.etags import etag_of
from eventstore.rest.permissions import PUBLIC, requires
from transfers.api.transfers import WriteTransfers
from views_readmodel import queries
from views_readmodel.api.reads import (
    ReadAccount,
    ReadAccounts,
    ReadCustomer,
    ReadCustomers,
    ReadEntries,
    ReadTransfer,
    ReadTransfers,
)


class AnyCaseUuid(UUIDConverter):
    """A UUID in a path: written in lower case, read in either (RFC 9562)."""

    regex = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


register_converter(AnyCaseUuid, "id")


class Customers(ReadCustomers, WriteCustomers):
    """All customers."""


class Customer(ReadCustomer, WriteCustomer):
    """One customer."""


class Accounts(ReadAccounts, WriteAccounts):
    """All accounts."""


class Account(ReadAccount):
    """One account; its past is the accounts context's to tell."""

    @staticmethod
    def account_at(*, account_id: UUID, version: int | None, as_of: datetime | None) -> queries.AccountView:
        """The account as it was, with its customer as they are."""
        was = account_at(account_id=account_id, version=version, as_of=as_of)
        customer = queries.customer(customer_id=was.customer_id)
        return queries.AccountView(
            account_id=was.account_id,
            number=was.number,
            title=was.title,
            customer_id=was.customer_id,
            currency=was.currency,
            balance=was.balance,
            state=was.state,
            reference=was.reference,
            opened_at=was.opened_at,
            changed_at=was.changed_at,
            version=was.version,
            customer_name=customer.name if customer else None,
        )


class Transfers(ReadTransfers, WriteTransfers):
    """All transfers; whether one has settled is the read side's to tell."""

    @staticmethod
    def wait_until_settled(transfer_id: UUID, seconds: float) -> bool:
        """Waits until the transfer needs no more waiting for, and both accounts show it. Raises `TooManyWaiting`."""
        return queries.wait_for_transfer(transfer_id=transfer_id, seconds=seconds)


class Rendered(NamedTuple):
    """A document as it is sent."""

    body: bytes
    etag: str
    content_type: str


_rendering: Final = Lock()


@lru_cache(maxsize=8)
def _rendered_schema(renderer_class: type[BaseRenderer]) -> Rendered:
    """The schema in one format. It follows from the program alone, and writing it takes a quarter of a second."""
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    renderer = renderer_class()
    written = renderer.render(document, renderer_context={})
    body = written.encode() if isinstance(written, str) else written
    charset = f"; charset={renderer.charset}" if renderer.charset else ""
    return Rendered(body, etag_of(body), f"{renderer.media_type}{charset}")


class Schema(SpectacularAPIView):
    """The OpenAPI schema, written once for each process and format, and told from memory."""

    http_method_names = ["get", "head"]
    authentication_classes = ()

    @extend_schema(exclude=True)
    @requires(PUBLIC)
    def get(self, request: Request) -> HttpResponse:
        """The schema, as YAML or JSON."""
        renderer = request.accepted_renderer
        with _rendering:  # those who ask meanwhile wait for it, and do not write it too
            found = _rendered_schema(type(renderer))  # type: ignore[arg-type]  # a class is as hashable as any
        response = tagged(request, found.body, etag=found.etag, content_type=found.content_type)
        response.headers["Content-Disposition"] = f'inline; filename="Daybook.{renderer.format}"'
        return response


class Docs(SpectacularSwaggerSplitView):
    """The schema to look at and try out, from our own files, with no script or style in the page."""

    http_method_names = ["get", "head"]
    authentication_classes = ()
    template_name = "api/docs.html"

    @extend_schema(exclude=True)
    @requires(PUBLIC)
    def get(self, request: Request) -> Response:
        """The page, and its script."""
        response: Response = super().get(request)  # type: ignore[no-untyped-call]
        return response


urlpatterns = [
    path("auth/login", Login.as_view(), name="api-login"),
    path("auth/logout", Logout.as_view(), name="api-logout"),
    path("customers", Customers.as_view(), name="api-customers"),
    path("customers/<id:customer_id>", Customer.as_view(), name="api-customer"),
    path("accounts", Accounts.as_view(), name="api-accounts"),
    path("accounts/<id:account_id>", Account.as_view(), name="api-account"),
    path("accounts/<id:account_id>/entries", ReadEntries.as_view(), name="api-entries"),
    path("accounts/<id:account_id>/deposits", Deposits.as_view(), name="api-deposits"),
    path("accounts/<id:account_id>/withdrawals", Withdrawals.as_view(), name="api-withdrawals"),
    path(
        "accounts/<id:account_id>/entries/<id:entry_id>/reverse",
        EntryReversal.as_view(),
        name="api-entry-reversal",
    ),
    path("accounts/<id:account_id>/freeze", Freeze.as_view(), name="api-freeze"),
    path("accounts/<id:account_id>/unfreeze", Unfreeze.as_view(), name="api-unfreeze"),
    path("accounts/<id:account_id>/close", Close.as_view(), name="api-close"),
    path("transfers", Transfers.as_view(), name="api-transfers"),
    path("transfers/<id:transfer_id>", ReadTransfer.as_view(), name="api-transfer"),
    path("schema", Schema.as_view(), name="schema"),
    path("docs", Docs.as_view(), name="api-docs"),
]
