"""Writing accounts by API."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request

from accounts import services
from accounts.permissions import AccountsPermission
from accounts.published.money import CURRENCY_PATTERN
from accounts.published.text import (
    MAX_DESCRIPTION_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_TITLE_LENGTH,
)
from eventstore.rest.answers import answer
from eventstore.rest.commands import command_context
from eventstore.rest.etags import read_change
from eventstore.rest.permissions import requires
from eventstore.rest.requests import CodeField, DecimalTextField, IdField, RequestSerializer, TextField, read_body
from eventstore.rest.schema import IF_MATCH, LOCATION
from eventstore.rest.views import ApiView

_REASON = OpenApiExample("A reason", value={"reason": "Asked for by the customer"}, request_only=True)
_CASH = OpenApiExample("Cash", value={"amount": "150.00", "currency": "EUR"}, request_only=True)


class OpenAccountRequest(RequestSerializer):
    """A new account."""

    customer_id = IdField()
    title = TextField(max_length=MAX_TITLE_LENGTH)
    currency = CodeField(pattern=CURRENCY_PATTERN, help_text="ISO 4217; it never changes.")
    initial_balance = DecimalTextField(required=False, allow_null=True, help_text="Cash that it opens with.")
    reference = TextField(
        max_length=MAX_REFERENCE_LENGTH,
        required=False,
        allow_null=True,
        help_text="The account's key in your system.",
    )


class CashRequest(RequestSerializer):
    """Cash that changes hands at the counter."""

    amount = DecimalTextField(help_text="With exactly the currency's decimals.")
    currency = CodeField(pattern=CURRENCY_PATTERN, required=False, help_text="The account's, if given.")
    description = TextField(max_length=MAX_DESCRIPTION_LENGTH, required=False)


class ReasonRequest(RequestSerializer):
    """Why somebody does it."""

    reason = TextField(max_length=MAX_REASON_LENGTH)


class WriteAccounts(ApiView):
    """All accounts."""

    @extend_schema(
        operation_id="open_account",
        parameters=[LOCATION],
        request=OpenAccountRequest,
        responses={201: services.OpenedAccount},
        examples=[
            OpenApiExample(
                "With money in it",
                value={
                    "customer_id": "01935a3c-7d50-7b1e-9c60-2f4a8d1e6b70",
                    "title": "Household",
                    "currency": "EUR",
                    "initial_balance": "500.00",
                },
                request_only=True,
            )
        ],
    )
    @requires(AccountsPermission.OPEN_ACCOUNT)
    def post(self, request: Request) -> HttpResponse:
        """Open an account."""
        context = command_context(request)
        answered = services.open_account(context=context, **read_body(request, OpenAccountRequest))
        return answer(answered, status=201, location=f"{request.path}/{answered.value.account_id}")


class Deposits(ApiView):
    """Cash that comes in."""

    @extend_schema(
        operation_id="deposit",
        parameters=[IF_MATCH],
        request=CashRequest,
        responses={201: services.CashEntry},
        examples=[_CASH],
    )
    @requires(AccountsPermission.DEPOSIT)
    def post(self, request: Request, account_id: UUID) -> HttpResponse:
        """Pay cash in."""
        context = command_context(request)
        answered = services.deposit(
            context=context,
            account_id=account_id,
            **read_change(request, CashRequest),
        )
        return answer(answered, status=201)


class Withdrawals(ApiView):
    """Cash that goes out."""

    @extend_schema(
        operation_id="withdraw",
        parameters=[IF_MATCH],
        request=CashRequest,
        responses={201: services.CashEntry},
        examples=[_CASH],
    )
    @requires(AccountsPermission.WITHDRAW)
    def post(self, request: Request, account_id: UUID) -> HttpResponse:
        """Pay cash out.

        Whoever may pay out closed accounts can take from one the whole of what a refund has brought back to it.
        """
        answered = services.withdraw(
            context=command_context(request),
            account_id=account_id,
            may_pay_out=request.user.has_perm(AccountsPermission.PAY_OUT_CLOSED_ACCOUNT),
            **read_change(request, CashRequest),
        )
        return answer(answered, status=201)


class EntryReversal(ApiView):
    """The undoing of a cash entry."""

    @extend_schema(
        operation_id="reverse_entry",
        request=ReasonRequest,
        responses={201: services.CashEntry},
        examples=[_REASON],
    )
    @requires(AccountsPermission.REVERSE_ENTRY)
    def post(self, request: Request, account_id: UUID, entry_id: UUID) -> HttpResponse:
        """Undo a deposit or a withdrawal that was a mistake, once."""
        context = command_context(request)
        asked = read_body(request, ReasonRequest)
        answered = services.reverse_entry(context=context, account_id=account_id, entry_id=entry_id, **asked)
        return answer(answered, status=201)


class Freeze(ApiView):
    """The stop of all movements."""

    @extend_schema(
        operation_id="freeze_account",
        parameters=[IF_MATCH],
        request=ReasonRequest,
        responses={200: services.AccountStanding},
        examples=[_REASON],
    )
    @requires(AccountsPermission.FREEZE_ACCOUNT)
    def post(self, request: Request, account_id: UUID) -> HttpResponse:
        """Stop all movements of an account."""
        context = command_context(request)
        answered = services.freeze_account(
            context=context,
            account_id=account_id,
            **read_change(request, ReasonRequest),
        )
        return answer(answered)


class Unfreeze(ApiView):
    """The end of a freeze."""

    @extend_schema(
        operation_id="unfreeze_account",
        parameters=[IF_MATCH],
        request=ReasonRequest,
        responses={200: services.AccountStanding},
        examples=[_REASON],
    )
    @requires(AccountsPermission.FREEZE_ACCOUNT)
    def post(self, request: Request, account_id: UUID) -> HttpResponse:
        """Let the money of an account move again."""
        context = command_context(request)
        answered = services.unfreeze_account(
            context=context,
            account_id=account_id,
            **read_change(request, ReasonRequest),
        )
        return answer(answered)


class Close(ApiView):
    """The end of an account."""

    @extend_schema(
        operation_id="close_account",
        parameters=[IF_MATCH],
        request=ReasonRequest,
        responses={200: services.AccountStanding},
        examples=[_REASON],
    )
    @requires(AccountsPermission.CLOSE_ACCOUNT)
    def post(self, request: Request, account_id: UUID) -> HttpResponse:
        """Close an empty account for good."""
        context = command_context(request)
        answered = services.close_account(
            context=context,
            account_id=account_id,
            **read_change(request, ReasonRequest),
        )
        return answer(answered)
