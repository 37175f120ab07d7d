"""Writing customers by API."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request

from accounts import services
from accounts.permissions import AccountsPermission
from accounts.published.text import MAX_EMAIL_LENGTH, MAX_NAME_LENGTH, MAX_PHONE_LENGTH, MAX_REFERENCE_LENGTH
from eventstore.rest.answers import answer
from eventstore.rest.commands import command_context
from eventstore.rest.etags import read_change
from eventstore.rest.permissions import requires
from eventstore.rest.requests import RequestSerializer, TextField, read_body
from eventstore.rest.schema import IF_MATCH, LOCATION
from eventstore.rest.views import ApiView


class RegisterCustomerRequest(RequestSerializer):
    """A new customer."""

    name = TextField(max_length=MAX_NAME_LENGTH)
    email = TextField(max_length=MAX_EMAIL_LENGTH, required=False, allow_null=True)
    phone = TextField(max_length=MAX_PHONE_LENGTH, required=False, allow_null=True)
    reference = TextField(
        max_length=MAX_REFERENCE_LENGTH,
        required=False,
        allow_null=True,
        help_text="The customer's key in your system. Not sealed: never a person's data.",
    )


class ChangeCustomerRequest(RequestSerializer):
    """What changes about a customer; what is left out stays."""

    name = TextField(max_length=MAX_NAME_LENGTH, required=False)
    email = TextField(max_length=MAX_EMAIL_LENGTH, required=False, allow_null=True, help_text="null takes it away.")
    phone = TextField(max_length=MAX_PHONE_LENGTH, required=False, allow_null=True, help_text="null takes it away.")


class WriteCustomers(ApiView):
    """All customers."""

    @extend_schema(
        operation_id="register_customer",
        parameters=[LOCATION],
        request=RegisterCustomerRequest,
        responses={201: services.RegisteredCustomer},
        examples=[
            OpenApiExample(
                "Alice",
                value={"name": "Alice Abel", "email": "alice@example.com", "phone": "+49 30 123456"},
                request_only=True,
            )
        ],
    )
    @requires(AccountsPermission.REGISTER_CUSTOMER)
    def post(self, request: Request) -> HttpResponse:
        """Register a customer."""
        context = command_context(request)
        answered = services.register_customer(context=context, **read_body(request, RegisterCustomerRequest))
        return answer(answered, status=201, location=f"{request.path}/{answered.value.customer_id}")


class WriteCustomer(ApiView):
    """One customer."""

    @extend_schema(
        operation_id="change_customer",
        parameters=[IF_MATCH],
        request=ChangeCustomerRequest,
        responses={200: services.ChangedCustomer},
        examples=[OpenApiExample("A new name", value={"name": "Alice Berg"}, request_only=True)],
    )
    @requires(AccountsPermission.CHANGE_CUSTOMER)
    def patch(self, request: Request, customer_id: UUID) -> HttpResponse:
        """Rename a customer, or change how they are reached."""
        answered = services.change_customer(
            context=command_context(request),
            customer_id=customer_id,
            **read_change(request, ChangeCustomerRequest),
        )
        return answer(answered)
