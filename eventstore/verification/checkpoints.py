"""Checks the checkpoints against the subscriptions that this program declares, and against what operators recorded.

Invariant: a checkpoint that is not what the program would make or leave is never silently left out of what follows. A
version that is another program's, or a subscription that only another program knows, is told as not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from eventstore.buckets import BUCKETS
from eventstore.shadow import is_shadow, subscription_of
from eventstore.subscriptions.checkpoints import follows_of
from eventstore.subscriptions.registry import Projection, Subscription
from eventstore.tables import tables_made
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, StoreCheck, moment_differences, shown
from eventstore.verification.reading import one_moment

_RUNNING: Final = "running"
_PAUSED: Final = "paused"
_REPLAYING: Final = "replaying"
_TIMES: Final = ("attempted_at", "heartbeat_at", "held_until")

# All checkpoints, the head, and how many keys and events each subscription has parked.
_SELECT_CHECKPOINTS = """
SELECT subscription, follows, bucket_low, bucket_high, position, projection_version, status, paused_by, paused_reason,
    attempted_at, heartbeat_at, held_until
FROM eventstore_checkpoint ORDER BY subscription, bucket_low
"""
_SELECT_POSITION = "SELECT position FROM eventstore_sequencer WHERE id = 1"
_COUNT_PARKED = """
SELECT k.subscription, count(DISTINCT k.id), count(e.id)
FROM eventstore_parked_key k LEFT JOIN eventstore_parked_event e ON e.parked_key_id = k.id
GROUP BY k.subscription ORDER BY k.subscription
"""

# The last word of an operator about whether a subscription goes on.
_SELECT_LAST_WORDS = """
SELECT DISTINCT ON (subscription) subscription, action, actor, detail ->> 'reason'
FROM eventstore_operation WHERE action IN ('pause', 'resume') ORDER BY subscription, id DESC
"""


class _Range(NamedTuple):
    follows: str
    low: int
    high: int
    position: int
    projection_version: int | None
    status: str
    paused_by: str
    paused_reason: str
    attempted_at: datetime | None
    heartbeat_at: datetime | None
    held_until: datetime | None

    @property
    def buckets(self) -> str:
        return f"buckets {self.low} to {self.high}"


class _Seen(NamedTuple):
    """What was there in one moment."""

    ranges: Mapping[str, Sequence[_Range]]
    head: int
    last_words: Mapping[str, tuple[str, str, str | None]]  # action, actor, reason
    made: Mapping[str, Mapping[str, str]]  # projection -> table -> what it was made from


class CheckpointsCheck(StoreCheck):
    """Reads all checkpoints in one moment; there are a few hundred at most."""

    name = "checkpoints"
    unit = "checkpoints"
    proves = (
        "Each subscription of this program has checkpoints, which cover every bucket once, follow what it declares, are"
        " of the version of its tables, stand nowhere beyond the log's head, and are paused as an operator recorded."
    )

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        with one_moment(using=scope.using) as cursor:
            seen = _see(cursor, scope)
            cursor.execute(_COUNT_PARKED)
            for id, keys, events in cursor:
                self.counts[f"{id}: parked keys"] = keys
                self.counts[f"{id}: parked events"] = events
        declared = {subscription.id for subscription in scope.subscriptions.all()}
        for id in sorted(declared - seen.ranges.keys()):
            if seen.head:  # otherwise nobody has dispatched yet, and nothing waits
                yield Difference(field=f"{id}: checkpoints", expected=PRESENT, actual=MISSING)
        for id, ranges in seen.ranges.items():
            self.examined += len(ranges)
            yield from _cover_differences(id, ranges, seen.head)
            subscription = subscription_of(id, scope.subscriptions)
            if subscription is None or (is_shadow(id) and not isinstance(subscription, Projection)):
                self.leave_out(f"{id}: this program has no such subscription")
            else:
                yield from _declared_differences(id, subscription, ranges, seen)


def _see(cursor: Any, scope: Scope) -> _Seen:
    cursor.execute(_SELECT_CHECKPOINTS)
    ranges: dict[str, list[_Range]] = {}
    for subscription, *range_ in cursor.fetchall():
        ranges.setdefault(subscription, []).append(_Range(*range_))
    cursor.execute(_SELECT_POSITION)
    (head,) = cursor.fetchone() or (0,)
    cursor.execute(_SELECT_LAST_WORDS)
    last_words = {subscription: (action, actor, reason) for subscription, action, actor, reason in cursor.fetchall()}
    made = {
        projection.id: tables_made(cursor, projection, schema=projection.schema)
        for projection in scope.subscriptions.projections()
    }
    return _Seen(ranges, head, last_words, made)


def _cover_differences(id: str, ranges: Sequence[_Range], head: int) -> Iterator[Difference]:
    following = 0
    for range_ in ranges:
        if range_.low != following:
            yield _difference(f"{id}: first bucket of a range", following, range_.low)
        following = range_.high + 1
        times = {f"{id}: {name} of {range_.buckets}": getattr(range_, name) for name in _TIMES}
        yield from moment_differences(times)
        if range_.position > head:
            yield _difference(f"{id}: position of {range_.buckets}", f"at most {head}", range_.position)
    if following != BUCKETS:
        yield _difference(f"{id}: last bucket", BUCKETS - 1, following - 1)


def _declared_differences(
    id: str, subscription: Subscription, ranges: Sequence[_Range], seen: _Seen
) -> Iterator[Difference]:
    follows = follows_of(subscription)
    for range_ in ranges:
        if range_.follows != follows:
            yield _difference(f"{id}: what {range_.buckets} follow", follows, range_.follows)
        if is_shadow(id):
            if range_.status != _REPLAYING:
                yield _difference(f"{id}: status of {range_.buckets}", _REPLAYING, range_.status)
            continue
        yield from _status_differences(id, range_, seen.last_words.get(id))
        yield from _version_differences(id, subscription, range_, seen)


def _status_differences(id: str, range_: _Range, last_word: tuple[str, str, str | None] | None) -> Iterator[Difference]:
    action, actor, reason = last_word or ("", "", None)
    wanted = _PAUSED if action == "pause" else _RUNNING
    if range_.status != wanted:
        expected = f"{wanted}, as {actor} recorded" if action else f"{wanted}, for no operator recorded a pause"
        yield _difference(f"{id}: status of {range_.buckets}", expected, range_.status)
    elif wanted == _PAUSED and (range_.paused_by, range_.paused_reason) != (actor, reason):
        actual = f"{range_.paused_by}: {range_.paused_reason}"
        yield _difference(f"{id}: who paused {range_.buckets}, and why", f"{actor}: {reason}", actual)


def _version_differences(id: str, subscription: Subscription, range_: _Range, seen: _Seen) -> Iterator[Difference]:
    """A replay moves tables and version in one transaction, so that they agree whichever program it was."""
    field = f"{id}: projection_version of {range_.buckets}"
    if not isinstance(subscription, Projection):
        if range_.projection_version is not None:
            yield _difference(field, None, range_.projection_version)
        return
    versions = sorted({made.partition(":")[0] for made in seen.made[id].values()})
    if versions and versions != [str(range_.projection_version)]:
        yield _difference(field, f"{' and '.join(versions)}, as its tables are", range_.projection_version)


def _difference(field: str, expected: object, actual: object) -> Difference:
    return Difference(field=field, expected=shown(expected), actual=shown(actual))
