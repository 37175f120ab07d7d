"""Checks that what requests were answered with, and their repeats will be, is what the store says has happened.

An answer commits with the event that it tells of, so the two agree for good: in what the answer repeats of the event,
in who acted, and in when. A record that is gone cannot be told from one that was cleared away after its time; so
nothing is said of records that are not there.

Invariant: a page of records costs the same few queries, whatever the answers name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from accounts.published.events import STATUS_AFTER as ACCOUNT_STATUS_AFTER
from accounts.published.events import (
    AccountClosed,
    AccountFrozen,
    AccountOpened,
    AccountUnfrozen,
    CashDeposited,
    CashEntryReversed,
    CashWithdrawn,
    CustomerContactChanged,
    CustomerRegistered,
    CustomerRenamed,
)
from accounts.published.money import UnknownCurrency, format_amount
from eventstore.events import RecordedEvent
from eventstore.registry import events
from eventstore.rows import EventRow
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, StoreCheck, is_moment, shown
from eventstore.verification.reading import one_moment
from eventstore.verification.sorting import ExternalSort
from eventstore.verification.walking import decode_each
from transfers.published.events import STATUS_AFTER as TRANSFER_STATUS_AFTER
from transfers.published.events import TransferEvent

APART: Final = timedelta(hours=2)
"""How far the times of an answer and of its event may be apart. They are milliseconds, but for a clock that was set
back: an event is never recorded before the one that it follows, a record is."""

_PAGE: Final = 1_000

_SELECT_LAST = "SELECT COALESCE(max(id), 0) FROM eventstore_idempotency_record"

# A page of records.
_SELECT_RECORDS = """
SELECT id, principal, key, answer::text, created_at FROM eventstore_idempotency_record
WHERE id > %s AND id <= %s ORDER BY id LIMIT %s
"""

# These events, and these versions of streams.
_SELECT_EVENTS = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event
WHERE id = ANY(ARRAY(
    SELECT id FROM eventstore_event WHERE event_id = ANY(%s)
    UNION ALL
    SELECT id FROM eventstore_event
    JOIN unnest(%s::uuid[], %s::integer[]) AS wanted (stream_id, version) USING (stream_id, version)
))
"""

# What these streams begin with.
_SELECT_FIRST = """
SELECT NULL, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
FROM eventstore_event
WHERE stream_id = ANY(%s) AND version = 1
"""

# By whom, in which version and when something of some kinds was done. There are few of these kinds.
_SELECT_DONE = """
SELECT metadata ->> 'actor', event_type, version, recorded_at FROM eventstore_event
WHERE event_type = ANY(%s) AND metadata ->> 'actor' = ANY(%s) AND version = ANY(%s) AND recorded_at BETWEEN %s AND %s
"""


# Answers, by the field that tells what they are. Written down a second time: nothing is shared with who answers.


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    version: int


class _Entry(_Answer, frozen=True, kw_only=True):
    entry_id: UUID
    balance: str


class _Transfer(_Answer, frozen=True, kw_only=True):
    transfer_id: UUID
    state: str


class _NewAccount(_Answer, frozen=True, kw_only=True):
    account_id: UUID
    number: str


class _NewCustomer(_Answer, frozen=True, kw_only=True):
    customer_id: UUID


class _ChangedCustomer(_Answer, frozen=True, kw_only=True):
    stream_id: UUID


class _Standing(_Answer, frozen=True, kw_only=True):
    state: str


class _Kind(NamedTuple):
    """What an answer of some shape is about."""

    shape: type[_Answer]
    stream_type: str
    events: tuple[type[Any], ...]  # one of which it tells of


_KINDS: Final[Mapping[str, _Kind]] = MappingProxyType(
    {
        "entry_id": _Kind(_Entry, "account", (CashDeposited, CashWithdrawn, CashEntryReversed)),
        "transfer_id": _Kind(_Transfer, "transfer", TransferEvent.__args__),
        "account_id": _Kind(_NewAccount, "account", (AccountOpened,)),
        "customer_id": _Kind(_NewCustomer, "customer", (CustomerRegistered,)),
        "stream_id": _Kind(_ChangedCustomer, "customer", (CustomerRenamed, CustomerContactChanged)),
        "state": _Kind(_Standing, "account", (AccountFrozen, AccountUnfrozen, AccountClosed)),
    }
)
"""By the first of these fields that an answer has. One with none of them is a later version's, or nobody's."""


class _Record(NamedTuple):
    """A record whose answer can be read."""

    name: str
    principal: str
    answer: Any
    names: str  # the field by which it is known
    created_at: datetime

    @property
    def kind(self) -> _Kind:
        return _KINDS[self.names]

    @property
    def id(self) -> UUID | None:
        """What it names; None for a standing, which names nothing."""
        return getattr(self.answer, self.names, None) if self.names != "state" else None


class _Known(NamedTuple):
    """What the store knows of a page's records."""

    by_id: Mapping[UUID, RecordedEvent[Any] | None]  # None: this program cannot read it
    by_version: Mapping[tuple[UUID, int], RecordedEvent[Any] | None]
    currencies: Mapping[UUID, str]  # of accounts
    done: Mapping[tuple[str, str, int], Sequence[datetime]]  # actor, type, version

    def event_of(self, record: _Record) -> RecordedEvent[Any] | None:
        """The event that the answer names. Raises LookupError when it is not there."""
        if record.names == "entry_id":
            return self.by_id[record.answer.entry_id]
        return self.by_version[getattr(record.answer, record.names), record.answer.version]


class AnswersCheck(StoreCheck):
    """Looks up what each kept answer tells of."""

    name = "answers"
    unit = "answered requests"
    proves = (
        "What requests were answered with, and will be when they are repeated, is what whoever asked has caused, and no"
        " two answers tell of the same."
    )

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs, up to the last record that is there now: a busy bank makes more all the time."""
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_LAST)
            (end,) = cursor.fetchone()
        with ExternalSort() as told:
            last: int | None = 0
            while last is not None:
                found, last = self._check_page(scope, last, end, told)
                yield from found
            yield from _told_twice(told.sorted())

    def _check_page(
        self, scope: Scope, after: int, end: int, told: ExternalSort
    ) -> tuple[list[Difference], int | None]:
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_RECORDS, [after, end, _PAGE])
            rows = cursor.fetchall()
            records: list[_Record] = []
            found: list[Difference] = []
            for _, principal, key, answer, created_at in rows:
                found += self._read(records, principal, f"{principal} {key}", answer, created_at)
            known = _look_up(cursor, scope, records)
        self.examined += len(rows)
        self.counts["references"] += sum(record.id is not None for record in records)
        for record in records:
            found += _differences(record, known, told)
        return found, rows[-1][0] if len(rows) == _PAGE else None

    def _read(
        self, records: list[_Record], principal: str, name: str, answer: str, created_at: datetime
    ) -> Iterator[Difference]:
        """Adds the record, unless its answer cannot be judged."""
        try:
            said = msgspec.json.decode(answer, type=dict[str, Any])
            names = next((field for field in _KINDS if field in said), None)
            if names is not None:
                shape = msgspec.convert(said, type=_KINDS[names].shape)
                records.append(_Record(name, principal, shape, names, created_at))
            elif said:
                self.leave_out(f"the answer to {name} is of a kind that this program does not know")
            else:
                yield _ill_formed(name)
        except msgspec.MsgspecError:
            yield _ill_formed(name)


def _look_up(cursor: Any, scope: Scope, records: Sequence[_Record]) -> _Known:
    entries = [record.id for record in records if record.names == "entry_id"]
    others = [record for record in records if record.names not in ("entry_id", "state")]
    versions = [record.answer.version for record in others]
    in_range = [0 < version < 2**31 for version in versions]  # what the column holds
    cursor.execute(
        _SELECT_EVENTS,
        [
            entries,
            [record.id for record, fits in zip(others, in_range, strict=True) if fits],
            [version for version, fits in zip(versions, in_range, strict=True) if fits],
        ],
    )
    rows = [EventRow(*row) for row in cursor.fetchall()]
    found = list(zip(rows, _decoded(rows, scope), strict=True))
    by_id = {row.event_id: event for row, event in found}
    accounts = {event.stream_id for event in (by_id.get(id) for id in entries if id) if event is not None}
    cursor.execute(_SELECT_FIRST, [list(accounts)])
    first = _decoded([EventRow(*row) for row in cursor.fetchall()], scope)
    return _Known(
        by_id=by_id,
        by_version={(row.stream_id, row.version): event for row, event in found},
        currencies={
            event.stream_id: event.data.currency
            for event in first
            if event is not None and isinstance(event.data, AccountOpened)
        },
        done=_done(cursor, scope, [record for record in records if record.names == "state"]),
    )


def _decoded(rows: Sequence[EventRow], scope: Scope) -> list[RecordedEvent[Any] | None]:
    return [recorded for recorded, _ in decode_each(rows, registry=scope.registry, using=scope.using)]


def _done(cursor: Any, scope: Scope, standings: Sequence[_Record]) -> dict[tuple[str, str, int], list[datetime]]:
    """What was done to accounts by those who were answered with an account's state, around that time."""
    found: dict[tuple[str, str, int], list[datetime]] = {}
    times = [record.created_at for record in standings if is_moment(record.created_at)]
    if not times:
        return found
    names = [scope.registry.type_of(cls).name for cls in _KINDS["state"].events]
    actors = sorted({record.principal for record in standings})
    versions = sorted({record.answer.version for record in standings if 0 < record.answer.version < 2**31})
    cursor.execute(_SELECT_DONE, [names, actors, versions, min(times) - APART, max(times) + APART])
    for actor, event_type, version, recorded_at in cursor.fetchall():
        found.setdefault((actor, event_type, version), []).append(recorded_at)
    return found


def _differences(record: _Record, known: _Known, told: ExternalSort) -> Iterator[Difference]:
    if record.names == "state":
        yield from _standing_differences(record, known)
        return
    try:
        event = known.event_of(record)
    except LookupError:
        yield _absent(record)
        return
    if event is None:  # another check says why it cannot be read
        return
    told.add(event.event_id.bytes + record.name.encode())
    if event.stream_type != record.kind.stream_type:
        yield _absent(record)
    elif not isinstance(event.data, record.kind.events):
        yield _about(record, event, "event", " or ".join(map(_name, record.kind.events)), event.name)
    else:
        yield from _contradictions(record, event, known)


def _contradictions(record: _Record, event: RecordedEvent[Any], known: _Known) -> Iterator[Difference]:
    said_of = _SAID.get(record.names)
    expected = {"version": event.version, **({} if said_of is None else said_of(event, known))}
    for field, value in expected.items():
        if getattr(record.answer, field) != value:
            yield _about(record, event, field, value, getattr(record.answer, field))
    if event.metadata.actor != record.principal:
        yield _about(record, event, "principal", event.metadata.actor, record.principal)
    if abs(record.created_at - event.recorded_at) > APART:
        yield _about(record, event, "time", f"within {APART} of {shown(event.recorded_at)}", record.created_at)


def _standing_differences(record: _Record, known: _Known) -> Iterator[Difference]:
    """An account's state names no account: somebody must have brought one into it, then, and to that version."""
    states = [cls for cls in record.kind.events if ACCOUNT_STATUS_AFTER[cls].value == record.answer.state]
    times = [
        time for cls in states for time in known.done.get((record.principal, _name(cls), record.answer.version), ())
    ]
    if not any(abs(time - record.created_at) <= APART for time in times):
        expected = f"an account that {record.principal} brought there, within {APART} of {shown(record.created_at)}"
        actual = f"{record.answer.state} in version {record.answer.version}"
        yield Difference(field=f"state in the answer to {record.name}", expected=expected, actual=shown(actual))


def _balance_of(event: RecordedEvent[Any], known: _Known) -> dict[str, Any]:
    try:
        return {"balance": format_amount(event.data.balance, known.currencies.get(event.stream_id, ""))}
    except UnknownCurrency:
        return {"balance": f"{event.data.balance} in minor units of a currency that is not known"}


_SAID: Final[Mapping[str, Callable[[RecordedEvent[Any], _Known], dict[str, Any]]]] = MappingProxyType(
    {
        "entry_id": _balance_of,
        "transfer_id": lambda event, _: {"state": TRANSFER_STATUS_AFTER[type(event.data)].value},
        "account_id": lambda event, _: {"number": event.data.number},
    }
)
"""What an answer repeats of its event."""


def _told_twice(records: Iterable[bytes]) -> Iterator[Difference]:
    before = b""
    for record in records:
        if before and record[:16] == before[:16]:
            yield Difference(
                field=f"event of the answer to {record[16:].decode()}",
                expected="one that no other answer tells of",
                actual=shown(f"{UUID(bytes=record[:16])}, as the answer to {before[16:].decode()}"),
            )
        before = record


def _absent(record: _Record) -> Difference:
    is_event = record.names == "entry_id"
    return Difference(
        stream="" if is_event else f"{record.kind.stream_type}/{record.id}",
        version=None if is_event else record.answer.version,
        field=f"{record.names} {record.id} in the answer to {record.name}",
        expected=PRESENT,
        actual=MISSING,
    )


def _about(record: _Record, event: RecordedEvent[Any], field: str, expected: object, actual: object) -> Difference:
    return Difference(
        stream=f"{event.stream_type}/{event.stream_id}",
        version=event.version,
        field=f"{field} of the answer to {record.name}",
        expected=shown(expected),
        actual=shown(actual),
    )


def _ill_formed(record: str) -> Difference:
    return Difference(field=f"answer to {record}", expected=shown("what a service answers"), actual="something else")


def _name(cls: type[Any]) -> str:
    return events.type_of(cls).name
