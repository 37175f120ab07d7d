"""How far everybody has come: the log, each subscription with its lag, and the switch to pause and resume it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from eventstore import inspection, operations
from eventstore.admin import showing
from eventstore.admin.confirming import reason_form
from eventstore.admin.locked import LockedAdmin
from eventstore.metadata import actor_of
from eventstore.models import Checkpoint, OutboxEntry
from eventstore.store import EventStore

PERMISSION: Final = "eventstore.change_checkpoint"
"""Who may pause and resume."""

_STORE: Final = EventStore()


class Deed(NamedTuple):
    """What can be done to a subscription."""

    verb: str
    does: Callable[..., int]
    consequence: str


DEEDS: Final = {
    "pause": Deed(
        "Pause",
        operations.pause,
        "It stops where it stands until somebody resumes it. Nothing is lost, but what follows from new events waits:"
        " a paused saga leaves transfers unfinished, a paused projection leaves pages old.",
    ),
    "resume": Deed(
        "Resume", operations.resume, "It goes on where it stands, and handles all that has come in the meantime."
    ),
}


class Standing(NamedTuple):
    """One range of a subscription, as the page shows it."""

    part: inspection.Part
    status: SafeString
    lag: str
    behind: str
    heartbeat: SafeString
    notes: list[str]


class CheckpointAdmin(LockedAdmin):
    """One page for all subscriptions, one to confirm what is to be done."""

    def get_urls(self) -> list[URLPattern]:
        """The page, and the confirmations."""
        view = self.admin_site.admin_view(self.operate_view)
        own = [path("<str:deed>/<str:subscription>/", view, name="eventstore_checkpoint_operate")]
        return super().get_urls()[:1] + own  # the list alone: a single checkpoint says nothing that it does not

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may pause and resume."""
        return bool(request.user.has_perm(PERMISSION))

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The log, the backlog and every subscription."""
        self.require_view(request)
        now = timezone.now()
        beats = dict(Checkpoint.objects.values_list("id", "heartbeat_at"))
        ids = {
            (subscription, low): id
            for id, subscription, low in Checkpoint.objects.values_list("id", "subscription", "bucket_low")
        }
        parked = inspection.count_parked(using=_STORE.using)
        groups: dict[str, list[Standing]] = {}
        for part in inspection.parts(using=_STORE.using):
            beat = beats.get(ids.get((part.subscription, part.bucket_low), 0))
            groups.setdefault(part.subscription, []).append(_standing(part, beat))
        context = self.page_context(
            request,
            title="Subscriptions",
            groups=[(name, found, parked.get(name), _possible(found)) for name, found in groups.items()],
            log=inspection.log_state(using=_STORE.using),
            most=inspection.MOST_LAG,
            oldest_waiting=_oldest_waiting(now),
            may_operate=self.has_operate_permission(request),
        )
        return TemplateResponse(request, "admin/eventstore/checkpoint/subscriptions.html", context)

    def operate_view(self, request: HttpRequest, deed: str, subscription: str) -> HttpResponse:
        """Asks for the reason, and then pauses or resumes."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        is_name = subscription.isprintable()  # what is not, PostgreSQL may not even look for
        if deed not in DEEDS or not is_name or not Checkpoint.objects.filter(subscription=subscription).exists():
            raise Http404("no such subscription")
        form = reason_form(request)
        if form.is_bound and form.is_valid():
            self._do(request, DEEDS[deed], subscription, form.cleaned_data["reason"])
            return HttpResponseRedirect(self._home(), status=303)
        context = self.page_context(
            request,
            title=f"{DEEDS[deed].verb} {subscription}",
            verb=DEEDS[deed].verb,
            consequence=DEEDS[deed].consequence,
            form=form,
            back=self._home(),
        )
        return TemplateResponse(request, "admin/eventstore/confirm.html", context, status=422 if form.is_bound else 200)

    def _do(self, request: HttpRequest, deed: Deed, subscription: str, reason: str) -> None:
        try:
            count = deed.does(subscription, actor=actor_of(request.user), reason=reason, using=_STORE.using)
        except (
            operations.NoSuchSubscription,
            operations.NothingToDo,
            operations.SubscriptionBusy,
            operations.ReasonMissing,
        ) as error:
            messages.error(request, f"{str(error).rstrip('.')}.")
        else:
            ranges = "1 range" if count == 1 else f"{count} ranges"
            messages.success(request, f"{deed.verb}d {subscription}: {ranges}.")

    def _home(self) -> str:
        return reverse("admin:eventstore_checkpoint_changelist", current_app=self.admin_site.name)


def _standing(part: inspection.Part, heartbeat: datetime | None) -> Standing:
    notes = []
    if part.status == Checkpoint.Status.PAUSED:
        notes.append(f"Paused by {part.paused_by}: {part.paused_reason}")
    if part.held_reason:
        notes.append(f"Held: {part.held_reason}")
    if inspection.is_outdated(part, store=_STORE):
        notes.append("Its tables are of another version: it waits for a replay.")
    return Standing(
        part=part,
        status=_status(part),
        lag=f"{part.lag_events:,}{'+' if part.lag_events >= inspection.MOST_LAG else ''}",
        behind=showing.age(timedelta(seconds=part.lag_seconds)) if part.lag_events else "",
        heartbeat=showing.moment(heartbeat),
        notes=notes,
    )


def _status(part: inspection.Part) -> SafeString:
    if part.status == Checkpoint.Status.PAUSED:
        return showing.badge("paused", "warn")
    if part.held_reason:
        return showing.badge("held", "bad")
    return showing.badge("running" if part.lag_events else "up to date", "good")


def _possible(standings: list[Standing]) -> list[tuple[str, str]]:
    """What can be done to a subscription now: the deed's name and verb."""
    found = {standing.part.status for standing in standings}
    possible = [("pause", Checkpoint.Status.RUNNING), ("resume", Checkpoint.Status.PAUSED)]
    return [(name, DEEDS[name].verb) for name, status in possible if status in found]


def _oldest_waiting(now: datetime) -> str:
    """How long the first event of the backlog has waited for its position."""
    entry = OutboxEntry.objects.order_by("event_id").select_related("event").first()
    return "" if entry is None else showing.age(now - entry.event.recorded_at)
