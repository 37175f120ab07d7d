"""A large book for what pages cost: 100,000 entries, 5,000 customers, and accounts with 10,000 entries each.

Used by the test that counts queries and by the bench that measures times.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import methodcaller
from typing import Final
from uuid import UUID

from django.contrib import admin
from django.db import connection
from django.urls import reverse

from accounts.domain.account import ACCOUNT, Deposit
from config.staff.roles import Role
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.models import Event
from eventstore.store import EventStore, Execution
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch
from tests.integration.multiplied import multiply
from views_readmodel import queries

BUSY_ENTRIES: Final = 10_000
COPIES: Final = 10
CUSTOMERS: Final = 5_000
_BATCH: Final = 500

# Customers with an account each, as the projections would have written them.
ADD_CUSTOMERS: Final = """
WITH made AS (
    INSERT INTO readmodel.customer (customer_id, name, email, reference, created_at, changed_at, version)
    SELECT gen_random_uuid(), 'Alice Abel ' || n, 'alice' || n || '@example.com', 'C-' || n, clock_timestamp(),
        clock_timestamp(), 1
    FROM generate_series(1, %s) AS n
    RETURNING customer_id, created_at
)
INSERT INTO readmodel.account
    (account_id, number, title, customer_id, currency, balance, state, opened_at, changed_at, version)
SELECT gen_random_uuid(), '9' || lpad((row_number() OVER ())::text, 8, '0'), 'Household', customer_id, 'EUR', 100,
    'OPEN', created_at, created_at, 1
FROM made
"""
_COUNT_ENTRIES: Final = "SELECT count(*) FROM readmodel.entry"


def large_book(database: Database) -> dict[str, UUID]:
    """Fills a database; answers with the ids of a busy payer, a payee, a transfer between them, and the customer."""
    teller = Counter(Role.TELLER)
    payer, payee = teller.account("500000.00"), teller.account("100.00", title="Savings")
    dispatch()
    _deposit_often(payer)
    for _ in range(40):
        transfer = teller.transfer(payer, payee, "1.00", description="Rent")
    teller.post(f"accounts/{payer}/deposits", {"amount": "1.00", "description": "Coins"})
    dispatch()
    multiply(database, copies=COPIES)
    with connection.cursor() as cursor:
        cursor.execute(ADD_CUSTOMERS, [CUSTOMERS])
        cursor.execute("ANALYZE")
    account = queries.account(account_id=payer)
    assert account is not None
    return {"payer": payer, "payee": payee, "transfer": transfer, "customer": account.customer_id}


def admin_addresses(book: Mapping[str, UUID]) -> list[str]:
    """Every list of the admin, and what it shows of a long stream."""
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in admin.site._registry
    ]
    stream = reverse("admin:eventstore_event_stream", args=["account", book["payer"]])
    transfer = queries.transfer(transfer_id=book["transfer"])
    assert transfer is not None
    return [
        reverse("admin:index"),
        *lists,
        stream,
        *(f"{stream}?version={version}" for version in (1, BUSY_ENTRIES // 2, BUSY_ENTRIES)),
        reverse("admin:eventstore_event_story", args=[transfer.correlation_id]),
        reverse("admin:eventstore_event_change", args=[Event.objects.latest("id").pk]),
    ]


def count_entries() -> int:
    """How many entries there are."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_ENTRIES)
        found: int = cursor.fetchone()[0]
    return found


def _deposit_often(account_id: UUID) -> None:
    metadata = Metadata(actor="staff:teller", correlation_id=new_id())
    store = EventStore()
    for _ in range(BUSY_ENTRIES // _BATCH):
        executions = [
            Execution(
                aggregate=ACCOUNT,
                stream_id=account_id,
                command=Deposit(amount=1, currency="EUR", description="Coins"),
                metadata=metadata,
            )
            for _ in range(_BATCH)
        ]
        store.run(methodcaller("execute_many", executions))
