"""How the admin writes moments, JSON and links, each in one place."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.urls import reverse
from django.utils import timezone
from django.utils.html import conditional_escape, escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

NOTHING: Final = "–"  # noqa: RUF001 - an en dash is meant

_UUID: Final = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_DAY_SECONDS: Final = 86_400
_READABLE: Final[dict[str, Any]] = {"ensure_ascii": False, "default": str}


def moment(at: datetime | None) -> SafeString:
    """A moment in the reader's zone, to the millisecond; in full on hover."""
    if at is None:
        return conditional_escape(NOTHING)
    local = timezone.localtime(at)
    text = f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', at.isoformat(), f"{local.isoformat()} ({local:%Z})", text
    )


def age(span: timedelta | None) -> str:
    """A span of time in its largest unit, and the next one."""
    if span is None:
        return NOTHING
    seconds = max(0, int(span.total_seconds()))
    days, seconds = divmod(seconds, _DAY_SECONDS)
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def document(value: Any) -> SafeString:
    """JSON to read; every id in it leads to what is known of it."""
    return format_html('<pre class="es-json" tabindex="0">{}</pre>', _linked(json.dumps(value, **_READABLE, indent=2)))


def inline(value: Any) -> SafeString:
    """A value of JSON within a line."""
    return format_html("<code>{}</code>", _linked(json.dumps(value, **_READABLE)))


def _linked(text: str) -> SafeString:
    linked = _UUID.sub(lambda found: str(id_link(found.group())), str(escape(text)))
    return mark_safe(linked)  # noqa: S308 - the text is escaped, the links are by format_html


def id_link(id: UUID | str, text: str = "") -> SafeString:
    """A link to all events of that stream or story, or to the event, of that id."""
    return format_html(
        '<a class="es-id" href="{}?id={}">{}</a>', reverse("admin:eventstore_event_changelist"), id, text or id
    )


def address_link(address: str, text: Any) -> SafeString:
    """A link to another page of the admin."""
    return format_html('<a href="{}">{}</a>', address, text)


def event_link(pk: int, text: Any) -> SafeString:
    """A link to one event."""
    return address_link(reverse("admin:eventstore_event_change", args=[pk]), text)


def position_link(position: int) -> SafeString:
    """A link to the event at a position of the log."""
    return address_link(reverse("admin:eventstore_event_position", args=[position]), f"position {position}")


def stream_address(stream_type: str, stream_id: UUID, version: int | None = None) -> str:
    """Where a stream is shown, as it was at a version or as it is."""
    address = reverse("admin:eventstore_event_stream", args=[stream_type, stream_id])
    return address if version is None else f"{address}?version={version}"


def stream_link(stream_type: str, stream_id: UUID, version: int | None = None) -> SafeString:
    """A link to a stream."""
    return format_html(
        '<a class="es-id" href="{}">{} {}</a>', stream_address(stream_type, stream_id, version), stream_type, stream_id
    )


def short_stream_link(stream_type: str, stream_id: UUID, version: int) -> SafeString:
    """A link to a stream for a list, where a whole id leaves no room: the end of it, all of it on hover."""
    return format_html(
        '<a class="es-id" href="{}" title="{}">{} …{}</a>',
        stream_address(stream_type, stream_id, version),
        stream_id,
        stream_type,
        str(stream_id)[-8:],
    )


def story_link(correlation_id: Any, text: str = "") -> SafeString:
    """A link to a whole story."""
    return format_html(
        '<a class="es-id" href="{}">{}</a>',
        reverse("admin:eventstore_event_story", args=[correlation_id]),
        text or correlation_id,
    )


def badge(text: str, tone: str) -> SafeString:
    """A state in a word. `tone`: good, warn, bad or plain."""
    return format_html('<span class="es-badge es-{}">{}</span>', tone, text)


def lines(items: list[SafeString]) -> SafeString:
    """Several lines in one cell."""
    return format_html_join(mark_safe("<br>"), "{}", ((item,) for item in items))
