"""The store's other tables, to look into: snapshots, answers to requests, keys, the backlog."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from eventstore.admin import showing
from eventstore.admin.keyset import AFTER, BEFORE, KeysetChangeList
from eventstore.admin.locked import LockedAdmin
from eventstore.admin.searching import FoundChangeList, Search
from eventstore.models import IdempotencyRecord, OutboxEntry, Sequencer, Snapshot, SubjectKey


class FieldSearch(Search):
    """A search by columns that have an index; what is filled in must fit exactly."""

    def apply(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """What is looked for; nothing where the form is wrong."""
        if not self.is_valid():
            return queryset.none()
        return queryset.filter(**{name: value for name, value in self.cleaned_data.items() if value})


class StreamSearch(FieldSearch):
    """By stream."""

    stream_id = forms.UUIDField(label="Stream", required=False)


class RequestSearch(FieldSearch):
    """By who asked, and the key."""

    principal = forms.CharField(label="Who", required=False, help_text="as in staff:alice")
    key = forms.CharField(label="Idempotency-Key", required=False)

    def clean(self) -> dict[str, Any]:
        """The index begins with who asked."""
        given: dict[str, Any] = super().clean() or {}
        if given.get("key") and not given.get("principal"):
            self.add_error("principal", "A key is unique to who asked: say who.")
        return given


class SubjectSearch(FieldSearch):
    """By person."""

    subject_id = forms.UUIDField(label="Person", required=False)


class RecordAdmin(LockedAdmin):
    """A table with a search by some of its columns."""

    search_class: ClassVar[type[Search] | None] = None

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        """Rows that were searched for."""
        return FoundChangeList

    def search_fields_of_form(self) -> tuple[str, ...]:
        """The names in the search form."""
        return () if self.search_class is None else tuple(self.search_class.base_fields)

    def search_form(self, request: HttpRequest) -> Search | None:
        """The search, as asked."""
        given = {name: value for name, value in request.GET.items() if name not in (BEFORE, AFTER)}
        return None if self.search_class is None else self.search_class(given)


class SnapshotAdmin(RecordAdmin):
    """States that were kept."""

    list_display = ("stream", "version", "state_version", "kept")
    fields = ("stream", "version", "state_version", "kept", "content")
    list_display_links = ("version",)
    search_class = StreamSearch
    empty = "No stream is long enough yet to have a snapshot."
    lead = "States at a version, kept so that loading a long stream does not read all of it. Each can be made again."

    @admin.display(description="Stream")
    def stream(self, row: Snapshot) -> SafeString:
        """The stream at the snapshot's version."""
        return showing.stream_link(row.stream_type, row.stream_id, row.version)

    @admin.display(description="As it was at")
    def kept(self, row: Snapshot) -> SafeString:
        """When the last event in it was recorded."""
        return showing.moment(row.updated_at)

    @admin.display(description="State")
    def content(self, row: Snapshot) -> SafeString:
        """The state; aggregates keep no personal fields in it."""
        return showing.document(row.state)


class IdempotencyRecordAdmin(RecordAdmin):
    """Requests that were answered; the answers stay hidden."""

    list_display = ("when", "principal", "key")
    fields = ("when", "principal", "key")
    search_class = RequestSearch
    title = "Answered requests"
    one = "An answered request"
    empty = "No request with an Idempotency-Key has been answered within the time that answers are kept."
    lead = "Requests whose repeats are answered alike. What was answered is not shown."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without what was answered: it is not even read."""
        found: QuerySet[Any] = super().get_queryset(request)
        return found.defer("answer", "fingerprint")

    @admin.display(description="When")
    def when(self, row: IdempotencyRecord) -> SafeString:
        """When it was answered."""
        return showing.moment(row.created_at)


class SubjectKeyAdmin(RecordAdmin):
    """Whose personal fields can be read; never the keys."""

    list_display = ("person", "since", "state")
    fields = ("person", "since", "state")
    search_class = SubjectSearch
    title = "Keys of persons"
    one = "Key of a person"
    empty = "No person is known yet: each gets a key with the first event about them."
    lead = "Whose personal fields are sealed with a key of their own. Without the key nobody can read them again."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without the keys: they are not even read, only whether there is one."""
        found: QuerySet[Any] = super().get_queryset(request)
        found = found.annotate(erased=ExpressionWrapper(Q(wrapped_key=b""), BooleanField()))
        return found.defer("wrapped_key")

    @admin.display(description="Person")
    def person(self, row: SubjectKey) -> SafeString:
        """The person's stream."""
        return showing.id_link(UUID(str(row.subject_id)))

    @admin.display(description="Since")
    def since(self, row: SubjectKey) -> SafeString:
        """When the key was made."""
        return showing.moment(row.created_at)

    @admin.display(description="Key")
    def state(self, row: SubjectKey) -> SafeString:
        """Whether there is a key still."""
        erased = bool(getattr(row, "erased", False))
        return showing.badge("erased", "bad") if erased else showing.badge("kept", "good")


class OutboxEntryAdmin(LockedAdmin):
    """Events that wait for a position."""

    list_display = ("what", "stream", "when")
    list_select_related = ("event",)
    fields = ("what", "stream", "when", "stream_bucket", "route_bucket")
    title = "Backlog"
    one = "An event that waits for its position"
    empty = "No event waits: all have their place in the log."
    lead = "Events that are recorded and wait for their place in the log: a matter of milliseconds."

    @admin.display(description="What happened")
    def what(self, row: OutboxEntry) -> SafeString:
        """The event."""
        return showing.event_link(row.event.pk, row.event.event_type)

    @admin.display(description="Stream")
    def stream(self, row: OutboxEntry) -> SafeString:
        """The event's stream."""
        return showing.short_stream_link(row.event.stream_type, row.event.stream_id, row.event.version)

    @admin.display(description="Recorded")
    def when(self, row: OutboxEntry) -> SafeString:
        """Since when it waits."""
        return showing.moment(row.event.recorded_at)


class SequencerAdmin(LockedAdmin):
    """The head of the log."""

    list_display = ("log_id", "position", "last", "beat")
    fields = ("log_id", "position", "last", "beat")
    title = "Log"
    one = "The log"
    lead = "Where the log ends, and when the sequencer last showed that it lives."

    @admin.display(description="Last grown")
    def last(self, row: Sequencer) -> SafeString:
        """When the last event got its position."""
        return showing.moment(row.sequenced_at)

    @admin.display(description="Heartbeat")
    def beat(self, row: Sequencer) -> SafeString:
        """When a sequencer last looked."""
        return showing.moment(row.heartbeat_at)
