"""What operators did: who, when, to what, and why; searched by each of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db import connection
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from eventstore.admin import showing
from eventstore.admin.records import RecordAdmin
from eventstore.admin.searching import FoundChangeList, NameField, Search, condition
from eventstore.models import Event, Operation
from eventstore.operations import OS_USER
from eventstore.subscriptions.registry import subscriptions

# Each is written as its index has it (migrations/sql/0004_operation_searches.sql).
_TO: Final = "COALESCE(NULLIF(subscription, ''), detail ->> 'member') = %s"
_KEY: Final = "detail ->> 'key' = %s"

# What was ever done, however often: a step through the index for each.
_SELECT_ACTIONS: Final = """
WITH RECURSIVE found (action) AS (
    (SELECT action FROM eventstore_operation ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT o.action FROM eventstore_operation o WHERE o.action > found.action ORDER BY o.action LIMIT 1)
    FROM found WHERE found.action IS NOT NULL
)
SELECT action FROM found WHERE action IS NOT NULL LIMIT 100
"""

_TOLD_ELSEWHERE: Final = frozenset({"member", "reason", "action", "key", "what", "position", "from", "into", OS_USER})
"""Of a record's detail: what has a column, or words, of its own."""


class OperationSearch(Search):
    """Which operations."""

    actor = forms.CharField(label="Who", required=False, help_text="as in staff:alice")
    action = NameField(label="Action", required=False, names="operation-actions", help_text="as in discard")
    to = NameField(label="To", required=False, names="operation-subscriptions", help_text="a subscription or a member")
    key = forms.UUIDField(label="Key", required=False, help_text="of a story or a stream")

    narrower = "Narrow it: who, what and to whom."

    def suggestions(self) -> dict[str, list[str]]:
        """What was ever done, and to which subscriptions it may have been."""
        with connection.cursor() as cursor:
            cursor.execute(_SELECT_ACTIONS)
            actions = [action for (action,) in cursor]
        return {"operation-actions": actions, "operation-subscriptions": sorted(one.id for one in subscriptions.all())}

    def apply(self, queryset: QuerySet[Operation]) -> QuerySet[Operation]:
        """The operations that are looked for; none where the form is wrong."""
        if not self.is_valid():
            return queryset.none()
        asked = self.cleaned_data
        queryset = queryset.filter(**{name: asked[name] for name in ("actor", "action") if asked[name]})
        if asked["to"]:
            queryset = queryset.filter(condition(_TO, asked["to"]))
        if asked["key"]:
            queryset = queryset.filter(condition(_KEY, str(asked["key"])))
        return queryset


class OperationChangeList(FoundChangeList):
    """Operations that were looked for, with the streams that they name."""

    def read_page(self, queryset: QuerySet[Model], request: HttpRequest) -> list[Model]:
        """One page, with the streams."""
        found = super().read_page(queryset, request)
        attach_streams(row for row in found if isinstance(row, Operation))
        return found


class OperationAdmin(RecordAdmin):
    """What operators did."""

    list_display = ("when", "who", "action", "to", "what", "why")
    list_display_links = ("when",)
    fields = ("when", "who", "action", "to", "what", "why", "details")
    search_class = OperationSearch
    title = "Operations"
    lead = (
        "What operators did to subscriptions, to parked events and to who may sign in, and why. Nobody can change it."
    )
    empty = "No operator has done anything yet."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FoundChangeList]:
        """Operations that were searched for."""
        return OperationChangeList

    @admin.display(description="When")
    def when(self, row: Operation) -> SafeString:
        """When it was done; leads to all that is recorded of it."""
        return showing.moment(row.at)

    @admin.display(description="Who")
    def who(self, row: Operation) -> SafeString:
        """The actor; and the user of the operating system who said that it was the actor."""
        os_user = row.detail.get(OS_USER)
        if not os_user:
            return conditional_escape(row.actor)
        return format_html('{}<br><span class="es-quiet">by os:{}</span>', row.actor, os_user)

    @admin.display(description="To")
    def to(self, row: Operation) -> str:
        """What it was done to: a subscription, a member, or what is sealed."""
        return done_to(row)

    @admin.display(description="What")
    def what(self, row: Operation) -> SafeString:
        """Which key, event, ranges or fields."""
        if not hasattr(row, "stream_types"):
            attach_streams([row])
        return showing.lines(list(_told(row))) or conditional_escape(showing.NOTHING)

    @admin.display(description="Why")
    def why(self, row: Operation) -> str:
        """The reason that was given."""
        return str(row.detail.get("reason", showing.NOTHING))

    @admin.display(description="As recorded")
    def details(self, row: Operation) -> SafeString:
        """All that was recorded."""
        return showing.document(row.detail)


def done_to(row: Operation) -> str:
    """What an operation was done to: a subscription, a member, or what is sealed."""
    if row.action == "unseal":
        return "personal fields"
    return row.subscription or str(row.detail.get("member", showing.NOTHING))


def attach_streams(rows: Iterable[Operation]) -> None:
    """Tells each row which of the ids that it names are streams, and of which type: one query for all."""
    named = {row.pk: (row, _uuid(row.detail.get("key"))) for row in rows}
    ids = {id for _, id in named.values() if id is not None}
    found = Event.objects.filter(stream_id__in=ids, version=1).values_list("stream_id", "stream_type")
    types: dict[UUID, str] = dict(found) if ids else {}
    for row, id in named.values():
        row.stream_types = {id: types[id]} if id in types else {}  # type: ignore[attr-defined]


def _told(row: Operation) -> Iterator[SafeString]:
    """The lines that say what was done."""
    detail: Mapping[str, Any] = row.detail
    if row.action == "unseal":
        yield _unsealed(row)
    elif "key" in detail:
        yield _key_link(row, detail["key"])
    if "into" in detail:
        yield format_html("{} → {}", _ranges(detail.get("from")), _ranges(detail["into"]))
    if "position" in detail:
        yield format_html("at {}", showing.position_link(detail["position"]))
    for name, value in sorted(detail.items()):
        if name == "checkpoints":
            yield conditional_escape(_ranges(value))
        elif name not in _TOLD_ELSEWHERE:
            yield format_html("{}: {}", name.replace("_", " "), _in_words(value))


def _unsealed(row: Operation) -> SafeString:
    """Whose fields: a stream, a story, or what was at the end of the log."""
    what = str(row.detail.get("what", ""))
    id = _uuid(row.detail.get("key") or what.rpartition("/")[2])
    if id is None:
        return conditional_escape(what or "the end of the log")
    if row.detail.get("action") == "trace":
        return format_html("story {}", showing.story_link(id))
    return _key_link(row, str(id))


def _key_link(row: Operation, key: Any) -> SafeString:
    """A link to the stream, or to all that is known of the id."""
    id = _uuid(key)
    if id is None:
        return conditional_escape(key)
    stream_type = row.stream_types.get(id)  # type: ignore[attr-defined]
    return showing.id_link(id) if stream_type is None else showing.stream_link(stream_type, id)


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


def _ranges(count: Any) -> str:
    return "1 range" if count == 1 else f"{count} ranges"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
