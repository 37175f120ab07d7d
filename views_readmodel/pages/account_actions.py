"""What can be done with an account: each action says who may, when it makes sense, what will happen, and does it.

An action is offered only where it can succeed as far as the page knows; where it cannot, its address says why not and
has no form. What was sent is put to the account all the same: it decides, not a read model that may be a moment behind.
A form stands in a dialog, or on a page of its own without a script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from accounts.published.money import format_amount, parse_amount
from eventstore.context import CommandContext
from eventstore.rest.requests import MAX_VERSION
from views_readmodel import queries
from views_readmodel.pages.commanding import CommandForm, carry_out, shown
from views_readmodel.pages.forms.accounts import CashForm, PayOutForm, ReasonForm
from views_readmodel.pages.tags import money
from views_readmodel.pages.viewing import go_to, page
from views_readmodel.projections.accounts import EntryKind
from views_readmodel.queries import AccountView


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be done with an account."""

    name: str  # the last part of its address
    word: str  # on the button that opens it
    title: str
    permission: AccountsPermission
    senseless: Mapping[str, str]  # why not, by the states in which it makes no sense
    hindrance: Callable[[AccountView], str] = lambda _: ""  # what is in the way in any other state, or nothing
    sentence: Callable[[AccountView], str]  # what will happen
    form: Callable[[Any, AccountView], CommandForm]
    call: Callable[[CommandContext, AccountView, dict[str, Any]], Any]
    done: Callable[[AccountView, dict[str, Any]], str]
    submit: str


def _held(account: AccountView) -> str:
    return f"{money(account.balance, account.currency)} {account.currency}"


def _asked(account: AccountView, asked: Mapping[str, str]) -> str:
    return f"{money(parse_amount(asked['amount'], account.currency), account.currency)} {account.currency}"


def _cash(data: Any, account: AccountView) -> CommandForm:
    return CashForm(data, currency=account.currency)


def _reason(data: Any, _account: AccountView) -> CommandForm:
    return ReasonForm(data)


_FROZEN: Final = "This account is frozen: no money moves in or out at the counter until a supervisor unfreezes it."
_CLOSED: Final = "This account is closed for good. Its history stays."
_MOVES_NOT: Final[Mapping[str, str]] = {AccountStatus.FROZEN: _FROZEN, AccountStatus.CLOSED: _CLOSED}


def _still_held(account: AccountView) -> str:
    if account.balance == 0:
        return ""
    return f"Only an empty account can be closed, and this one holds {_held(account)}. Pay that out or move it first."


def _nothing_held(account: AccountView) -> str:
    return "" if account.balance > 0 else "This account is closed and holds nothing that could be paid out."


DEPOSIT: Final = Action(
    name="deposit",
    word="Deposit",
    title="Deposit cash",
    permission=AccountsPermission.DEPOSIT,
    senseless=_MOVES_NOT,
    sentence=lambda account: f"You take cash in. The account holds {_held(account)} now.",
    form=_cash,
    call=lambda context, account, asked: services.deposit(context=context, account_id=account.account_id, **asked),
    done=lambda account, asked: f"{_asked(account, asked)} deposited.",
    submit="Deposit",
)
WITHDRAW: Final = Action(
    name="withdraw",
    word="Withdraw",
    title="Withdraw cash",
    permission=AccountsPermission.WITHDRAW,
    senseless=_MOVES_NOT,
    sentence=lambda account: f"You pay cash out. The account holds {_held(account)} now; it never goes below zero.",
    form=_cash,
    call=lambda context, account, asked: services.withdraw(context=context, account_id=account.account_id, **asked),
    done=lambda account, asked: f"{_asked(account, asked)} withdrawn.",
    submit="Withdraw",
)
FREEZE: Final = Action(
    name="freeze",
    word="Freeze",
    title="Freeze the account",
    permission=AccountsPermission.FREEZE_ACCOUNT,
    senseless={AccountStatus.FROZEN: "This account is frozen already.", AccountStatus.CLOSED: _CLOSED},
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
    senseless={AccountStatus.OPEN: "This account is not frozen.", AccountStatus.CLOSED: _CLOSED},
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
    senseless={
        AccountStatus.FROZEN: "This account is frozen. Unfreeze it first, then close it.",
        AccountStatus.CLOSED: "This account is closed already.",
    },
    hindrance=_still_held,
    sentence=lambda _: "It is closed for good, and its history stays.",
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
    senseless={
        AccountStatus.OPEN: "This account is open. Only a closed one is paid out here; from an open one, withdraw.",
        AccountStatus.FROZEN: "This account is frozen. Only a closed one is paid out here.",
    },
    hindrance=_nothing_held,
    sentence=lambda account: f"A refund came back after closing. You pay out all {_held(account)} in cash.",
    form=lambda data, account: PayOutForm(
        data, held=format_amount(account.balance, account.currency), currency=account.currency
    ),
    call=lambda context, account, asked: services.pay_out(context=context, account_id=account.account_id, **asked),
    done=lambda account, asked: f"{_asked(account, asked)} paid out.",
    submit="Pay out",
)

ACTIONS: Final = (DEPOSIT, WITHDRAW, FREEZE, UNFREEZE, CLOSE, PAY_OUT)
REVERSIBLE: Final = (EntryKind.DEPOSIT, EntryKind.WITHDRAWAL)


def offered(user: Any, account: AccountView) -> list[Action]:
    """What the user may do with the account as it stands."""
    return [
        action
        for action in ACTIONS
        if user.has_perm(action.permission)
        and account.state not in action.senseless
        # Closing is offered even so: who looks for it is told what to do first.
        and (action is CLOSE or not action.hindrance(account))
    ]


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
        if why := action.senseless.get(account.state) or action.hindrance(account):
            return _not_now(request, account, title=action.title, why=why)
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
    if why := _irreversible(account, entry):
        return _not_now(request, account, title="Reverse this entry", why=why)
    context = {"account": account, "entry": entry, "form": form}
    return render(request, "accounts/reverse_entry.html", context)


def _irreversible(account: AccountView, entry: queries.EntryView) -> str:
    """Why the entry cannot be reversed here, or nothing."""
    if entry.kind not in REVERSIBLE:
        return "Only a deposit or a withdrawal at the counter is reversed here. Undo a transfer by one the other way."
    if entry.entry_id in queries.reversed_entries(entries=[entry]):
        return "This entry has been reversed already."
    return _MOVES_NOT.get(account.state, "")


def _not_now(request: HttpRequest, account: AccountView, *, title: str, why: str) -> HttpResponse:
    """409: it makes no sense as things stand. In words, with the way back and without a form."""
    return render(request, "accounts/not_now.html", {"account": account, "title": title, "why": why}, status=409)


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
