"""Events, streams and stories: what happened, who did it, why, and what the state was after each version."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from eventstore.admin import showing
from eventstore.admin.keyset import AFTER, BEFORE, KeysetChangeList
from eventstore.admin.locked import LockedAdmin
from eventstore.admin.masking import Change, NoState, changes_at, masked_data
from eventstore.admin.searching import EventChangeList, EventSearch, attach_positions
from eventstore.admin.stories import cause_of, effects_of, story_of
from eventstore.models import Event, LogEntry, ParkedEvent

VERSIONS_SHOWN: Final = 50
"""How many events of a stream one page shows: the block that the chosen version is in."""


class EventAdmin(LockedAdmin):
    """The events, with a page for each, for each stream and for each story."""

    list_display = ("what", "version", "stream", "who", "when", "position")
    list_display_links = None
    empty = "Nothing has happened yet: each thing that is done is recorded here."
    lead = "Every fact, newest first. An id of a stream, an event or a story leads to all that is known of it."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """Events that were searched for."""
        return EventChangeList

    def search_fields_of_form(self) -> tuple[str, ...]:
        """The names in the search form."""
        return tuple(EventSearch.base_fields)

    def search_form(self, request: HttpRequest) -> EventSearch:
        """The search, as asked."""
        given = {name: value for name, value in request.GET.items() if name not in (BEFORE, AFTER)}
        return EventSearch(given)

    def get_urls(self) -> list[URLPattern]:
        """The list, the pages of a stream and of a story, and the way to the event at a position."""
        view = self.admin_site.admin_view
        own = [
            path("stream/<str:stream_type>/<uuid:stream_id>/", view(self.stream_view), name="eventstore_event_stream"),
            path("position/<int:position>/", view(self.position_view), name="eventstore_event_position"),
            path("story/<uuid:correlation_id>/", view(self.story_view), name="eventstore_event_story"),
        ]
        return own + super().get_urls()

    @admin.display(description="What happened")
    def what(self, event: Event) -> SafeString:
        """The type, which leads to the event."""
        return showing.event_link(event.pk, event.event_type)

    @admin.display(description="Stream")
    def stream(self, event: Event) -> SafeString:
        """The stream, at this version."""
        return showing.short_stream_link(event.stream_type, event.stream_id, event.version)

    @admin.display(description="Who")
    def who(self, event: Event) -> str:
        """The actor."""
        return str(event.metadata.get("actor", showing.NOTHING))

    @admin.display(description="Recorded")
    def when(self, event: Event) -> SafeString:
        """When it was recorded."""
        return showing.moment(event.recorded_at)

    @admin.display(description="Position")
    def position(self, event: Event) -> str:
        """The place in the log."""
        position = getattr(event, "position", None)
        return "waiting" if position is None else str(position)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One event: its data, where it stands, what caused it and what it caused."""
        self.require_view(request)
        event = self.get_object(request, object_id)
        if event is None:
            raise Http404("no such event")
        neighbours = _neighbours(event)
        entry = LogEntry.objects.filter(event_id=event.id).first()
        context = self.page_context(
            request,
            title=event.event_type,
            event=event,
            entry=entry,
            data=showing.document(masked_data(event)),
            metadata=showing.document(event.metadata),
            cause=cause_of(event),
            effects=effects_of(event),
            parked=[] if entry is None else list(ParkedEvent.objects.filter(position=entry.position)[:10]),
            earlier=neighbours.get(-1),
            later=neighbours.get(1),
            correlation_id=event.metadata.get("correlation_id"),
        )
        return TemplateResponse(request, "admin/eventstore/event/event.html", context)

    def stream_view(self, request: HttpRequest, stream_type: str, stream_id: UUID) -> HttpResponse:
        """A stream: its events, and the state after the chosen version, the last if none is."""
        self.require_view(request)
        if not stream_type.isprintable():  # what is not, PostgreSQL may not even look for
            raise Http404("no such stream")
        stream = Event.objects.filter(stream_type=stream_type, stream_id=stream_id)
        last = stream.aggregate(last=Max("version"))["last"]
        if last is None:
            raise Http404("no such stream")
        version = _version(request.GET.get("version"), last=last)
        first_shown = (version - 1) // VERSIONS_SHOWN * VERSIONS_SHOWN + 1
        shown = list(
            stream.filter(version__gte=first_shown, version__lt=first_shown + VERSIONS_SHOWN).order_by("version")
        )
        attach_positions(shown)
        state, no_state = _state(stream_type, stream_id, version)
        context = self.page_context(
            request,
            title=f"{stream_type} {stream_id}",
            stream_type=stream_type,
            stream_id=stream_id,
            version=version,
            last=last,
            rows=[(event, showing.document(masked_data(event))) for event in shown],
            chosen=next((event for event in shown if event.version == version), None),
            state=state,
            no_state=no_state,
            earlier=first_shown - 1,
            later=first_shown + VERSIONS_SHOWN if first_shown + VERSIONS_SHOWN <= last else None,
        )
        return TemplateResponse(request, "admin/eventstore/event/stream.html", context)

    def position_view(self, request: HttpRequest, position: int) -> HttpResponse:
        """Leads to the event at a position of the log."""
        self.require_view(request)
        entry = LogEntry.objects.filter(position=position).first()
        if entry is None:
            raise Http404("no such position")
        return HttpResponseRedirect(reverse("admin:eventstore_event_change", args=[entry.event_id]))

    def story_view(self, request: HttpRequest, correlation_id: UUID) -> HttpResponse:
        """A whole story, each event below what caused it."""
        self.require_view(request)
        branches, more = story_of(correlation_id)
        if not branches:
            raise Http404("no such story")
        context = self.page_context(
            request,
            title=f"Story {correlation_id}",
            correlation_id=correlation_id,
            branches=branches,
            more=more,
        )
        return TemplateResponse(request, "admin/eventstore/event/story.html", context)


def _version(given: str | None, *, last: int) -> int:
    """The version that is asked for, within the stream."""
    try:
        return min(max(int(given or last), 1), last)
    except ValueError:
        return last


def _state(stream_type: str, stream_id: UUID, version: int) -> tuple[list[Change], str]:
    """The state's fields, or why there are none."""
    try:
        return changes_at(stream_type, stream_id, version), ""
    except NoState as reason:
        return [], str(reason)


def _neighbours(event: Event) -> dict[int, Event]:
    """The events before and after this one in its stream, by version."""
    beside = Event.objects.filter(stream_id=event.stream_id, version__in=[event.version - 1, event.version + 1])
    return {found.version - event.version: found for found in beside}
