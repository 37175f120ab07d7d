"""What can be done with an account: each action says who may, when it makes sense, what will happen, and does it.

An action is offered only where it can succeed as far as the page knows; the account itself decides. Its form stands in
a dialog, or on a page of its own without a script.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts import services
from accounts.permissions import AccountsPermission
from accounts.published.events import AccountStatus
from accounts.published.money import format_amount
from eventstore.context import CommandContext
from eventstore.rest.requests import MAX_VERSION
from views_readmodel import queries
from views_readmodel.pages.commanding import CommandForm, carry_out, shown
from views_readmodel.pages.forms.accounts import CashForm, PayOutForm, ReasonForm
from views_readmodel.pages.tags import money
from views_readmodel.pages.viewing import go_to, page
from views_readmodel.queries import AccountView


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be done with an account."""

    name: str  # the last part of its address
    word: str  # on the button that opens it
    title: str
    permission: AccountsPermission
    makes_sense: Callable[[AccountView], bool]
    sentence: Callable[[AccountView], str]  # what will happen
    form: Callable[[Any, AccountView], CommandForm]
    call: Callable[[CommandContext, AccountView, dict[str, Any]], Any]
    done: Callable[[AccountView, dict[str, Any]], str]
    submit: str


def _held(account: AccountView) -> str:
    return f"{money(account.balance, account.currency)} {account.currency}"


def _cash(data: Any, account: AccountView) -> CommandForm:
    return CashForm(data, currency=account.currency)


def _reason(data: Any, _account: AccountView) -> CommandForm:
    return ReasonForm(data)


def _is(status: AccountStatus) -> Callable[[AccountView], bool]:
    return lambda account: account.state == status


DEPOSIT: Final = Action(
    name="deposit",
    word="Deposit",
    title="Deposit cash",
    permission=AccountsPermission.DEPOSIT,
    makes_sense=_is(AccountStatus.OPEN),
    sentence=lambda account: f"You take cash in. The account holds {_held(account)} now, and more by the amount after.",
    form=_cash,
    call=lambda context, account, asked: services.deposit(context=context, account_id=account.account_id, **asked),
    done=lambda account, asked: f"{asked['amount']} {account.currency} deposited.",
    submit="Deposit",
)
WITHDRAW: Final = Action(
    name="withdraw",
    word="Withdraw",
    title="Withdraw cash",
    permission=AccountsPermission.WITHDRAW,
    makes_sense=_is(AccountStatus.OPEN),
    sentence=lambda account: f"You pay cash out. The account holds {_held(account)} now; it never goes below zero.",
    form=_cash,
    call=lambda context, account, asked: services.withdraw(context=context, account_id=account.account_id, **asked),
    done=lambda account, asked: f"{asked['amount']} {account.currency} withdrawn.",
    submit="Withdraw",
)
FREEZE: Final = Action(
    name="freeze",
    word="Freeze",
    title="Freeze the account",
    permission=AccountsPermission.FREEZE_ACCOUNT,
    makes_sense=_is(AccountStatus.OPEN),
    sentence=lambda _: "No money moves in or out until it is unfrozen. Transfers to it are paid back to their payers.",
    form=_reason,
    call=lambda context, account, asked: services.freeze_account(
        context=context, account_id=account.account_id, **asked
    ),
    done=lambda account, _: f"Account {account.number} is frozen.",
    submit="Freeze",
)
UNFREEZE: Final = Action(
    name="unfreeze",
    word="Unfreeze",
    title="Unfreeze the account",
    permission=AccountsPermission.FREEZE_ACCOUNT,
    makes_sense=_is(AccountStatus.FROZEN),
    sentence=lambda _: "Money moves in and out again from now on.",
    form=_reason,
    call=lambda context, account, asked: services.unfreeze_account(
        context=context, account_id=account.account_id, **asked
    ),
    done=lambda account, _: f"Account {account.number} is open again.",
    submit="Unfreeze",
)
CLOSE: Final = Action(
    name="close",
    word="Close",
    title="Close the account",
    permission=AccountsPermission.CLOSE_ACCOUNT,
    makes_sense=_is(AccountStatus.OPEN),
    sentence=lambda account: (
        "It is closed for good, and its history stays."
        if account.balance == 0
        else f"Only an empty account can be closed, and this one holds {_held(account)}. Pay that out or move it first."
    ),
    form=_reason,
    call=lambda context, account, asked: services.close_account(
        context=context, account_id=account.account_id, **asked
    ),
    done=lambda account, _: f"Account {account.number} is closed.",
    submit="Close for good",
)
PAY_OUT: Final = Action(
    name="pay-out",
    word="Pay out",
    title="Pay out the closed account",
    permission=AccountsPermission.PAY_OUT_CLOSED_ACCOUNT,
    makes_sense=lambda account: account.state == AccountStatus.CLOSED and account.balance > 0,
    sentence=lambda account: f"A refund came back after closing. You pay out all {_held(account)} in cash.",
    form=lambda data, _account: PayOutForm(data),
    call=lambda context, account, asked: services.pay_out(
        context=context,
        account_id=account.account_id,
        amount=format_amount(account.balance, account.currency),
        **asked,
    ),
    done=lambda account, _: f"{_held(account)} paid out.",
    submit="Pay out",
)

ACTIONS: Final = (DEPOSIT, WITHDRAW, FREEZE, UNFREEZE, CLOSE, PAY_OUT)


def offered(user: Any, account: AccountView) -> list[Action]:
    """What the user may do with the account as it stands."""
    return [action for action in ACTIONS if action.makes_sense(account) and user.has_perm(action.permission)]


def view_of(action: Action) -> Callable[..., Any]:
    """The page of an action."""

    @page(action.permission, methods=["GET", "HEAD", "POST"])
    def view(request: HttpRequest, account_id: UUID) -> HttpResponse:
        account = _account(account_id)
        form = action.form(request.POST or None, account)
        if form.is_valid():
            asked = {name: value for name, value in form.cleaned_data.items() if name != "key"}
            if made := carry_out(request, form, lambda context: action.call(context, account, asked)):
                messages.success(request, action.done(account, asked))
                return _back(request, account_id, made.version)
        context = {"action": action, "account": account, "form": form, "sentence": action.sentence(account)}
        return render(request, "accounts/action.html", context)

    return view


@page(AccountsPermission.REVERSE_ENTRY, methods=["GET", "HEAD", "POST"])
def reverse_entry(request: HttpRequest, account_id: UUID, version: int) -> HttpResponse:
    """Undoes a deposit or a withdrawal that was a mistake; the version is the entry's."""
    account, entry = _account(account_id), _entry(account_id, version)
    form = ReasonForm(request.POST or None)

    def call(context: CommandContext) -> Any:
        reason = form.cleaned_data["reason"]
        return services.reverse_entry(context=context, account_id=account_id, entry_id=entry.entry_id, reason=reason)

    if form.is_valid() and (made := carry_out(request, form, call)):
        messages.success(request, "The entry is reversed.")
        return _back(request, account_id, made.version)
    context = {"account": account, "entry": entry, "form": form}
    return render(request, "accounts/reverse_entry.html", context)


def _back(request: HttpRequest, account_id: UUID, version: int) -> HttpResponse:
    wait = shown(subject=queries.Subject.ACCOUNT, id=account_id, version=version)
    return go_to(request, reverse("account", args=[account_id]) + wait)


def _account(account_id: UUID) -> AccountView:
    found = queries.account(account_id=account_id)
    if found is None:
        raise Http404
    return found


def _entry(account_id: UUID, version: int) -> queries.EntryView:
    found = queries.entries(account_id=account_id, after=version + 1, limit=1) if version < MAX_VERSION else []
    if not found or found[0].version != version:
        raise Http404
    return found[0]
