"""What could not be handled: why, how often it was tried, what waits behind it; retry and discard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import CharField, Count, F, Func, Min, QuerySet, Value
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from eventstore import inspection, operations
from eventstore.admin import showing
from eventstore.admin.confirming import ReasonForm, reason_form
from eventstore.admin.records import FieldSearch, RecordAdmin
from eventstore.metadata import actor_of
from eventstore.models import LogEntry, ParkedEvent, ParkedKey
from eventstore.registry import UnknownEventType
from eventstore.registry import events as registry
from eventstore.store import EventStore
from eventstore.subscriptions import parking
from eventstore.subscriptions.registry import Reactor, subscriptions

PERMISSION: Final = "eventstore.change_parkedkey"
"""Who may retry and discard."""
MOST_AT_ONCE: Final = 50
WAIT_SECONDS: Final = 5.0
"""How long a request waits to tell what came of a retry; it is the workers who retry."""
EVENTS_SHOWN: Final = 100
REASONS_SHOWN: Final = 8

_STORE: Final = EventStore()


class Behind(NamedTuple):
    """An event behind a parked key."""

    parked: ParkedEvent
    entry: LogEntry | None


def _choices() -> list[tuple[str, str]]:
    return [("", "all"), *((found.id, found.id) for found in subscriptions.all())]


class First(NamedTuple):
    """What is behind a key first, and what its being given up would come to."""

    line: str
    ending: str  # what ends the story; empty where there is no sound end


class Summary(NamedTuple):
    """How much is parked in all."""

    keys: int
    events: int
    oldest: str
    subscriptions: list[inspection.Parked]
    reasons: list[tuple[str, int]]


class ParkedSearch(FieldSearch):
    """By subscription: the choices come from the program, not from reading the table."""

    subscription = forms.ChoiceField(label="Subscription", required=False, choices=_choices)
    key = forms.UUIDField(label="Key", required=False)


class ParkedKeyAdmin(RecordAdmin):
    """The parked keys, a page for each, and what can be done about them."""

    list_display = ("parked_key", "subscription", "waiting", "tried", "next_try", "since", "why")
    search_class = ParkedSearch
    list_per_page = MOST_AT_ONCE
    actions = ("retry_selected", "discard_selected")
    title = "Parked"
    empty = "Nothing is parked: everything that was tried has been handled."
    lead = (
        "What a subscription could not handle, by story or stream; later events of the same one wait behind it, and all"
        " others go on. It is retried by itself, with growing delays."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The keys, with how many events wait behind each."""
        found: QuerySet[Any] = super().get_queryset(request)
        counted: QuerySet[Any] = found.annotate(behind=Count("parkedevent"))
        return counted

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, below how much it is in all."""
        return super().changelist_view(request, {"summary": _summary(), **(extra_context or {})})

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may retry and discard."""
        return bool(request.user.has_perm(PERMISSION))

    @admin.display(description="Key")
    def parked_key(self, key: ParkedKey) -> SafeString:
        """The story or stream, which leads to the page of the key."""
        return showing.address_link(reverse("admin:eventstore_parkedkey_change", args=[key.pk]), key.key)

    @admin.display(description="Events behind it")
    def waiting(self, key: ParkedKey) -> str:
        """How many events wait."""
        return f"{getattr(key, 'behind', 0):,}"

    @admin.display(description="Tried")
    def tried(self, key: ParkedKey) -> str:
        """How often."""
        return "once" if key.attempts == 1 else f"{key.attempts:,} times"

    @admin.display(description="Next try")
    def next_try(self, key: ParkedKey) -> SafeString:
        """When it is retried by itself."""
        return showing.moment(key.next_attempt_at)

    @admin.display(description="Parked for")
    def since(self, key: ParkedKey) -> str:
        """Its age."""
        return showing.age(timezone.now() - key.parked_at)

    @admin.display(description="Why")
    def why(self, key: ParkedKey) -> str:
        """The error's beginning."""
        return key.error if len(key.error) <= 120 else f"{key.error[:119]}…"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One key, with the events behind it."""
        self.require_view(request)
        key = self.get_object(request, object_id)
        if key is None:
            raise Http404("not parked any more")
        context = self.page_context(
            request,
            title=f"Parked by {key.subscription}",
            key=key,
            age=showing.age(timezone.now() - key.parked_at),
            behind=_behind(key),
            most=EVENTS_SHOWN,
            first=_firsts([key]).get(key.pk),
            may_operate=self.has_operate_permission(request),
            checkbox=ACTION_CHECKBOX_NAME,
        )
        return TemplateResponse(request, "admin/eventstore/parkedkey/key.html", context)

    @admin.action(description="Retry now …", permissions=["operate"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Has the workers try what is behind the keys: it may end its process, which here answers others too."""
        keys = _bounded(request, queryset)
        form = reason_form(request)
        if not (form.is_bound and form.is_valid()):
            return self._ask(request, keys, form, action="retry_selected", verb="Retry", consequence=_RETRY)
        asked = operations.ask_to_retry(
            [key.pk for key in keys],
            actor=actor_of(request.user),
            reason=form.cleaned_data["reason"],
            store=_STORE,
            wait_seconds=WAIT_SECONDS,
        )
        _tell(request, asked)
        return None

    @admin.action(description="Discard the first event …", permissions=["operate"])
    def discard_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Gives up the first event behind each key, and ends its story."""
        keys = _bounded(request, queryset)
        form = reason_form(request)
        if not (form.is_bound and form.is_valid()):
            return self._ask(request, keys, form, action="discard_selected", verb="Discard", consequence=_DISCARD)
        for key in keys:
            _discard(request, key, form.cleaned_data["reason"])
        return None

    def _ask(
        self,
        request: HttpRequest,
        keys: Sequence[ParkedKey],
        form: ReasonForm,
        *,
        action: str,
        verb: str,
        consequence: str,
    ) -> HttpResponse:
        """The page that says what will happen and asks why."""
        context = self.page_context(
            request,
            title=f"{verb}: {len(keys)} parked {'key' if len(keys) == 1 else 'keys'}",
            verb=verb,
            consequence=consequence,
            form=form,
            is_danger=action == "discard_selected",
            items=_said_of(keys, discarding=action == "discard_selected"),
            sent=[("action", action), *((ACTION_CHECKBOX_NAME, str(key.pk)) for key in keys)],
            back=request.get_full_path(),
        )
        return TemplateResponse(request, "admin/eventstore/confirm.html", context, status=422 if form.is_bound else 200)


_RETRY: Final = (
    "The workers try what waits behind each key now, in order, until something fails again. What fails stays parked,"
    " and is tried again by itself."
)
_DISCARD: Final = (
    "The first event behind each key is never handled by this subscription, and what it began is ended instead, as said"
    " below: a transfer that is ended moves no money, or pays back what it took. What waits behind it goes on. This"
    " cannot be undone. Where no sound end is known, nothing happens."
)


def _summary() -> Summary | None:
    """How much is parked, since when and why; None where nothing is."""
    found = list(inspection.count_parked(using=_STORE.using).values())
    if not found:
        return None
    kind = Func(F("error"), Value(":"), Value(1), function="split_part", output_field=CharField())
    reasons = ParkedKey.objects.annotate(kind=kind).values_list("kind").annotate(count=Count("id"))
    return Summary(
        keys=sum(one.keys for one in found),
        events=sum(one.events for one in found),
        oldest=showing.age(timezone.now() - min(one.oldest for one in found)),
        subscriptions=found,
        reasons=list(reasons.order_by("-count", "kind")[:REASONS_SHOWN]),
    )


def _firsts(keys: Sequence[ParkedKey]) -> dict[int, First]:
    """The first event behind each key."""
    found = ParkedEvent.objects.filter(parked_key__in=keys).values_list("parked_key").annotate(first=Min("position"))
    positions: dict[int, int] = dict(found)
    entries = LogEntry.objects.filter(position__in=positions.values()).select_related("event").in_bulk()
    of_key = {key.pk: key for key in keys}
    return {pk: _first(of_key[pk], entries[position]) for pk, position in positions.items() if position in entries}


def _first(key: ParkedKey, entry: LogEntry) -> First:
    event = entry.event
    line = f"{event.event_type} of {event.stream_type} {event.stream_id}"
    subscription = subscriptions.get(key.subscription)
    try:
        known = registry.named(event.event_type, event.schema_version).cls
    except UnknownEventType:
        return First(line=line, ending="")
    ending = subscription.discards.get(known) if isinstance(subscription, Reactor) else None
    return First(line=line, ending="" if ending is None else (ending.__doc__ or "Its story is ended.").strip())


def _said_of(keys: Sequence[ParkedKey], *, discarding: bool) -> list[str]:
    """What the confirmation tells of each key."""
    firsts = _firsts(keys)
    said = []
    for key in keys:
        first = firsts.get(key.pk)
        line = f"{first.line}, parked by {key.subscription}" if first else f"{key.key}, parked by {key.subscription}"
        if discarding and not key.attempts:
            line += ". Nothing has failed: it waits for its turn, and goes on by itself."
        elif discarding:
            line += f". {first.ending}" if first and first.ending else ". It has no sound end and can only be retried."
        else:
            line += f": {key.error[:120]}"
        said.append(line)
    return said


def _bounded(request: HttpRequest, queryset: QuerySet[Any]) -> list[ParkedKey]:
    """The selected keys, the longest parked first, and not more than one request can do."""
    found = list(queryset.order_by("parked_at")[: MOST_AT_ONCE + 1])
    if len(found) > MOST_AT_ONCE:
        messages.warning(request, f"These are the {MOST_AT_ONCE} that have been parked longest; take the rest after.")
    return found[:MOST_AT_ONCE]


def _tell(request: HttpRequest, asked: operations.Asked) -> None:
    """What came of a retry, as one message."""
    words = [
        (asked.freed, "handled and free again"),
        (asked.still_parked, "tried again and still parked"),
        (asked.left, "will be tried within seconds"),
        (asked.paused, "will be tried once the subscription is resumed"),
        (asked.foreign, "left alone, for this program cannot handle what is behind it"),
        (asked.busy, "gone or being retried already"),
    ]
    said = "; ".join(f"{count:,} {word}" for count, word in words if count)
    waits = asked.still_parked or asked.left or asked.paused or asked.foreign
    tell = messages.success if asked.freed and not waits else messages.warning
    tell(request, f"{said or 'Nothing was selected'}.")


def _discard(request: HttpRequest, key: ParkedKey, reason: str) -> None:
    """Discards one, and says what came of it."""
    try:
        position = operations.discard(key.pk, actor=actor_of(request.user), reason=reason, store=_STORE)
    except (
        parking.NotParked,
        parking.NotDiscardable,
        operations.NoSuchSubscription,
        operations.DiscardFailed,
    ) as error:
        messages.error(request, f"{key.key} was not discarded: {str(error).rstrip('.')}.")
    else:
        messages.success(request, f"Discarded the event at position {position} for {key.subscription}.")


def _behind(key: ParkedKey) -> list[Behind]:
    """The first events behind a key, in the log's order."""
    found = list(ParkedEvent.objects.filter(parked_key=key).order_by("position")[:EVENTS_SHOWN])
    positions = [parked.position for parked in found]
    entries = {
        entry.position: entry for entry in LogEntry.objects.filter(position__in=positions).select_related("event")
    }
    return [Behind(parked, entries.get(parked.position)) for parked in found]
