"""Reads the log as it grows, past the program under test, and holds every event against those before it.

An independent reader of the log, as a feed's client is one: by position, across every fault. It keeps the balance of
each account and the state of each transfer in its own arithmetic, so that it knows at any time which transfers are not
final. Invariant: it never goes on after something that cannot be. Imported by the product under test and the audit.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg

from config.processes import wait_until
from tests.faults.told import Standing

ENDS: Final = {
    "CreditRecorded": "COMPLETED",
    "FailedDebitRecorded": "FAILED_DUE_TO_INSUFFICIENT_FUNDS",
    "DebitRejectionRecorded": "REJECTED",
    "RefundRecorded": "REFUNDED",
}
_SIGNS: Final = {
    "CashDeposited": 1,
    "CashWithdrawn": -1,
    "AccountDebited": -1,
    "AccountCredited": 1,
    "AccountDebitRefunded": 1,
    "AccountDebitFailedDueToInsufficientFunds": 0,
}
_REVERSED_SIGNS: Final = {"deposit": -1, "withdrawal": 1}
_REJECTIONS: Final = frozenset({"AccountDebitRejected", "AccountCreditRejected"})
_STATUSES: Final = {
    "AccountOpened": "open",
    "AccountFrozen": "frozen",
    "AccountUnfrozen": "open",
    "AccountClosed": "closed",
}
POLL_SECONDS: Final = 0.05
BATCH: Final = 5_000

# What the log has got since.
_READ = """
SELECT l.position, e.stream_type, e.stream_id::text, e.version, e.event_type, e.data
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE l.position > %s ORDER BY l.position LIMIT %s
"""


class Contradiction(AssertionError):
    """The log says what cannot be."""


class Tail:
    """A thread that reads the log."""

    def __init__(self, *, database_url: str) -> None:
        self.position = 0
        self.balances: dict[str, int] = {}
        self.currencies: dict[str, str] = {}
        self.states: dict[str, str] = {}  # of the transfers that are final
        self.open: dict[str, float] = {}  # transfers that are not final, and when they were first seen
        self.recorded: Counter[str] = Counter()  # events by type
        self.error: BaseException | None = None
        self._versions: dict[str, int] = {}
        self._balances: dict[str, array[int]] = {}  # of each account after each of its versions
        self._statuses: dict[str, list[str]] = {}
        self._url = database_url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="tail")

    def start(self) -> None:
        """Begins at the beginning of the log."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._over.set()
        self._thread.join(10.0)

    def check(self) -> None:
        """Raises what the tail ran into."""
        if self.error is not None:
            raise self.error

    def unfinished(self) -> set[str]:
        """The transfers that are not final."""
        return set(self.open.copy())

    def version_of(self, stream_id: str) -> int:
        """How far the stream's events have come here."""
        return self._versions.get(stream_id, 0)

    def standings(self, account_id: str, first: int, last: int) -> Iterator[Standing]:
        """How the account stood after each of these versions, both included."""
        balances, statuses = self._balances[account_id], self._statuses[account_id]
        for version in range(max(first, 1), min(last, len(balances)) + 1):
            yield Standing(balance=balances[version - 1], status=statuses[version - 1])

    def wait_until_final(self, ids: set[str], *, seconds: float) -> bool:
        """Waits until these transfers are final."""
        left = set(ids)

        def all_final() -> bool:
            self.check()
            left.difference_update([id for id in left if id in self.states])
            return not left

        return wait_until(all_final, timeout_seconds=seconds)

    def _work(self) -> None:
        while not self._over.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
                    while not self._over.is_set():
                        if not self._read(connection):
                            self._over.wait(POLL_SECONDS)
            except psycopg.OperationalError:  # it is not there just now, which is a fault of ours
                self._over.wait(POLL_SECONDS)
            except BaseException as error:  # noqa: BLE001 - the thread that waits must hear of it
                self.error = error
                return

    def _read(self, connection: psycopg.Connection) -> bool:
        rows = connection.execute(_READ.encode(), [self.position, BATCH]).fetchall()
        self.fold(rows)
        return bool(rows)

    def fold(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Takes the next entries of the log in. Raises Contradiction."""
        for position, stream_type, stream_id, version, event_type, data in rows:
            if position != self.position + 1:
                raise Contradiction(f"position {position} follows {self.position}")
            if version != self._versions.get(stream_id, 0) + 1:
                before = self._versions.get(stream_id, 0)
                raise Contradiction(f"at {position}, {stream_type} {stream_id}: version {version} follows {before}")
            self._versions[stream_id] = version
            self.recorded[event_type] += 1
            if stream_type == "account":
                self._judge(position, stream_id, event_type, data)
                self._fold_account(position, stream_id, event_type, data)
                self._remember(stream_id, event_type)
            elif stream_type == "transfer":
                self._fold_transfer(position, stream_id, event_type)
            self.position = position

    def _judge(self, position: int, account_id: str, event_type: str, data: dict[str, Any]) -> None:
        """An account refuses its part of a transfer on grounds, and takes part while there are none."""
        if event_type == "AccountOpened":
            return
        status, balance = self._statuses[account_id][-1], self.balances[account_id]
        match event_type:
            case "AccountDebitFailedDueToInsufficientFunds":
                right = status == "open" and balance < data["amount"]
            case _ if event_type in _REJECTIONS:  # clients ask for nothing else that is refused
                right = status != "open" and data["reason"] == f"account_{status}"
            case "AccountDebited" | "AccountCredited" | "CashDeposited" | "CashEntryReversed" | "AccountFrozen":
                right = status == "open"
            case "CashWithdrawn":  # all that came back to a closed account may be paid out
                right = status == "open" or (status == "closed" and balance == data["amount"])
            case "AccountUnfrozen":
                right = status == "frozen"
            case "AccountClosed":
                right = status == "open" and balance == 0
            case _:
                return
        if not right:
            reason = data.get("reason", data.get("amount"))
            raise Contradiction(f"at {position}, {event_type} ({reason}): the account is {status} with {balance}")

    def _fold_account(self, position: int, account_id: str, event_type: str, data: dict[str, Any]) -> None:
        if "balance" not in data:
            return
        if event_type == "AccountOpened":
            self.currencies[account_id] = data["currency"]
        else:
            sign = _REVERSED_SIGNS[data["entry_kind"]] if "entry_kind" in data else _SIGNS[event_type]
            expected = self.balances[account_id] + sign * data["amount"]
            if data["balance"] != expected:
                raise Contradiction(f"at {position}, {event_type}: balance {data['balance']}, expected {expected}")
        if data["balance"] < 0:
            raise Contradiction(f"at {position}, {event_type}: balance {data['balance']}")
        self.balances[account_id] = data["balance"]

    def _remember(self, account_id: str, event_type: str) -> None:
        statuses = self._statuses.setdefault(account_id, [])
        statuses.append(_STATUSES.get(event_type) or statuses[-1])
        self._balances.setdefault(account_id, array("q")).append(self.balances[account_id])

    def _fold_transfer(self, position: int, transfer_id: str, event_type: str) -> None:
        if event_type == "MoneyTransferCreated":
            self.open[transfer_id] = time.monotonic()
        elif event_type in ENDS:
            if transfer_id in self.states:
                raise Contradiction(f"at {position}, {event_type}: it has ended as {self.states[transfer_id]}")
            self.states[transfer_id] = ENDS[event_type]
            self.open.pop(transfer_id)
