"""Signing in and out by API. `config.api` routes here."""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from django.contrib.auth import authenticate, logout
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema
from knox.models import AuthToken
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.request import Request

from config.staff.limits import LogInLimit
from config.staff.passwords import GIVEN
from eventstore.rest.answers import answer
from eventstore.rest.permissions import AUTHENTICATED, PUBLIC, requires
from eventstore.rest.requests import RequestSerializer, TextField, read_body
from eventstore.rest.views import ApiView
from eventstore.store import Answered


class LoginFailed(APIException):
    """Name or password is wrong."""

    status_code = 401
    default_code = "unauthenticated"
    default_detail = "Name or password is wrong."
    auth_header = "Bearer"


class LoginRequest(RequestSerializer):
    """Who signs in."""

    username = TextField(allow_blank=False, min_length=1, max_length=150)
    password = TextField(allow_blank=False, min_length=1, max_length=1000)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token for `Authorization: Bearer …`."""

    token: str
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)]


class Login(ApiView):
    """Signs people in."""

    authentication_classes = ()  # an expired token must not keep anybody from getting a new one
    throttle_classes = (LogInLimit,)
    takes_idempotency_key = False

    @extend_schema(
        operation_id="log_in",
        request=LoginRequest,
        responses={200: Token},
        examples=[OpenApiExample("Demo", value={"username": "teller", "password": "daybook-demo"}, request_only=True)],
    )
    @requires(PUBLIC)
    def post(self, request: Request) -> HttpResponse:
        """Sign in.

        Programs need none of this: they have an API key.
        """
        asked = read_body(request, LoginRequest)
        # The request itself, not its wrapper: a lock-out is noted on it, and answered by a middleware.
        member = authenticate(request._request, username=asked["username"], password=asked["password"])  # noqa: SLF001 - its documented name
        if member is None:
            raise LoginFailed
        if getattr(member, "password_is_given", False):
            raise PermissionDenied(GIVEN)
        token, secret = AuthToken.objects.create(member)
        user_logged_in.send(sender=type(member), request=request._request, user=member)  # noqa: SLF001
        response = answer(Answered(value=Token(token=secret, expires_at=token.expiry), replayed=False))
        response.headers["Cache-Control"] = "no-store"
        return response


_NO_LOG_IN: Final = "An API key is not signed out; an operator revokes it."


class Logout(ApiView):
    """Signs people out."""

    takes_idempotency_key = False
    takes_body = False

    @extend_schema(operation_id="log_out", request=None, responses={204: None})
    @requires(AUTHENTICATED)
    def post(self, request: Request) -> HttpResponse:
        """Sign out: the token, or the session, is of no use any more.

        For people: an API key is no log-in, and an operator revokes it.
        """
        if getattr(request.user, "is_service", False):
            raise PermissionDenied(_NO_LOG_IN)
        if isinstance(request.auth, AuthToken):
            request.auth.delete()
            user_logged_out.send(sender=type(request.user), request=request, user=request.user)
        else:
            logout(request)
        return HttpResponse(status=204)
