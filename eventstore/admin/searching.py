"""Searches, newest first and stopped in time; that for events by id, type, person and time, at any size of the store.

Each condition goes by an index, whose words are in `migrations/sql/`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import OperationalError, connections, transaction
from django.db.models import BooleanField, Model, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest

from eventstore.admin.keyset import KeysetChangeList
from eventstore.admin.times import first_id_after, first_id_since
from eventstore.failures import sqlstate_of
from eventstore.models import Event, LogEntry
from eventstore.registry import events as registry

TIMEOUT_MS: Final = 3_000
"""How long a search may take; what people wait longer for, they ask for again."""
_QUERY_CANCELED: Final = "57014"

# Each is written as its index has it (migrations/sql/0002_event_searches.sql).
_IN_STORY = "(metadata ->> 'correlation_id')::uuid = %s"
_BY_ACTOR = "metadata ->> 'actor' = %s"
_BY_A_PERSON = "metadata ->> 'actor' NOT LIKE 'system:%%'"

# A search is stopped in time; the setting ends with the transaction.
_BOUND_TIME = "SELECT set_config('statement_timeout', %s, true)"

_SYSTEM: Final = "system:"


class NameField(forms.CharField):
    """A name to choose from those of a list, or another, that only the store knows any more."""

    def __init__(self, *, names: str, **more: Any) -> None:
        super().__init__(widget=forms.TextInput(attrs={"list": names, "autocomplete": "off"}), **more)


class MomentField(forms.DateTimeField):
    """A moment in the reader's zone."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local", "step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class Search(forms.Form):
    """What to look for."""

    narrower: ClassVar[str] = "Narrow it."  # said of a search that was stopped

    def apply(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """What is looked for; nothing where the form is wrong."""
        raise NotImplementedError

    def suggestions(self) -> dict[str, list[str]]:
        """The lists of names that fields have to choose from."""
        return {}


class EventSearch(Search):
    """Which events."""

    narrower = "Narrow it: a type, a person, a span of time or an id."

    id = forms.UUIDField(
        label="Id",
        required=False,
        help_text="of a stream, an event or a story (correlation)",
        error_messages={"invalid": "An id has 32 hexadecimal digits, with or without dashes."},
    )
    type = NameField(label="Type of event", required=False, names="event-types")
    actor = forms.CharField(label="Who", required=False, help_text="as in staff:alice")
    since = MomentField(label="From", required=False)
    until = MomentField(label="Until", required=False)
    first = forms.BooleanField(label="Only what a stream begins with", required=False)

    def suggestions(self) -> dict[str, list[str]]:
        """The types that the program knows."""
        return {"event-types": sorted(registry.names())}

    def apply(self, queryset: QuerySet[Event]) -> QuerySet[Event]:
        """The events that are looked for; none where the form is wrong."""
        if not self.is_valid():
            return queryset.none()
        asked = self.cleaned_data
        if asked["id"]:
            queryset = queryset.filter(_of_id(asked["id"]))
        if asked["type"]:
            queryset = queryset.filter(event_type=asked["type"])
        if asked["actor"]:
            queryset = _by(queryset, asked["actor"])
        if asked["first"]:
            queryset = queryset.filter(version=1)
        if asked["since"]:
            first = first_id_since(asked["since"], using=queryset.db)
            queryset = queryset.filter(id__gte=first, recorded_at__gte=asked["since"])
        if asked["until"]:
            beyond = first_id_after(asked["until"], using=queryset.db)
            queryset = queryset.filter(id__lt=beyond, recorded_at__lt=asked["until"])
        return queryset


class FoundChangeList(KeysetChangeList):
    """Rows that were searched for, in bounded time."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Model]:
        """What the form asks for."""
        found = super().get_queryset(request, exclude_parameters)
        form = self.model_admin.search_form(request)
        return form.apply(found) if isinstance(form, Search) else found

    def read_page(self, queryset: QuerySet[Model], request: HttpRequest) -> list[Model]:
        """One page, unless that takes too long: then nothing, and why."""
        using = queryset.db
        try:
            with transaction.atomic(using=using), connections[using].cursor() as cursor:
                cursor.execute(_BOUND_TIME, [str(TIMEOUT_MS)])
                return super().read_page(queryset, request)
        except OperationalError as error:
            if sqlstate_of(error) != _QUERY_CANCELED:
                raise
        form = self.model_admin.search_form(request)
        narrower = form.narrower if isinstance(form, Search) else Search.narrower
        messages.warning(request, f"This search was stopped after {TIMEOUT_MS // 1000} s. {narrower}")
        return []


class EventChangeList(FoundChangeList):
    """Events that were looked for, each with its position in the log."""

    def read_page(self, queryset: QuerySet[Model], request: HttpRequest) -> list[Model]:
        """One page, with the positions."""
        found = super().read_page(queryset, request)
        attach_positions([event for event in found if isinstance(event, Event)])
        return found


def attach_positions(found: list[Event]) -> None:
    """Gives each event its `position`, None where it waits for one: one query for all."""
    entries = LogEntry.objects.filter(event_id__in=[event.id for event in found]).values_list("event_id", "position")
    positions = dict(entries)
    for event in found:
        event.position = positions.get(event.id)  # type: ignore[attr-defined]


def in_story(correlation_id: UUID) -> RawSQL:
    """The condition that an event belongs to a story."""
    return condition(_IN_STORY, correlation_id)


def _of_id(id: UUID) -> Q:
    return Q(stream_id=id) | Q(event_id=id) | Q(in_story(id))


def _by(queryset: QuerySet[Event], actor: str) -> QuerySet[Event]:
    found = queryset.filter(condition(_BY_ACTOR, actor))
    if actor.startswith(_SYSTEM):
        return found
    return found.filter(condition(_BY_A_PERSON))


def condition(statement: str, *parameters: Any) -> RawSQL:
    """A condition that is a constant, with bound parameters, written as its index has it."""
    return RawSQL(statement, parameters, output_field=BooleanField())  # noqa: S611
