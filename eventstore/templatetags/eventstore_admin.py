"""Moments, links and ids in the admin's templates; the writing itself is in `eventstore.admin.showing`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from eventstore.admin import showing

register = template.Library()


@register.filter
def moment(at: datetime | None) -> SafeString:
    """A moment in the reader's zone."""
    return showing.moment(at)


@register.filter
def id_end(id: UUID) -> SafeString:
    """The end of an id, which tells ids of one time apart; all of it on hover."""
    return format_html('<span class="es-id" title="{}">…{}</span>', id, str(id)[-8:])


@register.filter
def count(number: int) -> str:
    """How many, with separators; ids and positions go without."""
    return f"{number:,}"


@register.filter
def json_value(value: Any) -> SafeString:
    """A value of a state, to read."""
    return showing.inline(value)


@register.simple_tag
def stream_at(stream_type: str, stream_id: UUID, version: int) -> str:
    """The address of a stream at a version."""
    return showing.stream_address(stream_type, stream_id, version)


@register.simple_tag
def id_link(id: UUID | str) -> SafeString:
    """A link to all that is known of an id."""
    return showing.id_link(id)


@register.simple_tag
def story_link(correlation_id: Any) -> SafeString:
    """A link to a story."""
    return showing.story_link(correlation_id)


@register.simple_tag
def stream_link(stream_type: str, stream_id: UUID, version: int | None = None) -> SafeString:
    """A link to a stream."""
    return showing.stream_link(stream_type, stream_id, version)
