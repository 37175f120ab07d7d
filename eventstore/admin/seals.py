"""The seals over the log, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from eventstore.admin import showing
from eventstore.admin.locked import LockedAdmin
from eventstore.models import Seal


class SealAdmin(LockedAdmin):
    """Seals, the newest first."""

    list_display = ("last_position", "first_position", "when", "digest")
    fields = ("first_position", "last_position", "when", "digest", "before", "format")
    lead = "Hashes over the log, each with that of the one before. `manage.py seals check` tells whether they hold."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without what is kept of each entry: nobody reads that."""
        found: QuerySet[Any] = super().get_queryset(request)
        return found.defer("leaves")

    @admin.display(description="Sealed")
    def when(self, row: Seal) -> SafeString:
        """When it was made."""
        return showing.moment(row.sealed_at)

    @admin.display(description="Hash")
    def digest(self, row: Seal) -> str:
        """The seal's own hash."""
        return bytes(row.hash).hex()

    @admin.display(description="Hash before")
    def before(self, row: Seal) -> str:
        """The hash of the seal before."""
        return bytes(row.previous_hash).hex()
