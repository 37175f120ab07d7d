"""Batching is no boundary: the same commands lead to the same events, one by one or five hundred at a time.

The two handlers of the saga are fed by queues, each written by the other alone, so what they write does not depend on
who has his turn when (a Kahn network). Here a script of commands is played on databases of its own for each way of
dispatching, with the same ids; afterwards streams and read models hold the same, byte by byte, apart from times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.plugin import DjangoDbBlocker

from eventstore import loading
from eventstore.refusals import Refusal
from eventstore.subscriptions.registry import subscriptions
from tests.conftest import _default_connection_at
from tests.properties.profile import examples
from tests.properties.real_bank import ACTOR, RealBank
from tests.servers import Servers
from transfers.published.events import TransferDetails

MAX_BALANCE: Final = 2_000
ACCOUNTS: Final = 5
REASON: Final = "Court order"

# All that the bank's streams hold, apart from times; a customer's fields are sealed, each time otherwise.
_SELECT_STREAMS = """
SELECT stream_id, version, event_id, stream_type, event_type, schema_version, data::text, metadata::text
FROM eventstore_event WHERE stream_type <> 'customer' AND id > %s ORDER BY stream_id, version
"""

# All that the read models show of these accounts, apart from times.
_SELECT_READ_MODELS = """
SELECT 'account', (to_jsonb(a) - 'opened_at' - 'changed_at')::text AS shown
FROM readmodel.account a WHERE account_id = ANY(%s)
UNION ALL
SELECT 'entry', (to_jsonb(e) - 'recorded_at')::text
FROM readmodel.entry e WHERE account_id = ANY(%s)
UNION ALL
SELECT 'transfer', (to_jsonb(t) - 'created_at' - 'changed_at' - 'completed_at')::text
FROM readmodel.transfer t WHERE from_account_id = ANY(%s)
UNION ALL
SELECT 'step', (to_jsonb(s) - 'recorded_at')::text
FROM readmodel.transfer_step s JOIN readmodel.transfer t USING (transfer_id) WHERE t.from_account_id = ANY(%s)
ORDER BY 1, 2
"""

INDEXES = st.integers(0, ACCOUNTS - 1)
COMMANDS = st.one_of(
    st.tuples(st.just("transfer"), INDEXES, INDEXES, st.integers(1, 400)),
    st.tuples(st.just("transfer"), INDEXES, INDEXES, st.integers(1, 100)),
    st.tuples(st.just("deposit"), INDEXES, INDEXES, st.integers(1, 500)),
    st.tuples(st.sampled_from(["withdraw", "freeze", "unfreeze", "close"]), INDEXES, INDEXES, st.integers(1, 500)),
)
Command = tuple[str, int, int, int]  # what, on which account, to which, minor units
SCRIPTS = st.lists(st.lists(COMMANDS, min_size=1, max_size=16), min_size=1, max_size=3)
"""Commands in groups; after each group everything is dispatched."""

Dispatch = Callable[[RealBank], None]
Databases = dict[str, Callable[[], AbstractContextManager[None]]]


def _scrambled(bank: RealBank) -> None:
    """Whoever's turn it is, with whatever batch, until nobody moves."""
    random = Random(7)
    everybody = [subscription.id for subscription in subscriptions.all()]
    idle: set[str] = set()
    while len(idle) < len(everybody):
        bank.sequence(limit=random.choice([1, 3, 5_000]))
        chosen = random.choice(everybody)
        idle = idle | {chosen} if not bank.advance(chosen, batch_size=random.choice([1, 2, 5, 40])) else set()
    bank.drain()


WAYS: Final[dict[str, Dispatch]] = {
    "one_by_one": lambda bank: bank.drain(batch_size=1),
    "by_500": lambda bank: bank.drain(batch_size=500),
    "scrambled": _scrambled,
}


class Ids:
    """New ids that follow from a seed, instead of from the clock."""

    def begin(self, seed: UUID) -> None:
        """Starts again from this seed."""
        self._next = seed.int

    def __call__(self) -> UUID:
        """The next id."""
        self._next += 1
        return UUID(int=self._next)


@pytest.fixture
def databases(
    django_db_setup: None, servers: Servers, worker_name: str, redis_url: str, django_db_blocker: DjangoDbBlocker
) -> Iterator[Databases]:
    """A database for each way of dispatching."""
    names = {way: f"daybook_test_{servers.run}_{worker_name}_{way}" for way in WAYS}
    for name in names.values():
        servers.clone(name=name)
    with django_db_blocker.unblock():
        yield {way: partial(_visit, servers, name) for way, name in names.items()}
    for name in names.values():
        servers.drop(name=name)


@contextmanager
def _visit(servers: Servers, name: str) -> Iterator[None]:
    """The default connection goes to that database; this process knows no state of another one's."""
    with _default_connection_at(servers, name):
        loading.cache.clear()
        yield


@pytest.fixture
def limited_balances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts fill up soon, so that credits are refused for that too."""
    monkeypatch.setattr("accounts.domain.account.MAX_BALANCE_MINOR", MAX_BALANCE)


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> Ids:
    """Lets new ids follow from a seed."""
    ids = Ids()
    for module in ("eventstore.store", "accounts.services", "transfers.services", "tests.properties.real_bank"):
        monkeypatch.setattr(f"{module}.new_id", ids)
    return ids


@given(script=SCRIPTS)
@examples(6)
def test_it_records_the_same_however_it_is_dispatched(
    databases: Databases, ids: Ids, limited_balances: None, script: list[list[Command]]
) -> None:
    seed = uuid4()
    outcomes = {}
    for name, dispatch in WAYS.items():
        ids.begin(seed)
        with databases[name]():
            outcomes[name] = _play(script, dispatch)
    assert outcomes["by_500"] == outcomes["one_by_one"]
    assert outcomes["scrambled"] == outcomes["one_by_one"]


def _play(script: list[list[Command]], dispatch: Dispatch) -> tuple[list[Any], list[Any]]:
    """Plays the script on a new bank; answers with what its streams and its read models hold."""
    bank = RealBank()
    accounts = [bank.open_account("EUR", 500) for _ in range(ACCOUNTS)]
    for group in script:
        for command in group:
            with suppress(Refusal):
                _execute(bank, accounts, command)
        dispatch(bank)
    with connection.cursor() as cursor:
        cursor.execute(_SELECT_STREAMS, [bank.first_id])
        streams = cursor.fetchall()
        cursor.execute(_SELECT_READ_MODELS, [accounts] * 4)
        return streams, cursor.fetchall()


def _execute(bank: RealBank, accounts: list[UUID], command: Command) -> None:
    what, one, other, amount = command
    account = accounts[one]
    match what:
        case "transfer":
            bank.transfer(
                TransferDetails(
                    from_account_id=account,
                    to_account_id=accounts[other],
                    amount=amount,
                    currency="EUR",
                    initiated_by=ACTOR,
                )
            )
        case "deposit":
            bank.deposit(account, amount, "EUR")
        case "withdraw":
            bank.withdraw(account, amount, "EUR")
        case "freeze":
            bank.freeze(account, REASON)
        case "unfreeze":
            bank.unfreeze(account, REASON)
        case "close":
            bank.withdraw(account, bank.states([account])[account].state.balance, "EUR")
            bank.close(account, REASON)
