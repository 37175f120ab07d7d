"""A new transfer in two steps: write it down, then look at it once more and send it.

The two steps have addresses of their own, so that a reload and the way back are only looking.

Invariant: both steps carry one idempotency key, so that however often the second is sent, money moves once; and what is
sent is what was looked at, whatever was written in another tab meanwhile.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts.published.events import AccountStatus
from accounts.published.money import parse_amount
from eventstore.context import CommandContext
from eventstore.metadata import actor_of
from eventstore.rest.correlation import parse_uuid
from eventstore.store import Answered
from transfers import services
from transfers.permissions import TransfersPermission
from views_readmodel import queries
from views_readmodel.drafts import keeping
from views_readmodel.drafts.keeping import Draft
from views_readmodel.pages.commanding import USED_ALREADY_CODE, carry_out, shown
from views_readmodel.pages.finding import matching_accounts
from views_readmodel.pages.forms.transfers import NewTransferForm
from views_readmodel.pages.viewing import go_to, page, typed

SUGGESTIONS: Final = 8
SENT_OTHERWISE: Final = (
    "What you looked at was changed and sent meanwhile, from another tab. This is the transfer that was made of it."
)
_RECENT: Final = 40  # transfers that the payer's usual counterparties are taken from


@page(TransfersPermission.CREATE_TRANSFER, methods=["GET", "HEAD", "POST"])
def new_transfer(request: HttpRequest) -> HttpResponse:
    """The form. What is written down in it is kept, and looked at once more at an address of its own."""
    form = NewTransferForm(request.POST or None, initial=_initial(request))
    if not form.is_valid():
        return _show(request, form)
    key, written = form.cleaned_data["key"], keeping.fields_of(request.POST)
    draft = keeping.keep(principal=actor_of(request.user), key=key, written=written)
    if draft.written != written:  # that is what was sent, perhaps from another tab
        return _show_anew(request, written, made=draft.transfer_id)
    return go_to(request, reverse("review-transfer", args=[key]))


@page(TransfersPermission.CREATE_TRANSFER, methods=["GET", "HEAD", "POST"])
def review_transfer(request: HttpRequest, key: UUID) -> HttpResponse:
    """The review, and the sending. A draft that was sent leads to its transfer, however one comes here again."""
    draft = keeping.find(principal=actor_of(request.user), key=key)
    if draft is None:
        messages.warning(request, "What was written down is no longer here, and nothing was sent. Write it down again.")
        return go_to(request, reverse("new-transfer"))
    is_sent_as_seen = request.method == "POST" and request.POST.get("seen") == draft.fingerprint
    if draft.transfer_id:
        if request.method == "POST" and not is_sent_as_seen:
            messages.warning(request, SENT_OTHERWISE)
        return go_to(request, reverse("transfer", args=[draft.transfer_id]))
    form = NewTransferForm(draft.form_data())
    if not form.is_valid():  # what was right when it was written down may not be any more
        return _show(request, form)
    if not is_sent_as_seen:
        return _show_review(request, form, draft)
    return _send(request, form, draft)


def _send(request: HttpRequest, form: NewTransferForm, draft: Draft) -> HttpResponse:
    """On to the transfer; or the form again, with why there is none."""
    principal, key = actor_of(request.user), form.cleaned_data["key"]
    made = carry_out(request, form, lambda context: _create(context, form.cleaned_data))
    if made is None and form.has_error(NON_FIELD_ERRORS, USED_ALREADY_CODE):  # in the very moment, from another tab
        now = keeping.find(principal=principal, key=key)
        return _show_anew(request, draft.written, made=now.transfer_id if now else None)
    if made is None:
        return _show(request, form)
    keeping.note_sent(principal=principal, key=key, transfer_id=made.transfer_id)
    wait = shown(subject=queries.Subject.TRANSFER, id=made.transfer_id, version=made.version)
    return go_to(request, reverse("transfer", args=[made.transfer_id]) + wait)


@page(TransfersPermission.CREATE_TRANSFER)
def suggest_accounts(request: HttpRequest) -> HttpResponse:
    """Accounts for what has been typed so far; with nothing typed, whom the payer paid last."""
    search = typed(request, "from_account") or typed(request, "to_account")
    payer = queries.account_of_number(number=request.GET.get("payer", ""))
    currency = payer.currency if payer else None
    if len(search) >= 2:
        found = matching_accounts(search, currency=currency, limit=SUGGESTIONS)
    elif payer:
        found = _recent_counterparties(payer)
    else:
        found = []
    found = [account for account in found if account.state != AccountStatus.CLOSED and account != payer]
    context = {"accounts": found, "search": search, "payer": payer, "list_id": request.GET.get("list", "suggestions")}
    return render(request, "transfers/suggestions.html", context)


def _show(request: HttpRequest, form: NewTransferForm, **context: Any) -> HttpResponse:
    payer, payee = _typed(form, "from_account"), _typed(form, "to_account")
    form.point_at(form.wrong_field() or ("to_account" if form["from_account"].value() else "from_account"))
    return render(request, "transfers/new.html", {"form": form, "payer": payer, "payee": payee, **context})


def _show_anew(request: HttpRequest, written: dict[str, str], *, made: UUID | None) -> HttpResponse:
    """What stands in a form that was used up, in one that is new, and the way to the transfer that was made."""
    form = NewTransferForm(initial={name: text for name, text in written.items() if name != "key"})
    return _show(request, form, was_used=True, made=made)


def _show_review(request: HttpRequest, form: NewTransferForm, draft: Draft) -> HttpResponse:
    context = {"form": form, "key": form.cleaned_data["key"], "seen": draft.fingerprint}
    is_changed = request.method == "POST"
    return render(request, "transfers/review.html", {**context, "is_changed": is_changed, **_review(form.cleaned_data)})


def _initial(request: HttpRequest) -> dict[str, Any]:
    """A draft that something is to be changed in, or the account that the way here came from."""
    key = parse_uuid(request.GET.get("draft", ""))
    draft = keeping.find(principal=actor_of(request.user), key=key) if key else None
    if draft is not None and draft.transfer_id is None:
        return dict(draft.written)
    account_id = parse_uuid(request.GET.get("from", ""))
    payer = queries.account(account_id=account_id) if account_id else None
    return {"from_account": payer.number} if payer else {}


def _create(context: CommandContext, asked: dict[str, Any]) -> Answered[services.AcceptedTransfer]:
    return services.create_transfer(
        context=context,
        from_account_id=asked["from_account"].account_id,
        to_account_id=asked["to_account"].account_id,
        amount=asked["amount"],
        description=asked["description"],
    )


def _review(asked: dict[str, Any]) -> dict[str, Any]:
    payer, payee = asked["from_account"], asked["to_account"]
    amount_minor = parse_amount(asked["amount"], payer.currency)
    return {
        "payer": payer,
        "payee": payee,
        "amount_minor": amount_minor,
        "left_minor": payer.balance - amount_minor,
        "cautions": _cautions(payer, payee, amount_minor),
        "would_move": payer.state == AccountStatus.OPEN and payee.state != AccountStatus.CLOSED,
    }


def _cautions(payer: queries.AccountView, payee: queries.AccountView, amount_minor: int) -> list[str]:
    """Why it would probably be refused, as far as can be seen from here."""
    found = []
    if payer.state == AccountStatus.CLOSED:
        found.append("The paying account is closed for good, so nothing would move.")
    elif payer.state == AccountStatus.FROZEN:
        found.append("The paying account is frozen, so nothing would move. A supervisor can unfreeze it.")
    elif amount_minor > payer.balance:
        found.append("The paying account does not hold that much now. Unless money comes in before, nothing will move.")
    if payee.state == AccountStatus.CLOSED:
        found.append("The receiving account is closed for good. Choose another account of the customer.")
    elif payee.state == AccountStatus.FROZEN:
        found.append("The receiving account is frozen. Unless it is unfrozen before, the amount will come back.")
    return found


def _typed(form: NewTransferForm, name: str) -> queries.AccountView | None:
    """The account whose number stands in the form already."""
    return queries.account_of_number(number=str(form[name].value() or ""))


def _recent_counterparties(payer: queries.AccountView) -> list[queries.AccountView]:
    """The accounts that the payer paid last, the last one first."""
    recent = queries.transfers(account_id=payer.account_id, limit=_RECENT)
    ids: list[UUID] = list(
        dict.fromkeys(row.to_account_id for row in recent if row.from_account_id == payer.account_id)
    )[:SUGGESTIONS]
    known = queries.accounts_by_id(account_ids=ids)
    return [known[id] for id in ids if id in known]
