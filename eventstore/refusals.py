"""What a domain raises. Pure: any domain may import this module.

- `Refusal`: the command is not allowed now, or not at all; nothing is written. It says so in a sentence for its user.
- `EventCannotFollow`: history itself is impossible, which no user can mend.

The domain knows no HTTP. The edge turns a refusal's `code` into a status, in one place.
"""

from __future__ import annotations

from inspect import getdoc
from typing import ClassVar

from eventstore.events import Event


class Refusal(Exception):
    """The request was refused."""

    code: ClassVar[str] = "refused"  # stable: client programs branch on it

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.sentence())

    @classmethod
    def sentence(cls) -> str:
        """The first line of the docstring: what a user reads when nothing more exact is known."""
        return (getdoc(cls) or cls.__name__).partition("\n")[0]


class InvalidValue(Refusal):
    """The value is not valid.

    A refusal for what a command says rather than for the state it meets: no state would take it. `field` names the
    request's field, "" when the raiser does not know it.
    """

    code = "invalid"

    def __init__(self, detail: str = "", *, field: str = "") -> None:
        super().__init__(detail)
        self.field = field


class EventCannotFollow(Exception):
    """An event stands in a stream where it cannot: the history or the program is wrong."""

    def __init__(self, *, state: object, event: Event) -> None:
        # Names only: fields may be personal, and this text reaches logs and operators.
        super().__init__(f"{type(event).__name__} cannot follow {type(state).__name__}")
        self.state = state
        self.event = event
