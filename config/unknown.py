"""Addresses below `/api/` at which there is nothing: counted by address, for no throttle of a view's sees them.

Imported by `config.urls`.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from config.failures import told_to_wait
from config.staff.limits import stranger_wait_seconds
from eventstore.rest.views import unknown_address


@csrf_exempt  # it does nothing, so that whoever asks may be told so
def counted_unknown_address(request: HttpRequest, *rest: str) -> HttpResponse:
    """Nothing is here; who looks too often is told to wait."""
    if seconds := stranger_wait_seconds(request):
        return told_to_wait(request, seconds=seconds)
    return unknown_address(request, *rest)
