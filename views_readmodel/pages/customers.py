"""Customers: the list, one of them with their accounts, registering and changing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts import services
from accounts.permissions import AccountsPermission
from eventstore.context import CommandContext
from eventstore.store import Answered
from views_readmodel import queries
from views_readmodel.pages.commanding import carry_out, posting, shown
from views_readmodel.pages.forms.accounts import OpenAccountForm
from views_readmodel.pages.forms.currencies import CURRENCIES
from views_readmodel.pages.forms.customers import ChangeCustomerForm, RegisterCustomerForm
from views_readmodel.pages.viewing import go_to, listed, page, typed
from views_readmodel.projections.customers import CustomerRow

MOST_ACCOUNTS: Final = 200
"""How many of a customer's accounts their page shows."""


class Total(NamedTuple):
    """What a customer holds in one currency."""

    currency: str
    balance: int  # minor units


@page(AccountsPermission.VIEW_CUSTOMERS)
def customers(request: HttpRequest) -> HttpResponse:
    """All customers, newest first, or those that are searched for."""
    search = typed(request, "search")

    def rows(after: Any, limit: int) -> list[CustomerRow]:
        return queries.customers(search=search or None, after=after, limit=limit)

    found, older = listed(request, rows, key=lambda row: (row.created_at, row.customer_id), key_type=queries.Newest)
    return render(request, "accounts/customers/list.html", {"customers": found, "older": older, "search": search})


@page(AccountsPermission.VIEW_CUSTOMERS)
def customer(request: HttpRequest, customer_id: UUID) -> HttpResponse:
    """One customer, their accounts, and what those hold."""
    waited_for = posting(request)
    found = queries.customer(customer_id=customer_id)
    if found is None:
        if not waited_for:
            raise Http404
        return render(request, "parts/posting.html", {"what": "customer"})
    accounts: Sequence[queries.AccountView] = ()
    if request.user.has_perm(AccountsPermission.VIEW_ACCOUNTS):
        accounts = queries.accounts(customer_id=customer_id, limit=MOST_ACCOUNTS + 1)
    has_more = len(accounts) > MOST_ACCOUNTS
    context = {
        "customer": found,
        "accounts": accounts[:MOST_ACCOUNTS],
        "has_more": has_more,
        "totals": _totals_of_all(customer_id) if has_more else _totals(accounts),
        "posting": found.version < waited_for,
    }
    return render(request, "accounts/customers/customer.html", context)


@page(AccountsPermission.REGISTER_CUSTOMER, methods=["GET", "HEAD", "POST"])
def register(request: HttpRequest) -> HttpResponse:
    """Registers a customer."""
    form = RegisterCustomerForm(request.POST or None)

    def call(context: CommandContext) -> Answered[services.RegisteredCustomer]:
        return services.register_customer(context=context, **_given(form))

    if form.is_valid() and (made := carry_out(request, form, call)):
        messages.success(request, "The customer is registered.")
        wait = shown(subject=queries.Subject.CUSTOMER, id=made.customer_id, version=made.version)
        return go_to(request, reverse("customer", args=[made.customer_id]) + wait)
    return _form(request, "accounts/customers/register.html", form)


@page(AccountsPermission.CHANGE_CUSTOMER, methods=["GET", "HEAD", "POST"])
def change(request: HttpRequest, customer_id: UUID) -> HttpResponse:
    """Renames a customer, or changes how they are reached."""
    found = _customer(customer_id)
    now = {"name": found.name, "email": found.email, "phone": found.phone}
    form = ChangeCustomerForm(request.POST or None, initial=now | {"version": found.version})

    def call(context: CommandContext) -> Answered[services.ChangedCustomer]:
        given = _given(form)
        seen = given.pop("version")
        changed = {name: value for name, value in given.items() if value != now[name]}
        return services.change_customer(context=context, customer_id=customer_id, expected_version=seen, **changed)

    if form.is_valid() and (made := carry_out(request, form, call)):
        messages.success(request, "The customer is changed.")
        wait = shown(subject=queries.Subject.CUSTOMER, id=customer_id, version=made.version)
        return go_to(request, reverse("customer", args=[customer_id]) + wait)
    return _form(request, "accounts/customers/change.html", form, customer=found)


@page(AccountsPermission.OPEN_ACCOUNT, methods=["GET", "HEAD", "POST"])
def open_account(request: HttpRequest, customer_id: UUID) -> HttpResponse:
    """Opens an account for a customer."""
    found = _customer(customer_id)
    form = OpenAccountForm(request.POST or None)

    def call(context: CommandContext) -> Answered[services.OpenedAccount]:
        return services.open_account(context=context, customer_id=customer_id, **_given(form))

    if form.is_valid() and (made := carry_out(request, form, call)):
        messages.success(request, f"Account {made.number} is open.")
        wait = shown(subject=queries.Subject.ACCOUNT, id=made.account_id, version=made.version)
        return go_to(request, reverse("account", args=[made.account_id]) + wait)
    return _form(request, "accounts/customers/open_account.html", form, customer=found, currencies=CURRENCIES.items())


def _form(request: HttpRequest, template: str, form: Any, **context: Any) -> HttpResponse:
    return render(request, template, {"form": form, **context})


def _customer(customer_id: UUID) -> CustomerRow:
    found = queries.customer(customer_id=customer_id)
    if found is None:
        raise Http404
    return found


def _given(form: Any) -> dict[str, Any]:
    """What the form asks for, as services take it: what was left empty is absent (None)."""
    return {name: value or None for name, value in form.cleaned_data.items() if name != "key"}


def _totals_of_all(customer_id: UUID) -> list[Total]:
    return [Total(currency, balance) for currency, balance in queries.holdings(customer_id=customer_id)]


def _totals(accounts: Sequence[queries.AccountView]) -> list[Total]:
    currencies = sorted({account.currency for account in accounts})
    return [
        Total(currency, sum(account.balance for account in accounts if account.currency == currency))
        for currency in currencies
    ]
