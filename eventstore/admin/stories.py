"""Why something happened and what came of it: the events of one story as a tree of causes and effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from eventstore.admin.searching import attach_positions, in_story
from eventstore.models import Event

MAX_EVENTS: Final = 500
"""How much of a story is shown; one that a program made with a single id may be of any length."""
MAX_INDENT: Final = 12


class Branch(NamedTuple):
    """An event of a story and how far it is from what began it."""

    event: Event
    depth: int  # 0: caused by a request, or by something that is not shown
    indent: int  # the same, bounded: what the page has a style for


def story_of(correlation_id: UUID) -> tuple[list[Branch], bool]:
    """The beginning of a story, each event below its cause; and whether there is more of it."""
    found = list(Event.objects.filter(in_story(correlation_id)).order_by("id")[: MAX_EVENTS + 1])
    shown = found[:MAX_EVENTS]
    attach_positions(shown)
    return list(_in_order(shown)), len(found) > MAX_EVENTS


def effects_of(event: Event) -> list[Event]:
    """What an event has caused directly, the first of it."""
    correlation_id = event.metadata.get("correlation_id")
    if correlation_id is None:
        return []
    caused = Event.objects.filter(in_story(correlation_id), metadata__causation_id=str(event.event_id))
    return list(caused.order_by("id")[:MAX_EVENTS])


def cause_of(event: Event) -> Event | None:
    """The event that caused this one; None when it was a request."""
    causation_id = event.metadata.get("causation_id")
    return None if causation_id is None else Event.objects.filter(event_id=causation_id).first()


def _in_order(events: Sequence[Event]) -> Iterator[Branch]:
    """Depth first, without recursion: a chain may be as long as the story."""
    shown = {str(event.event_id) for event in events}
    effects: dict[str | None, list[Event]] = {}
    for event in events:
        cause = event.metadata.get("causation_id")
        effects.setdefault(cause if cause in shown else None, []).append(event)
    waiting = [(event, 0) for event in reversed(effects.get(None, []))]
    while waiting:
        event, depth = waiting.pop()
        yield Branch(event, depth, min(depth, MAX_INDENT))
        waiting += [(effect, depth + 1) for effect in reversed(effects.get(str(event.event_id), []))]
