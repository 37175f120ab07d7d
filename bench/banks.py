"""A fresh bank for each run, its accounts, and its transfers. Imported once Django is set up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import methodcaller
from random import Random
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db import connections

from accounts import services as accounts
from accounts.domain.account import ACCOUNT, OpenAccount
from eventstore import loading
from eventstore.context import CommandContext
from eventstore.dispatch import drain
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.store import EventStore, Execution
from tests.servers import Servers
from transfers.domain.transfer import MONEY_TRANSFER, CreateTransfer
from transfers.published.events import TransferDetails

ACCOUNTS: Final = 1_000
BATCH: Final = 500
OPENED_WITH_MINOR: Final = 1_000_000_00
STORE: Final = EventStore()


def metadata() -> Metadata:
    """Who asks."""
    return Metadata(actor="service:bench", correlation_id=new_id(), origin="bench")


def context() -> CommandContext:
    """The circumstances of a request."""
    return CommandContext(metadata=metadata())


@contextmanager
def fresh_bank(servers: Servers, *, name: str) -> Iterator[list[UUID]]:
    """A database of its own with `ACCOUNTS` accounts, dispatched to the end; this process goes to it."""
    settings.EVENTSTORE["WAKE"] = None  # nobody else dispatches
    servers.ensure_template(migrate=_migrate)
    servers.clone(name=name)
    _point_at(name)
    try:
        opened = _open_accounts()
        dispatch()
        yield opened
    finally:
        connections["default"].close()
        servers.drop(name=name)


def dispatch() -> None:
    """Dispatches until nothing is left."""
    while not drain(store=STORE):
        pass


def random_transfers(ids: list[UUID], count: int, *, seed: int) -> list[TransferDetails]:
    """Transfers between random accounts, which all can be paid."""
    random = Random(seed)  # noqa: S311 - the same transfers in every run
    return [
        TransferDetails(
            from_account_id=payer,
            to_account_id=payee,
            amount=random.randint(1, 100_00),
            currency="EUR",
            initiated_by="service:bench",
            description="Rent",
        )
        for payer, payee in (random.sample(ids, 2) for _ in range(count))
    ]


def accept(transfers: list[TransferDetails]) -> None:
    """Appends the transfers' first events, `BATCH` in a transaction, as a bulk request would."""
    for first in range(0, len(transfers), BATCH):
        executions = [
            Execution(
                aggregate=MONEY_TRANSFER,
                stream_id=new_id(),
                command=CreateTransfer(details=details, from_currency=details.currency, to_currency=details.currency),
                metadata=metadata(),
                creates=True,
            )
            for details in transfers[first : first + BATCH]
        ]
        STORE.run(methodcaller("execute_many", executions))


def _open_accounts() -> list[UUID]:
    customer_id = accounts.register_customer(context=context(), name="Alice").value.customer_id
    ids = [new_id() for _ in range(ACCOUNTS)]
    for first in range(0, ACCOUNTS, BATCH):
        executions = [
            Execution(
                aggregate=ACCOUNT,
                stream_id=account_id,
                command=OpenAccount(
                    customer_id=customer_id,
                    number=str(number),
                    title="Household",
                    currency="EUR",
                    initial_balance=OPENED_WITH_MINOR,
                ),
                metadata=metadata(),
                creates=True,
            )
            for number, account_id in enumerate(ids[first : first + BATCH], first)
        ]
        STORE.run(methodcaller("execute_many", executions))
    return ids


def _migrate(name: str) -> None:
    _point_at(name)
    call_command("prepare_database", verbosity=0)
    connections["default"].close()


def _point_at(name: str) -> None:
    connections["default"].close()
    connections.settings["default"]["NAME"] = name
    loading.cache.clear()
