"""`manage.py append_newer NAME`: what a newer version of the program does, which knows an event that this does not."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from eventstore.aggregates import Aggregate
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.registry import events
from eventstore.store import EventStore

NOTICE: Aggregate[None] = Aggregate(
    stream_type="notice",
    initial=None,
    decide=lambda _state, _command: (),
    evolve=lambda _state, _event: None,
)


class Command(BaseCommand):
    """Appends one event; FAULTS_KNOWS names its type to this process alone."""

    help = "Appends an event of a type that older processes do not know."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which."""
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Appends it, in a stream of its own."""
        event = events.named(options["name"]).cls()
        metadata = Metadata(actor="system:newer", correlation_id=new_id())
        EventStore().save(NOTICE, [event], metadata=metadata)
