"""Runs checks over one store, up to one position, and reports what they find."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import connections

from eventstore.aggregates import Aggregate
from eventstore.registry import EventRegistry
from eventstore.registry import events as default_events
from eventstore.subscriptions.registry import SubscriptionRegistry
from eventstore.subscriptions.registry import subscriptions as default_subscriptions
from eventstore.verification.checkpoints import CheckpointsCheck
from eventstore.verification.findings import (
    Check,
    Collector,
    Progress,
    Report,
    Scope,
    StoreCheck,
    as_far_as_it_goes,
    silent,
)
from eventstore.verification.guards import GuardsCheck
from eventstore.verification.log import LogCheck, OutboxCheck
from eventstore.verification.operations import OperationsCheck
from eventstore.verification.parked import ParkedCheck
from eventstore.verification.seals import SealsCheck
from eventstore.verification.snapshots import StatesCheck
from eventstore.verification.streams import ReadableCheck, SequencingCheck, StreamsCheck
from eventstore.verification.walking import CHUNK_EVENTS, StreamCheck, walk

NAMED_DIFFERENCES: Final = 20
"""Differences that a report names of each check, unless it is told otherwise."""

# Where the log ends; without a head, where its last entry is.
_SELECT_END = """
SELECT (SELECT log_id FROM eventstore_sequencer WHERE id = 1),
    COALESCE((SELECT position FROM eventstore_sequencer WHERE id = 1), (SELECT max(position) FROM eventstore_log), 0)
"""


def store_checks(*, app_role: str | None = None) -> list[Check]:
    """The checks that need to know nothing of what the events are about.

    `app_role` is the database role that runs the program, unless it owns the tables itself.
    """
    return [
        GuardsCheck(app_role=app_role),
        LogCheck(),
        SealsCheck(),
        OutboxCheck(),
        CheckpointsCheck(),
        ParkedCheck(),
        StreamsCheck(),
        SequencingCheck(),
        ReadableCheck(),
        OperationsCheck(),
        StatesCheck(),
    ]


def verify(
    checks: Sequence[Check],
    *,
    aggregates: Sequence[Aggregate[Any]],
    using: str = "default",
    registry: EventRegistry = default_events,
    subscriptions: SubscriptionRegistry = default_subscriptions,
    progress: Progress = silent,
    limit: int = NAMED_DIFFERENCES,
    chunk_events: int = CHUNK_EVENTS,
) -> Report:
    """Runs the checks, each once, and names up to `limit` differences of each.

    Checks that read streams share one pass and finish in the order in which they are given. One that raises says so in
    its finding, and the others go on. Raises what ends them all: a database that is away, settings that are wrong.
    """
    began = time.monotonic()
    log_id, position = _end_of_log(using)
    scope = Scope(
        using=using,
        registry=registry,
        subscriptions=subscriptions,
        aggregates={aggregate.stream_type: aggregate for aggregate in aggregates},
        log_id=log_id,
        position=position,
        progress=progress,
    )
    collector = Collector(checks, limit=limit)
    for check in checks:
        if isinstance(check, StoreCheck):
            for difference in as_far_as_it_goes(check, partial(check.differences, scope)):
                collector.add(check, difference)
    walking = [check for check in checks if isinstance(check, StreamCheck)]
    if walking:
        for finder, difference in walk(scope, walking, events=chunk_events):
            collector.add(finder, difference)
    return Report(
        log_id=log_id,
        position=position,
        seconds=round(time.monotonic() - began, 3),
        findings=collector.findings(),
    )


def _end_of_log(using: str) -> tuple[UUID | None, int]:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_END)
        log_id, position = cursor.fetchone()
        return log_id, position
