"""Holds what the store has against what the clients were told. Equality, never a lower bound.

Reads over a connection of its own, past the program under test. Imported by the fault tests and the soak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import psycopg

from config.processes import wait_until
from tests.load import Told

FINAL: Final = ("COMPLETED", "FAILED_DUE_TO_INSUFFICIENT_FUNDS", "REJECTED", "REFUNDED")

# Transfers that have not ended: created, and not followed by an event that ends them.
_COUNT_UNFINISHED = """
SELECT count(*) FILTER (WHERE event_type = 'MoneyTransferCreated') - count(*) FILTER (WHERE event_type IN (
    'CreditRecorded', 'FailedDebitRecorded', 'DebitRejectionRecorded', 'RefundRecorded'
))
FROM eventstore_event WHERE stream_type = 'transfer'
"""

# The same in the read model, once it shows everything.
_SELECT_SHOWN = "SELECT state, count(*) FROM readmodel.transfer GROUP BY state"

# The streams that transfers began, and the entries that deposits made.
_SELECT_CREATED = "SELECT stream_id::text FROM eventstore_event WHERE event_type = 'MoneyTransferCreated'"
_SELECT_DEPOSITED = "SELECT event_id::text FROM eventstore_event WHERE event_type = 'CashDeposited'"

# What all accounts hold: the balance that the last event with one carries.
_SELECT_HELD = """
SELECT coalesce(sum(balance), 0) FROM (
    SELECT DISTINCT ON (stream_id) (data ->> 'balance')::bigint AS balance
    FROM eventstore_event WHERE stream_type = 'account' AND data ? 'balance'
    ORDER BY stream_id, version DESC
) AS last
"""

# When somebody last dispatched anything.
_SELECT_SIGN_OF_LIFE = """
SELECT GREATEST((SELECT max(heartbeat_at) FROM eventstore_checkpoint), (SELECT heartbeat_at FROM eventstore_sequencer))
"""

_SELECT_PARKED = "SELECT count(*) FROM eventstore_parked_key"

# Ends every other connection of the app role to this database.
_CUT_CONNECTIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
"""


class Auditor:
    """Looks at one bank's database."""

    def __init__(self, *, database_url: str) -> None:
        self._url = database_url

    def _value(self, statement: str) -> Any:
        return self._rows(statement)[0][0]

    def _rows(self, statement: str) -> list[Any]:
        with self._connection() as connection:
            return connection.execute(statement.encode()).fetchall()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            yield connection

    def unfinished(self) -> int:
        """How many transfers have not ended."""
        return int(self._value(_COUNT_UNFINISHED))

    def transfers_shown(self) -> dict[str, int]:
        """How many transfers the read model shows, by state."""
        return dict(self._rows(_SELECT_SHOWN))

    def parked(self) -> int:
        """How many keys are parked."""
        return int(self._value(_SELECT_PARKED))

    def now(self) -> datetime:
        """The database's clock."""
        now: datetime = self._value("SELECT clock_timestamp()")
        return now

    def wait_for_sign_of_life(self, *, since: datetime, seconds: float) -> datetime:
        """Waits until something was dispatched after that moment; answers when that was."""
        assert wait_until(lambda: self._value(_SELECT_SIGN_OF_LIFE) > since, timeout_seconds=seconds)
        alive: datetime = self._value(_SELECT_SIGN_OF_LIFE)
        return alive

    def wait_until_all_final(self, *, seconds: float) -> bool:
        """Waits until every transfer has ended, nothing is parked, and the read model shows it."""

        def all_final() -> bool:
            if self.unfinished() or self.parked():
                return False
            shown = self.transfers_shown()
            return not shown.keys() - set(FINAL) and sum(shown.values()) == len(self._rows(_SELECT_CREATED))

        return wait_until(all_final, timeout_seconds=seconds, poll_seconds=0.05)

    def cut_connections(self) -> int:
        """Terminates the database backends of everybody else; answers how many there were."""
        return int(self._value(_CUT_CONNECTIONS))

    def check(self, told: Sequence[Told], *, cash_minor: int) -> None:
        """What was acknowledged is in the store once, nothing else is, and the money adds up.

        `cash_minor` is what the accounts were opened with, beside the deposits.
        """
        statuses = Counter(answer.status for answer in told)
        assert set(statuses) <= {201, 202}, [answer for answer in told if answer.status not in (201, 202)][:3]
        transfers = Counter(answer.body["transfer_id"] for answer in told if answer.status == 202)
        deposits = Counter(answer.body["entry_id"] for answer in told if answer.status == 201)
        _assert_same("transfers", transfers, Counter(id for (id,) in self._rows(_SELECT_CREATED)))
        _assert_same("deposits", deposits, Counter(id for (id,) in self._rows(_SELECT_DEPOSITED)))
        paid_in = sum(_minor(answer.request.body["amount"]) for answer in told if answer.status == 201)
        held = self._value(_SELECT_HELD)
        assert held == cash_minor + paid_in, f"accounts hold {held}, and {cash_minor + paid_in} was paid in"


def _assert_same(what: str, told: Counter[str], stored: Counter[str]) -> None:
    lost, unasked = told - stored, stored - told
    assert not lost, f"{what} that were acknowledged, and not in the store: {lost}"
    assert not unasked, f"{what} in the store that nobody was told of: {unasked}"


def _minor(euros: str) -> int:
    return int(euros.replace(".", ""))
