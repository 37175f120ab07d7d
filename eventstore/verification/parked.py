"""Checks what is parked: that it is of this log and of these subscriptions, and that nothing overtook it.

Invariants: each page is read in one moment, together with the checkpoints, so that what workers park, retry and pass
meanwhile is seen whole or not at all; a page of keys ends when its transaction has taken long enough, and what is
behind them is decoded when it is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from eventstore.events import RecordedEvent
from eventstore.rows import EventRow
from eventstore.shadow import subscription_of
from eventstore.subscriptions.handling import handled_types, key_of
from eventstore.subscriptions.parking import LONGEST_DELAY_SECONDS
from eventstore.subscriptions.registry import Projection, Subscription
from eventstore.verification.findings import (
    MISSING,
    PRESENT,
    Difference,
    Scope,
    StoreCheck,
    is_moment,
    moment_differences,
    shown,
)
from eventstore.verification.reading import one_moment
from eventstore.verification.walking import decode_each

OVERDUE_SECONDS: Final = 300.0
"""For how long a key may wait for an attempt that is due, while somebody dispatches."""
PATIENCE_SECONDS: Final = 15.0
"""How long an attempt that is overdue is waited for: who has just begun to dispatch again is about to make it."""
_LOOK_SECONDS: Final = 1.0
_LEEWAY_SECONDS: Final = 60.0
_PAGE_EVENTS: Final = 1_000
_PAGE_KEYS: Final = 50
_PAGE_SECONDS: Final = 0.5
"""After so long no further key is looked at in the same transaction."""
_STORY: Final = 100_000
"""Events of one story that are found for one key, at most."""
_LOOKED_AT: Final = 5_000
"""Those of them that are looked at behind it, at most: the first."""

_SELECT_CHECKPOINTS = """
SELECT subscription, follows, bucket_low, bucket_high, position, projection_version FROM eventstore_checkpoint
"""

# A page of parked events, each with its key and, where they are there, its place in the log and its event.
_SELECT_EVENTS = """
SELECT p.id, p.subscription, p.position, k.subscription, k.key, l.event_id, l.stream_bucket, l.route_bucket,
    p.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data, e.metadata,
    e.recorded_at
FROM (SELECT * FROM eventstore_parked_event WHERE id > %s ORDER BY id LIMIT %s) AS p
LEFT JOIN eventstore_parked_key k ON k.id = p.parked_key_id
LEFT JOIN eventstore_log l ON l.position = p.position
LEFT JOIN eventstore_event e ON e.id = l.event_id
ORDER BY p.id
"""

# A page of parked keys, each with when it was parked and is tried next, for how many seconds from now the next attempt
# is further away than any delay of its own, and the first position behind it. A clock that was set back makes all of
# them so until somebody heeds it.
_SELECT_KEYS = """
SELECT k.id, k.subscription, k.key, k.parked_at, k.next_attempt_at,
    k.next_attempt_at > clock_timestamp() + make_interval(secs =>
        %s + LEAST(power(2, LEAST(GREATEST(k.attempts, 1), 20)), %s)
    ) AND NOT (SELECT sequenced_at > clock_timestamp() FROM eventstore_sequencer WHERE id = 1),
    (SELECT e.position FROM eventstore_parked_event e WHERE e.parked_key_id = k.id ORDER BY e.position LIMIT 1)
FROM (SELECT * FROM eventstore_parked_key WHERE id > %s ORDER BY id LIMIT %s) AS k
ORDER BY k.id
"""

# The key that should have been tried longest ago, of subscriptions that nobody has paused. By the sequencer's
# heartbeat, for where nobody dispatches nobody tries either; a clock that was set back leaves it in the future.
_SELECT_OVERDUE = """
SELECT k.id, k.subscription, k.key, k.attempts, k.next_attempt_at, head.heartbeat_at
FROM eventstore_parked_key k
JOIN unnest(%s::text[], %s::integer[]) AS wanted (subscription, projection_version) USING (subscription)
CROSS JOIN (
    SELECT LEAST(heartbeat_at, clock_timestamp()) AS heartbeat_at FROM eventstore_sequencer WHERE id = 1
) AS head
WHERE k.next_attempt_at < head.heartbeat_at - make_interval(secs => %s)
    AND NOT EXISTS (
        SELECT FROM eventstore_checkpoint c
        WHERE c.subscription = k.subscription
            AND (c.status = 'paused' OR c.projection_version <> wanted.projection_version)
    )
ORDER BY k.next_attempt_at LIMIT 1
"""

# What comes after a position in a stream, or in the story of the event there, and is not parked itself. The events are
# read when it is known which.
_SELECT_BEYOND = """
SELECT behind.stream_bucket, behind.route_bucket, behind.position, e.event_id, e.stream_type, e.stream_id, e.version,
    e.event_type, e.schema_version, e.data, e.metadata, e.recorded_at
FROM (
    SELECT l.* FROM (
        SELECT id FROM eventstore_event WHERE stream_id = %(key)s AND event_type = ANY(%(names)s)
        UNION
        (
            SELECT e.id FROM eventstore_log l
            JOIN eventstore_event first ON first.id = l.event_id
            JOIN eventstore_event e
                ON (e.metadata ->> 'correlation_id')::uuid = (first.metadata ->> 'correlation_id')::uuid
            WHERE l.position = %(first)s AND e.event_type = ANY(%(names)s) LIMIT %(story)s
        )
    ) AS related
    JOIN eventstore_log l ON l.event_id = related.id AND l.position > %(first)s
    WHERE NOT EXISTS (
        SELECT FROM eventstore_parked_event p WHERE p.subscription = %(subscription)s AND p.position = l.position
    )
    ORDER BY l.position LIMIT %(most)s
) AS behind
JOIN eventstore_event e ON e.id = behind.event_id
ORDER BY behind.position
"""


class _Range(NamedTuple):
    follows: str
    low: int
    high: int
    position: int
    projection_version: int | None


class _Parked(NamedTuple):
    id: int
    subscription: str
    position: int
    key_subscription: str | None  # None: there is no such key
    key: UUID | None
    log_event_id: int | None  # None: there is no such position
    stream_bucket: int | None
    route_bucket: int | None
    row: EventRow | None  # None: there is no such event

    @property
    def name(self) -> str:
        return f"parked event of {self.subscription}"


class _Key(NamedTuple):
    id: int
    subscription: str
    key: UUID
    parked_at: datetime
    next_attempt_at: datetime
    too_late: bool  # the next attempt is further away than any delay
    first: int | None

    @property
    def name(self) -> str:
        return f"parked key {self.key} of {self.subscription}"


Ranges = Mapping[str, Sequence[_Range]]


class _Behind(NamedTuple):
    """A key, and what its subscription has passed of what comes behind it in its stream and story."""

    key: _Key
    subscription: Subscription | None  # None: nothing is compared
    rows: Sequence[EventRow]


class _Overdue(NamedTuple):
    id: int
    subscription: str
    key: UUID
    attempts: int
    next_attempt_at: datetime
    heartbeat_at: datetime

    def is_tried(self, later: _Overdue | None) -> bool:
        """Whether somebody has tried it meanwhile."""
        return later is None or self[:5] != later[:5]


class ParkedCheck(StoreCheck):
    """Looks at every parked event and every parked key."""

    name = "parked"
    unit = "parked events"
    proves = (
        "Each parked event is in the log, waits behind its own key, of a subscription of this program that has passed"
        " it, and nothing of a parked key was handled beyond; no key is parked without an event, and each is tried"
        " again in time."
    )

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__()
        self._patience_seconds = patience_seconds

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        after: int | None = 0
        while after is not None:
            found, after = self._check_events(scope, after)
            yield from found
        after = 0
        while after is not None:
            found, after = self._check_keys(scope, after)
            yield from found
        yield from self._overdue_differences(scope)

    def _overdue_differences(self, scope: Scope) -> Iterator[Difference]:
        """The longest overdue is the first to be tried: where it is not, none is."""
        overdue, until = _overdue(scope), time.monotonic() + self._patience_seconds
        while overdue is not None:
            if time.monotonic() >= until:
                yield Difference(
                    field=f"next attempt of parked key {overdue.key} of {overdue.subscription}",
                    expected=f"within {OVERDUE_SECONDS:.0f} s of {shown(overdue.next_attempt_at)}",
                    actual=f"none up to {shown(overdue.heartbeat_at)}",
                )
                return
            time.sleep(_LOOK_SECONDS)
            if overdue.is_tried(_overdue(scope)):
                return

    def _check_events(self, scope: Scope, after: int) -> tuple[list[Difference], int | None]:
        with one_moment(using=scope.using) as cursor:
            ranges = ranges_in(cursor)
            cursor.execute(_SELECT_EVENTS, [after, _PAGE_EVENTS])
            parked = [_parked(row) for row in cursor.fetchall()]
            there = {event.id: event.row for event in parked if event.row is not None}
            decoded = decode_each(list(there.values()), registry=scope.registry, using=scope.using)
        recorded = {id: found for id, (found, _) in zip(there, decoded, strict=True)}
        self.examined += len(parked)
        found: list[Difference] = []
        for event in parked:
            found += _event_differences(scope, event, recorded.get(event.id), ranges)
        return found, parked[-1].id if len(parked) == _PAGE_EVENTS else None

    def _check_keys(self, scope: Scope, after: int) -> tuple[list[Difference], int | None]:
        behind: list[_Behind] = []
        with one_moment(using=scope.using) as cursor:
            until = time.monotonic() + _PAGE_SECONDS
            ranges = ranges_in(cursor)
            cursor.execute(_SELECT_KEYS, [_LEEWAY_SECONDS, LONGEST_DELAY_SECONDS, after, _PAGE_KEYS])
            keys = [_Key(*row) for row in cursor.fetchall()]
            for key in keys:
                behind.append(_behind(cursor, scope, key, ranges))
                if time.monotonic() >= until or sum(len(found.rows) for found in behind) >= _PAGE_EVENTS:
                    break
        found = [difference for one in behind for difference in _key_differences(scope, one)]
        self.counts["parked keys"] += len(behind)
        is_last = len(behind) == len(keys) < _PAGE_KEYS
        return found, None if is_last else behind[-1].key.id


def _parked(row: tuple[Any, ...]) -> _Parked:
    columns, event = row[:8], row[8:]
    id, subscription, position, key_subscription, key, log_event_id, stream_bucket, route_bucket = columns
    return _Parked(
        id=id,
        subscription=subscription,
        position=position,
        key_subscription=key_subscription,
        key=key,
        log_event_id=log_event_id,
        stream_bucket=stream_bucket,
        route_bucket=route_bucket,
        row=None if event[1] is None else EventRow(*event),
    )


def ranges_in(cursor: Any) -> Ranges:
    """The checkpoints, by subscription."""
    cursor.execute(_SELECT_CHECKPOINTS)
    found: dict[str, list[_Range]] = {}
    for subscription, *range_ in cursor.fetchall():
        found.setdefault(subscription, []).append(_Range(*range_))
    return found


def passed_by(ranges: Sequence[_Range], *, stream_bucket: int | None, route_bucket: int | None) -> int | None:
    """How far the one has come who follows this bucket; None when nobody does."""
    for range_ in ranges:
        bucket = route_bucket if range_.follows == "route" else stream_bucket
        if bucket is not None and range_.low <= bucket <= range_.high:
            return range_.position
    return None


def _event_differences(
    scope: Scope, parked: _Parked, recorded: RecordedEvent[Any] | None, ranges: Ranges
) -> Iterator[Difference]:
    if parked.key is None:
        yield _about(parked, f"key of the {parked.name}", PRESENT, MISSING)
    elif parked.subscription != parked.key_subscription:
        yield _about(parked, f"subscription of the {parked.name}", parked.key_subscription, parked.subscription)
    subscription = subscription_of(parked.subscription, scope.subscriptions)
    if subscription is None:
        yield _about(parked, f"subscription of the {parked.name}", "one of this program", parked.subscription)
    if parked.row is None:
        what = "position" if parked.log_event_id is None else f"event {parked.log_event_id}"
        yield _about(parked, f"{what} of the {parked.name}", PRESENT, MISSING)
        return
    passed = passed_by(
        ranges.get(parked.subscription, ()), stream_bucket=parked.stream_bucket, route_bucket=parked.route_bucket
    )
    if passed is not None and parked.position > passed:
        yield _about(parked, f"checkpoint behind the {parked.name}", f"at least {parked.position}", passed)
    if subscription is not None and parked.key is not None:
        yield from _belonging(parked, subscription, recorded)


def _belonging(
    parked: _Parked, subscription: Subscription, recorded: RecordedEvent[Any] | None
) -> Iterator[Difference]:
    if recorded is None:
        return  # parked under its stream, or under its key before it could be read no more
    if type(recorded.data) not in handled_types(subscription):
        yield _about(parked, f"type of the {parked.name}", f"one that {subscription.id} handles", recorded.name)
        return
    keys = (key_of(subscription, recorded), recorded.stream_id)  # its stream when it could not be read then
    if parked.key not in keys:
        yield _about(parked, f"key of the {parked.name}", keys[0], parked.key)


def _overdue(scope: Scope) -> _Overdue | None:
    ours = scope.subscriptions.all()
    versions = [found.version if isinstance(found, Projection) else None for found in ours]
    with one_moment(using=scope.using) as cursor:
        cursor.execute(_SELECT_OVERDUE, [[found.id for found in ours], versions, OVERDUE_SECONDS])
        found = cursor.fetchone()
    return None if found is None else _Overdue(*found)


def _behind(cursor: Any, scope: Scope, key: _Key, ranges: Ranges) -> _Behind:
    subscription = subscription_of(key.subscription, scope.subscriptions)
    mine = ranges.get(key.subscription, ())
    if key.first is None or subscription is None:
        return _Behind(key, None, ())
    if isinstance(subscription, Projection) and not _is_current(subscription, mine):
        return _Behind(key, None, ())
    wanted = {
        "key": key.key,
        "first": key.first,
        "names": [scope.registry.type_of(cls).name for cls in handled_types(subscription)],
        "subscription": key.subscription,
        "story": _STORY,
        "most": _LOOKED_AT,
    }
    cursor.execute(_SELECT_BEYOND, wanted)
    rows = [
        EventRow(position, *event)
        for stream_bucket, route_bucket, position, *event in cursor.fetchall()
        if (passed := passed_by(mine, stream_bucket=stream_bucket, route_bucket=route_bucket)) is not None
        and position <= passed
    ]
    return _Behind(key, subscription, rows)


def _key_differences(scope: Scope, behind: _Behind) -> Iterator[Difference]:
    key, subscription, rows = behind
    times = {f"parked_at of {key.name}": key.parked_at, f"next_attempt_at of {key.name}": key.next_attempt_at}
    yield from moment_differences(times)
    if key.too_late and is_moment(key.next_attempt_at):
        expected = "no further away than its attempts delay it"
        actual = shown(key.next_attempt_at)
        yield Difference(field=f"next_attempt_at of {key.name}", expected=expected, actual=actual)
    if key.first is None:
        yield Difference(field=f"events behind {key.name}", expected="one or more", actual="none")
        return
    if subscription is None:
        return
    for recorded, _ in decode_each(rows, registry=scope.registry, using=scope.using):
        if recorded is None or key_of(subscription, recorded) != key.key:
            continue
        yield Difference(
            stream=f"{recorded.stream_type}/{recorded.stream_id}",
            version=recorded.version,
            position=recorded.position,
            field=f"place behind {key.name}",
            expected=f"parked behind position {key.first}",
            actual="handled before it",
        )
        return  # one of a key is named


def _is_current(projection: Projection, ranges: Sequence[_Range]) -> bool:
    return all(range_.projection_version == projection.version for range_ in ranges)


def _about(parked: _Parked, field: str, expected: object, actual: object) -> Difference:
    row = parked.row
    return Difference(
        stream="" if row is None else f"{row.stream_type}/{row.stream_id}",
        version=None if row is None else row.version,
        position=parked.position,
        field=field,
        expected=shown(expected),
        actual=shown(actual),
    )
