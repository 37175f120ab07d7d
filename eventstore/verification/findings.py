"""What a check is, and what it finds. Checks of the store and of the applications above it import this module.

Invariants: a check reads and never writes; it keeps no more than a bounded number of rows in memory; it compares only
what was read in one snapshot, or what can never change.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError

from eventstore.aggregates import Aggregate
from eventstore.registry import EventRegistry
from eventstore.subscriptions.registry import SubscriptionRegistry

MISSING: Final = "missing"
PRESENT: Final = "present"
EVER_AFTER: Final = datetime.max.replace(tzinfo=UTC)
EVER_BEFORE: Final = datetime.min.replace(tzinfo=UTC)
"""What the database's infinity, and every time that Python cannot tell, is read as. No moment is as late or early."""
_SHOWN_LENGTH: Final = 200
_REMARKS: Final = 20
_NOBODYS_FAULT: Final = (OperationalError, InterfaceError, ImproperlyConfigured)
"""No check can go on: the database is away, or the settings are wrong."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not what the events, or the rules of the store, say it should be."""

    field: str
    expected: str
    actual: str
    stream: str = ""  # "account/01993f…"; empty when it is about no stream
    version: int | None = None
    position: int | None = None


class Progress(Protocol):
    """Is told how far the work has come."""

    def __call__(self, phase: str, *, done: int, total: int) -> None:
        """`done` of about `total` in this phase."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked, and up to where; fixed at the start, whatever is written meanwhile."""

    using: str
    registry: EventRegistry
    subscriptions: SubscriptionRegistry
    aggregates: Mapping[str, Aggregate[Any]]  # by stream type
    log_id: UUID | None  # None: the log has no head
    position: int  # the log's last position at the start
    progress: Progress


class Check:
    """One thing that can be recomputed."""

    name: str
    proves: str  # a sentence: what holds when it finds no difference
    unit: str  # what it examines one of at a time, in the plural

    def __init__(self) -> None:
        self.examined = 0
        self.counts: Counter[str] = Counter()  # what else was seen, in words; sums of money in minor units
        self.remarks: list[str] = []
        self.not_compared: list[str] = []
        self.broken_off = False

    def leave_out(self, what: str) -> None:
        """Says what could not be compared though nothing may be wrong: the ledger is then not known to be right."""
        if what not in self.not_compared and len(self.not_compared) < _REMARKS:
            self.not_compared.append(what)

    def break_off(self, error: Exception) -> None:
        """Says that the check could not be completed, and why. Raises the error when no other could be either."""
        if isinstance(error, _NOBODYS_FAULT):
            raise error
        self.broken_off = True
        self.not_compared.insert(0, f"what was left when this check could not go on: {_error_in_words(error)}")

    def remark(self, kind: str, text: str) -> None:
        """Counts something that is not a difference but worth a look, and keeps the first few in words."""
        self.counts[kind] += 1
        if len(self.remarks) < _REMARKS:
            self.remarks.append(f"{kind}: {text}")


class StoreCheck(Check):
    """A check that reads what it needs by itself."""

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        raise NotImplementedError


def as_far_as_it_goes(check: Check, differences: Callable[[], Iterable[Difference]]) -> Iterator[Difference]:
    """What a step of a check finds. One that raises breaks the check off, and none of the others."""
    try:
        yield from differences()
    except Exception as error:  # noqa: BLE001 - whatever it is, the others must be told
        check.break_off(error)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check came to."""

    name: str
    proves: str
    examined: int
    unit: str
    differences: int
    named: Sequence[Difference]  # the first of them
    counts: Mapping[str, int]
    remarks: Sequence[str]
    not_compared: Sequence[str]  # what this program cannot judge, and why


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What all checks came to."""

    log_id: UUID | None
    position: int  # everything up to here was checked
    seconds: float
    findings: Sequence[Finding]

    @property
    def clean(self) -> bool:
        """Whether nothing differs."""
        return not any(finding.differences for finding in self.findings)

    @property
    def complete(self) -> bool:
        """Whether everything was compared that there is to compare."""
        return not any(finding.not_compared for finding in self.findings)


class Collector:
    """Keeps the first differences of each check and counts the rest."""

    def __init__(self, checks: Sequence[Check], *, limit: int) -> None:
        self._named: dict[Check, list[Difference]] = {check: [] for check in checks}
        self._differences: Counter[Check] = Counter()
        self._limit = limit

    def add(self, check: Check, difference: Difference) -> None:
        """Takes one difference of a check."""
        self._differences[check] += 1
        if len(self._named[check]) < self._limit:
            self._named[check].append(difference)

    def findings(self) -> list[Finding]:
        """What each check came to, in the order they were given."""
        return [
            Finding(
                name=check.name,
                proves=check.proves,
                examined=check.examined,
                unit=check.unit,
                differences=self._differences[check],
                named=tuple(named),
                counts=dict(sorted(check.counts.items())),
                remarks=tuple(check.remarks),
                not_compared=tuple(check.not_compared),
            )
            for check, named in self._named.items()
        ]


def is_moment(time: datetime) -> bool:
    """Whether something can have happened then."""
    return EVER_BEFORE < time < EVER_AFTER


def moment_differences(
    times: Mapping[str, datetime | None], *, stream: str = "", version: int | None = None, position: int | None = None
) -> Iterator[Difference]:
    """The times at which nothing can have happened, by the name of their field."""
    for field, time in times.items():
        if time is not None and not is_moment(time):
            yield Difference(
                stream=stream,
                version=version,
                position=position,
                field=field,
                expected="a moment",
                actual=shown(time),
            )


def shown(value: object) -> str:
    """A value as a difference shows it, shortened."""
    match value:
        case None:
            return "null"
        case datetime() if value == EVER_AFTER:
            return "infinity"
        case datetime() if value == EVER_BEFORE:
            return "-infinity"
        case datetime():
            text = value.isoformat(timespec="microseconds")
        case dict() | list():
            text = msgspec.json.encode(value, order="deterministic").decode()
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}…"


def difference_in_words(difference: Difference) -> str:
    """A difference in a line, for people."""
    places = [
        difference.stream,
        "" if difference.version is None else f"version {difference.version}",
        "" if difference.position is None else f"position {difference.position}",
    ]
    place = ", ".join(filter(None, places))
    what = f"{difference.field}: expected {difference.expected}, found {difference.actual}"
    return f"{place}: {what}" if place else what


def _error_in_words(error: Exception) -> str:
    """An error in one line, with the place in the program where it was raised."""
    text = f"{type(error).__name__}: {shown(error).strip().partition(chr(10))[0]}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({PurePath(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text


def silent(phase: str, *, done: int, total: int) -> None:
    """A `Progress` that nobody watches."""
