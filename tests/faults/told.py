"""The model: every request that a client made, every answer that it got, what must be in the store because of it.

Invariant: what a client was told is never changed afterwards. A request is acknowledged (2xx), refused (any other
answer that decides: nothing happened), or unknown: no answer, a cut connection, an error of the server. Unknown ones
become known by repeating them under the same key. A refusal is kept with what the account had seen before it was asked
for and after, so that the audit can tell whether there was ground for it. Imported by clients, the audit and the soak.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

# What says nothing about whether the request was done: ask again.
UNDECIDED: Final = frozenset({"idempotency_in_progress", "busy", "conflict", "unavailable"})

# Why a request may be refused, by what it asks for. Clients make up nothing that is not valid, is not theirs to ask,
# or names what does not exist; so any other refusal is wrong, whatever the state of the account.
REFUSALS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "transfer": frozenset(),  # balance and standing are judged later, by the account
        "deposit": frozenset({"account_frozen", "account_closed"}),
        # From a closed account a supervisor pays out what is left, whole: anything else is `invalid_state`.
        "withdrawal": frozenset({"insufficient_funds", "account_frozen", "account_closed", "invalid_state"}),
        "reversal": frozenset({"insufficient_funds", "account_frozen", "account_closed"}),  # each is asked for once
        "freeze": frozenset({"account_frozen"}),
        "unfreeze": frozenset({"invalid_state"}),
        "close": frozenset({"account_not_empty"}),
        "open": frozenset(),
        "customer": frozenset(),
    }
)
DECIMALS: Final = {"EUR": 2, "JPY": 0, "KWD": 3}


def amount_text(minor: int, currency: str) -> str:
    """The amount as the API has it."""
    decimals = DECIMALS[currency]
    return f"{minor // 10**decimals}.{minor % 10**decimals:0{decimals}d}" if decimals else str(minor)


def minor_units(text: str) -> int:
    """An amount of the API, signed or not, in minor units."""
    return int(text.replace(".", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a client wants done, once."""

    what: str  # transfer, deposit, withdrawal, reversal, freeze, unfreeze, close, open, customer
    path: str
    body: dict[str, Any]
    account_id: str = ""  # whose money or standing it is about; of a transfer the payer's
    minor: int = 0  # what it adds to that account, if it is cash
    wait_seconds: int | None = None  # Prefer: wait
    key: str = field(default_factory=lambda: str(uuid4()))

    def headers(self) -> dict[str, str]:
        """What it is sent with."""
        prefer = {} if self.wait_seconds is None else {"Prefer": f"wait={self.wait_seconds}"}
        return {"Idempotency-Key": self.key, **prefer}


@dataclass(kw_only=True, slots=True)
class Told:
    """One request, and what came of its tries so far."""

    request: Request
    status: int = 0  # of the answer that decided; 0: unknown
    body: dict[str, Any] = field(default_factory=dict)
    undecided: list[str] = field(default_factory=list)  # what the tries without a decision came to
    slowest_seconds: float = 0.0  # of a single try
    late: bool = False  # its client gave up, and asked again only at the end
    known_before_late: bool | None = None  # whether the late repeat found it done
    version_before: int = 0  # of the account, which it had at least when it was asked
    version_after: int | None = None  # of the account, which it had at most when it was refused; None: not known yet

    @property
    def is_acknowledged(self) -> bool:
        """Whether the client knows that it was done."""
        return 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """Whether the client knows that it was not."""
        return bool(self.status) and not self.is_acknowledged

    @property
    def code(self) -> str:
        """Why it was refused."""
        return str(self.body.get("code", ""))

    @property
    def outcome(self) -> str:
        """In a word or two, for the counts."""
        if not self.status:
            return "unknown"
        word = "acknowledged" if self.is_acknowledged else "refused"
        if self.late:
            return f"{word} when asked again at the end"
        return f"{word} when asked again" if self.undecided else word


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How an account stands after one of its events."""

    balance: int
    status: str  # open, frozen, closed

    def forbids(self, request: Request, code: str) -> bool:
        """Whether this is ground to refuse the request with that code."""
        match code:
            case "account_frozen" | "account_closed":
                return self.status == code.removeprefix("account_")
            case "insufficient_funds":
                return self.status == "open" and self.balance + request.minor < 0
            case "account_not_empty":
                return self.status == "open" and self.balance > 0
            case "invalid_state" if request.what == "unfreeze":
                return self.status == "open"
            case "invalid_state" if request.what == "withdrawal":
                return self.status == "closed" and self.balance + request.minor != 0
            case _:
                return False


class Model:
    """All that clients were told, by kind of request; safe to add to from many threads."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._lock = threading.Lock()
        self.reasons: Counter[str] = Counter()  # why a try decided nothing
        self.decided = 0
        self.decided_at = time.monotonic()

    def add(self, told: Told) -> None:
        """A client has its answer, or has given up."""
        with self._lock:
            self.told.append(told)
            self.reasons.update(told.undecided)
            if told.status:
                self.decided += 1
                self.decided_at = time.monotonic()

    def all(self) -> list[Told]:
        """What clients were told so far."""
        with self._lock:
            return list(self.told)

    def unknown(self) -> list[Told]:
        """Whose outcome nobody knows."""
        return [told for told in self.all() if not told.status]

    def acknowledged(self, *whats: str) -> list[Told]:
        """Those that were done, of these kinds."""
        return [told for told in self.all() if told.is_acknowledged and told.request.what in whats]

    def refused(self) -> list[Told]:
        """Those that were not, for a reason that was told."""
        return [told for told in self.all() if told.is_refused]

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests by what they asked for, and by outcome."""
        found: dict[str, Counter[str]] = {}
        for told in self.all():
            found.setdefault(told.request.what, Counter())[told.outcome] += 1
        return {what: dict(sorted(counter.items())) for what, counter in sorted(found.items())}
