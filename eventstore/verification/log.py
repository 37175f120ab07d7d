"""Checks the log and the outbox as such, whatever the events in them say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from eventstore.verification.findings import (
    EVER_BEFORE,
    MISSING,
    PRESENT,
    Difference,
    Scope,
    StoreCheck,
    moment_differences,
    shown,
)
from eventstore.verification.reading import one_moment

_PAGE: Final = 10_000

# The head, beside what it should say.
_SELECT_HEAD = """
SELECT head.position, head.sequenced_at, head.heartbeat_at, last.position, last.sequenced_at
FROM (SELECT) AS one
LEFT JOIN eventstore_sequencer head ON head.id = 1
LEFT JOIN (
    SELECT position, sequenced_at FROM eventstore_log ORDER BY position DESC LIMIT 1
) AS last ON true
"""

# A page of log entries, and whether the event of each is there. By positions, not by number: those have no gaps, and
# a range is read by the index whatever the statistics say.
_SELECT_LOG = """
SELECT l.position, l.event_id, l.sequenced_at, e.id IS NOT NULL
FROM eventstore_log l LEFT JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position > %s AND l.position <= %s
ORDER BY l.position, l.event_id
"""

# Where the log goes on after a gap.
_SELECT_NEXT = "SELECT min(position) FROM eventstore_log WHERE position > %s AND position <= %s"

# The next outbox rows, and whether the event of each is there.
_SELECT_OUTBOX = """
SELECT o.event_id, e.id IS NOT NULL
FROM (SELECT event_id FROM eventstore_outbox WHERE event_id > %s ORDER BY event_id LIMIT %s) AS o
LEFT JOIN eventstore_event e ON e.id = o.event_id
ORDER BY o.event_id
"""


class _Entry(NamedTuple):
    position: int
    event_id: int
    sequenced_at: datetime
    has_event: bool


class LogCheck(StoreCheck):
    """Reads the log from its beginning to where it ended when the check began."""

    name = "log"
    unit = "entries"
    proves = (
        "The positions of the log run from 1 to its head without gap or repetition, each holds an event, and the times"
        " of sequencing never decrease."
    )

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_HEAD)
            head = cursor.fetchone()
        yield from _head_differences(*head)
        before, after = _Entry(0, 0, EVER_BEFORE, has_event=True), 0
        while after < scope.position:
            entries, after = _read_page(scope, after=after)
            for entry in entries:
                yield from _entry_differences(before, entry)
                before = entry
            self.examined += len(entries)
            scope.progress(self.name, done=after, total=scope.position)
        if before.position < scope.position:
            yield _gap(before.position, scope.position + 1)


class OutboxCheck(StoreCheck):
    """Reads the outbox, which is short unless nobody dispatches."""

    name = "outbox"
    unit = "rows"
    proves = "What waits in the outbox to be sequenced are events that exist."

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        last = 0
        while True:
            with one_moment(using=scope.using) as cursor:
                cursor.execute(_SELECT_OUTBOX, [last, _PAGE])
                rows = cursor.fetchall()
            for event_id, has_event in rows:
                self.examined += 1
                last = event_id
                if not has_event:
                    yield Difference(field=f"event {event_id}", expected=PRESENT, actual=MISSING)
            if len(rows) < _PAGE:
                return


def _head_differences(
    position: int | None,
    sequenced_at: datetime | None,
    heartbeat_at: datetime | None,
    last_position: int | None,
    last_sequenced_at: datetime | None,
) -> Iterator[Difference]:
    if position is None or sequenced_at is None:
        yield Difference(field="head", expected=PRESENT, actual=MISSING)
        return
    yield from moment_differences({"head sequenced_at": sequenced_at, "head heartbeat_at": heartbeat_at})
    if position != (last_position or 0):
        yield Difference(field="head position", expected=shown(last_position or 0), actual=shown(position))
    if last_sequenced_at is not None and sequenced_at < last_sequenced_at:
        expected = f"not before {shown(last_sequenced_at)}"
        yield Difference(field="head sequenced_at", expected=expected, actual=shown(sequenced_at))


def _read_page(scope: Scope, *, after: int) -> tuple[list[_Entry], int]:
    """The entries of the next page, and up to where that is; the page begins where the log goes on."""
    until = min(after + _PAGE, scope.position)
    with one_moment(using=scope.using) as cursor:
        cursor.execute(_SELECT_LOG, [after, until])
        entries = [_Entry(*row) for row in cursor.fetchall()]
        if not entries:
            cursor.execute(_SELECT_NEXT, [until, scope.position])
            (following,) = cursor.fetchone()
            until = scope.position if following is None else following - 1
    return entries, until


def _entry_differences(before: _Entry, entry: _Entry) -> Iterator[Difference]:
    if entry.position == before.position:
        yield Difference(
            position=entry.position,
            field="entries",
            expected=f"event {before.event_id} alone",
            actual=f"event {entry.event_id} too",
        )
    elif entry.position > before.position + 1:
        yield _gap(before.position, entry.position)
    if not entry.has_event:
        yield Difference(position=entry.position, field=f"event {entry.event_id}", expected=PRESENT, actual=MISSING)
    yield from moment_differences({"sequenced_at": entry.sequenced_at}, position=entry.position)
    if entry.sequenced_at < before.sequenced_at:
        yield Difference(
            position=entry.position,
            field="sequenced_at",
            expected=f"not before {shown(before.sequenced_at)}",
            actual=shown(entry.sequenced_at),
        )


def _gap(last: int, following: int) -> Difference:
    missing = f"{last + 1}" if following == last + 2 else f"{last + 1} to {following - 1}"
    return Difference(position=last + 1, field="position", expected=missing, actual=MISSING)
