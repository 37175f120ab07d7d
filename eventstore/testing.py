"""Stories for testing an aggregate without a database: given events, when a command, then events.

given = story(ACCOUNT).given
given(AccountOpened(...)).when(DebitAccount(...)).then(AccountDebited(...))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from eventstore.aggregates import Aggregate
from eventstore.events import Event

S = TypeVar("S")


class Outcome(Generic[S]):
    """What came of a command: events, or a refusal."""

    def __init__(self, aggregate: Aggregate[S], state: S, command: Any) -> None:
        self._aggregate = aggregate
        self._before = state
        self.refusal: Exception | None = None
        self.events: Sequence[Event] = ()
        try:
            self.events = tuple(aggregate.decide(state, command))
        except Exception as refusal:  # noqa: BLE001 - a refusal may be of any class
            self.refusal = refusal

    def then(self, *expected: Event) -> Outcome[S]:
        """The command led to exactly these events, and the state can take them."""
        if self.refusal is not None:
            raise AssertionError(f"refused: {self.refusal!r}") from self.refusal
        if tuple(expected) != tuple(self.events):
            raise AssertionError(f"expected {expected!r}\nbut got  {tuple(self.events)!r}")
        self._aggregate.fold(self.events, self._before)
        return self

    def then_raises(self, error: type[Exception], *, match: str = "") -> Outcome[S]:
        """The command was refused with this error, whose text holds `match`."""
        if self.refusal is None:
            raise AssertionError(f"expected {error.__name__}, got {self.events!r}")
        if not isinstance(self.refusal, error) or match not in str(self.refusal):
            raise AssertionError(f"expected {error.__name__} with {match!r}") from self.refusal
        return self

    def then_state(self, expected: S) -> Outcome[S]:
        """After the events, the aggregate is in this state."""
        if self.refusal is not None:
            raise AssertionError(f"refused: {self.refusal!r}") from self.refusal
        actual = self._aggregate.fold(self.events, self._before)
        if actual != expected:
            raise AssertionError(f"expected {expected!r}\nbut got  {actual!r}")
        return self


class Given(Generic[S]):
    """A stream's past."""

    def __init__(self, aggregate: Aggregate[S], events: Sequence[Event]) -> None:
        self._aggregate = aggregate
        self.state = aggregate.fold(events)

    def when(self, command: Any) -> Outcome[S]:
        """Decides the command on that past."""
        return Outcome(self._aggregate, self.state, command)


class Story(Generic[S]):
    """Binds the given/when/then words to one aggregate."""

    def __init__(self, aggregate: Aggregate[S]) -> None:
        self._aggregate = aggregate

    def given(self, *events: Event) -> Given[S]:
        """The stream so far; nothing for a new one."""
        return Given(self._aggregate, events)


def story(aggregate: Aggregate[S]) -> Story[S]:
    """Starts stories about `aggregate`."""
    return Story(aggregate)
