"""Checks what operators recorded against what came of it: each discard ended a story, and each such end was recorded.

What a discard records has the id that the reactor's own answer would have had, and the operator as its actor; so it is
recognised whatever the event says. The record commits with it. Whatever else has such an id must be the reactor's own,
in the stream that its answer was for: elsewhere it would keep the reactor from answering, and be nobody's word. The ids
are those that follow from the events that are answered; what an event says of its cause is not relied upon.

Of the other operations the last pause is compared by the check of the checkpoints; a retry leaves nothing that it could
be told by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from eventstore.events import RecordedEvent
from eventstore.ids import derive_id
from eventstore.rows import EventRow
from eventstore.subscriptions.handling import key_of
from eventstore.subscriptions.registry import Reactor
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, is_moment, shown
from eventstore.verification.reading import one_moment
from eventstore.verification.sorting import ExternalSort
from eventstore.verification.walking import Chunk, Found, Segment, StreamCheck, decode_each

_PAGE: Final = 1_000
_DERIVED: Final = 8  # the version of ids that derive from a cause

# A page of operations, each with the event at the position that it names. What is no position is none, and the column
# stays what its index can be searched by.
_SELECT_OPERATIONS = """
SELECT o.id, o.at, o.actor, o.action, o.subscription, o.detail ->> 'key', o.detail ->> 'position',
    l.position, e.event_id, e.stream_type, e.stream_id, e.version, e.event_type, e.schema_version, e.data, e.metadata,
    e.recorded_at
FROM (SELECT * FROM eventstore_operation WHERE id > %s ORDER BY id LIMIT %s) AS o
LEFT JOIN eventstore_log l ON l.position = CASE
    WHEN o.action = 'discard' AND o.detail ->> 'position' ~ '^[0-9]{1,18}$' THEN (o.detail ->> 'position')::bigint
END
LEFT JOIN eventstore_event e ON e.id = l.event_id
ORDER BY o.id
"""

# Who caused these events.
_SELECT_ACTORS = "SELECT event_id, metadata ->> 'actor' FROM eventstore_event WHERE event_id = ANY(%s)"


class _Step(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """An event that a reactor answers."""

    reactor: str
    stream_id: UUID | None  # that the answer is for; None: the reactor does not say


class _Answer(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """An event whose id derives from a cause."""

    stream: str
    stream_id: UUID
    version: int
    actor: str


class _Discarded(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag=True):
    """A discard that was recorded."""

    operation: int


class _Operation(NamedTuple):
    id: int
    at: Any
    actor: str
    action: str
    subscription: str
    key: str | None
    position: str | None
    row: EventRow | None  # of the event that was given up; None: there is no such event

    @property
    def name(self) -> str:
        return f"operation {self.id} ({self.action})"

    @property
    def effect_id(self) -> UUID | None:
        """The id of what the discard has recorded."""
        return None if self.row is None else derive_id(self.row.event_id, f"{self.subscription}/0", 0)


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Step | _Answer | _Discarded)


class OperationsCheck(StreamCheck):
    """Brings together what is answered, what answers it, and what was recorded of that."""

    name = "operations"
    unit = "operations"
    proves = (
        "Each discard that is recorded has ended a story as its operator, and each such end was recorded, once; nothing"
        " else stands in for a saga's answer."
    )

    def __init__(self) -> None:
        super().__init__()
        self._sort = ExternalSort()
        self._reactors: dict[str, Reactor] = {}

    def begin(self, scope: Scope) -> Iterator[Difference]:
        """Remembers who may have been discarded from."""
        self._reactors = {found.id: found for found in scope.subscriptions.all() if isinstance(found, Reactor)}
        return iter(())

    def compare(self, chunk: Chunk, found: Found) -> Iterator[Difference]:
        """Collects; the records are looked at when all streams were seen."""
        for segment in chunk.segments:
            for event in segment.events:
                if event.recorded is not None:
                    self._collect(segment, event.recorded)
        return iter(())

    def finish(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs. The records are read last: each that belongs to what was seen is there by now."""
        with self._sort:
            last: int | None = 0
            while last is not None:
                found, last = self._check_page(scope, last)
                yield from found
            for effect, group in groupby(self._sort.sorted(), key=lambda record: record[:16]):
                yield from _match(UUID(bytes=effect), [_decoder.decode(record[16:]) for record in group])

    def _collect(self, segment: Segment, recorded: RecordedEvent[Any]) -> None:
        if recorded.event_id.version == _DERIVED:
            answer = _Answer(
                stream=segment.name,
                stream_id=segment.stream_id,
                version=recorded.version,
                actor=recorded.metadata.actor,
            )
            self._add(recorded.event_id, answer)
        for reactor in self._reactors.values():
            if type(recorded.data) in reactor.handlers:
                route = reactor.routes.get(type(recorded.data))
                step = _Step(reactor=reactor.id, stream_id=None if route is None else route(recorded.data))
                self._add(derive_id(recorded.event_id, f"{reactor.id}/0", 0), step)

    def _add(self, effect_id: UUID, record: _Step | _Answer | _Discarded) -> None:
        self._sort.add(effect_id.bytes + _encoder.encode(record))

    def _check_page(self, scope: Scope, after: int) -> tuple[list[Difference], int | None]:
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_OPERATIONS, [after, _PAGE])
            operations = [_operation(row) for row in cursor.fetchall()]
            cursor.execute(_SELECT_ACTORS, [[found.effect_id for found in operations if found.effect_id]])
            actors = dict(cursor.fetchall())
            rows = [found.row for found in operations if found.row is not None]
            decoded = decode_each(rows, registry=scope.registry, using=scope.using)
        recorded = {row.event_id: event for row, (event, _) in zip(rows, decoded, strict=True)}
        self.examined += len(operations)
        found: list[Difference] = []
        for operation in operations:
            if not is_moment(operation.at):
                found.append(_difference(operation, "time", "a moment", operation.at))
            if operation.action == "discard":
                found += self._discard_differences(operation, actors, recorded)
        return found, operations[-1].id if len(operations) == _PAGE else None

    def _discard_differences(
        self, operation: _Operation, actors: dict[UUID, str], recorded: dict[UUID, Any]
    ) -> Iterator[Difference]:
        self.counts["discards"] += 1
        reactor = self._reactors.get(operation.subscription)
        if reactor is None:
            self.leave_out(
                f"{operation.name}: this program has no subscription {operation.subscription} to discard from"
            )
            return
        effect_id = operation.effect_id
        if operation.row is None or effect_id is None:
            yield _difference(operation, f"event at position {operation.position}", PRESENT, MISSING)
            return
        if effect_id not in actors:
            yield _difference(operation, f"end of the story at position {operation.position}", PRESENT, MISSING)
            return
        self._add(effect_id, _Discarded(operation=operation.id))
        if actors[effect_id] != operation.actor:
            yield _difference(operation, "actor", actors[effect_id], operation.actor)
        event = recorded[operation.row.event_id]
        keys = [str(operation.row.stream_id)]  # its stream where it could not be read then
        if event is not None and type(event.data) in reactor.handlers:
            keys.insert(0, str(key_of(reactor, event)))
        if operation.key not in keys:
            yield _difference(operation, "key", keys[0], operation.key)


def _operation(row: Sequence[Any]) -> _Operation:
    id, at, actor, action, subscription, key, position, *event = row
    found = None if event[1] is None else EventRow(*event)
    return _Operation(id, at, actor, action, subscription, key, position, found)


def _match(effect_id: UUID, found: Sequence[_Step | _Answer | _Discarded]) -> Iterator[Difference]:
    records = sorted(one.operation for one in found if isinstance(one, _Discarded))
    steps = [one for one in found if isinstance(one, _Step)]
    for answer in (one for one in found if isinstance(one, _Answer)):
        for step in steps:  # none: it was not there yet when its stream was read, or cannot be read
            yield from _answer_differences(step, answer, records)
    if len(records) > 1:
        yield Difference(
            field="operations with which one step was discarded",
            expected="one",
            actual=f"{', '.join(map(str, records))}, for event {effect_id}",
        )


def _answer_differences(step: _Step, answer: _Answer, records: Sequence[int]) -> Iterator[Difference]:
    if answer.actor != f"system:{step.reactor}":
        if not records:
            yield Difference(
                stream=answer.stream,
                version=answer.version,
                field="operation that this end of a story was recorded with",
                expected=f"a discard by {answer.actor}",
                actual=MISSING,
            )
    elif step.stream_id not in (None, answer.stream_id):
        yield Difference(
            stream=answer.stream,
            version=answer.version,
            field=f"stream of an answer of {step.reactor}",
            expected=str(step.stream_id),
            actual=str(answer.stream_id),
        )


def _difference(operation: _Operation, field: str, expected: object, actual: object) -> Difference:
    return Difference(field=f"{field} of {operation.name}", expected=shown(expected), actual=shown(actual))
