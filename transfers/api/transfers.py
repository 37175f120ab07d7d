"""Writing transfers by API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from accounts.published.money import CURRENCY_PATTERN
from accounts.published.text import MAX_DESCRIPTION_LENGTH, MAX_REFERENCE_LENGTH
from eventstore.rest.answers import answer
from eventstore.rest.commands import command_context
from eventstore.rest.freshness import MAX_PREFERRED_WAIT_SECONDS, TooManyWaiting, preferred_wait
from eventstore.rest.permissions import requires
from eventstore.rest.requests import CodeField, DecimalTextField, IdField, RequestSerializer, TextField, read_body
from eventstore.rest.schema import LOCATION, PREFER_WAIT, PREFERENCE_APPLIED
from eventstore.rest.views import ApiView
from eventstore.store import Answered
from transfers import services
from transfers.permissions import TransfersPermission
from transfers.published.events import FINAL_STATUSES, MAX_METADATA_ENTRIES


@extend_schema_field(
    {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": MAX_METADATA_ENTRIES}
)
class MetadataField(serializers.DictField):
    """Texts by name. They are counted before one of them is looked at: a body has room for a hundred thousand."""

    child = TextField()
    default_error_messages = {
        "invalid_metadata": f"The metadata must be at most {MAX_METADATA_ENTRIES} short texts by name."
    }

    def to_internal_value(self, data: Any) -> Any:
        """The texts as they were sent."""
        if isinstance(data, dict) and len(data) > MAX_METADATA_ENTRIES:
            self.fail("invalid_metadata")
        return super().to_internal_value(data)


class CreateTransferRequest(RequestSerializer):
    """A new transfer."""

    from_account_id = IdField()
    to_account_id = IdField()
    amount = DecimalTextField(help_text="With exactly the currency's decimals.")
    currency = CodeField(pattern=CURRENCY_PATTERN, required=False, help_text="That of both accounts, if given.")
    description = TextField(max_length=MAX_DESCRIPTION_LENGTH, required=False, help_text="What both statements show.")
    reference = TextField(
        max_length=MAX_REFERENCE_LENGTH,
        required=False,
        allow_null=True,
        help_text="The transfer's key in your system.",
    )
    metadata = MetadataField(required=False, help_text="Your own notes; they come back as they are.")


class WriteTransfers(ApiView):
    """All transfers."""

    wait_until_settled: Callable[[UUID, float], bool]
    """Waits until a transfer needs no more waiting for and the read models show it. The router gives it.

    Raises `TooManyWaiting`.
    """

    @extend_schema(
        operation_id="create_transfer",
        parameters=[LOCATION, PREFER_WAIT, PREFERENCE_APPLIED],
        request=CreateTransferRequest,
        responses={202: services.AcceptedTransfer, 200: services.AcceptedTransfer},
        examples=[
            OpenApiExample(
                "Rent",
                value={
                    "from_account_id": "01935a3c-7d50-7b1e-9c60-2f4a8d1e6b71",
                    "to_account_id": "01935a3c-7d50-7b1e-9c60-2f4a8d1e6b72",
                    "amount": "150.00",
                    "currency": "EUR",
                    "description": "Rent for November",
                },
                request_only=True,
            )
        ],
    )
    @requires(TransfersPermission.CREATE_TRANSFER)
    def post(self, request: Request) -> HttpResponse:
        """Make a transfer.

        Answered with 202 as soon as it is accepted: it then comes to an end by itself. With `Prefer: wait=SECONDS` the
        answer waits for that end, and is 200 when it came. While too many others wait, it does not, and says so by
        leaving `Preference-Applied` out.
        """
        context = command_context(request)
        accepted = services.create_transfer(context=context, **read_body(request, CreateTransferRequest))
        seconds = preferred_wait(request.headers.get("Prefer", ""))
        if seconds is None:
            return self._answer(request, accepted, status=202)
        return self._answer_when_settled(request, accepted, seconds=min(seconds, MAX_PREFERRED_WAIT_SECONDS))

    def _answer_when_settled(
        self, request: Request, accepted: Answered[services.AcceptedTransfer], *, seconds: int
    ) -> HttpResponse:
        try:
            shown = self.wait_until_settled(accepted.value.transfer_id, seconds)
        except TooManyWaiting:  # a preference may be left unheeded; the transfer is made all the same
            return self._answer(request, accepted, status=202)
        now = services.transfer_now(transfer_id=accepted.value.transfer_id)
        status = 200 if shown and now.state in FINAL_STATUSES else 202
        response = self._answer(request, Answered(value=now, replayed=accepted.replayed), status=status)
        response.headers["Preference-Applied"] = f"wait={seconds}"
        return response

    def _answer(self, request: Request, answered: Answered[services.AcceptedTransfer], *, status: int) -> HttpResponse:
        return answer(answered, status=status, location=f"{request.path}/{answered.value.transfer_id}")
