"""Signing in and out, and how the pages look to whoever reads them."""

from __future__ import annotations

from math import ceil
from typing import Final

from django.conf import settings
from django.contrib.auth import login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters

from views_readmodel.pages.theme import THEME_COOKIE, THEMES
from views_readmodel.pages.viewing import ANYBODY, SIGNED_IN, page

_YEAR_SECONDS: Final = 365 * 24 * 3600


class LogInForm(AuthenticationForm):
    """Name and password."""

    error_messages = {
        "invalid_login": "This name and password do not go together. Both are case-sensitive.",
        "inactive": "This log-in was deactivated. Ask an operator.",
    }

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.label_suffix = ""
        self.fields["username"].label = "Name"
        for field in self.fields.values():
            field.widget.attrs["class"] = "input"
        if self.data.get("username"):  # shown again, it was refused: the password is what one types anew
            self.fields["username"].widget.attrs.pop("autofocus", None)
            self.fields["password"].widget.attrs["autofocus"] = True


@sensitive_post_parameters("password")
@page(ANYBODY, methods=["GET", "HEAD", "POST"])
def log_in(request: HttpRequest) -> HttpResponse:
    """The log-in. Who is signed in already goes on to where they wanted to."""
    if request.user.is_authenticated:
        return HttpResponseRedirect(_destination(request), status=303)
    form = LogInForm(request, data=request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return HttpResponseRedirect(_destination(request), status=303)
    return render(request, "staff/log_in.html", {"form": form, "next": _asked_for(request)})


def locked_out(request: HttpRequest, *, retry_seconds: int) -> HttpResponse:
    """429: the log-in again, and for how long it is of no use. Whether there is such an account it does not say."""
    minutes = ceil(retry_seconds / 60)
    context = {"form": LogInForm(request), "next": _asked_for(request), "locked_minutes": minutes}
    response = render(request, "staff/log_in.html", context, status=429)
    response.headers["Retry-After"] = str(retry_seconds)
    add_never_cache_headers(response)
    return response


@page(ANYBODY, methods=["POST"])
def log_out(request: HttpRequest) -> HttpResponse:
    """The log-out; whose session has ended is logged out already."""
    logout(request)
    return HttpResponseRedirect(reverse("log-in"), status=303)


@page(ANYBODY, methods=["POST"])
def choose_theme(request: HttpRequest) -> HttpResponse:
    """Light, dark, or as the machine has it: kept in the browser, nowhere else."""
    response = HttpResponseRedirect(_destination(request), status=303)
    theme = request.POST.get("theme", "")
    if theme in THEMES:
        response.set_cookie(
            THEME_COOKIE, theme, max_age=_YEAR_SECONDS, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
        )
    else:
        response.delete_cookie(THEME_COOKIE, samesite="Lax")
    return response


@page(SIGNED_IN)
def no_stream(_request: HttpRequest) -> HttpResponse:
    """Where the ASGI server streams live changes; a WSGI server cannot, and pages then ask by themselves."""
    return HttpResponse(status=204)


def _asked_for(request: HttpRequest) -> str:
    return request.POST.get("next") or request.GET.get("next", "")


def _destination(request: HttpRequest) -> str:
    """Where the person wanted to go, if it is a page of ours; else home."""
    address = _asked_for(request)
    ours = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if ours else reverse("today")
