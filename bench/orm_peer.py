"""The peer: the transfer that most Django projects would write, two rows locked and updated in one transaction.

It keeps balances, one row a transfer and two entries, and no history, no saga, no read models beside.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

import psycopg
from django.db import models, transaction

from eventstore.ids import new_id
from tests.servers import Servers
from transfers.published.events import TransferDetails

_DDL: Final = """
CREATE SCHEMA bench;
CREATE TABLE bench.account (id uuid PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
CREATE TABLE bench.transfer (
    id uuid PRIMARY KEY,
    payer_id uuid NOT NULL REFERENCES bench.account,
    payee_id uuid NOT NULL REFERENCES bench.account,
    amount bigint NOT NULL,
    description text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ON bench.transfer (payer_id);
CREATE INDEX ON bench.transfer (payee_id);
CREATE TABLE bench.entry (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES bench.account,
    transfer_id uuid NOT NULL REFERENCES bench.transfer,
    amount bigint NOT NULL,
    balance_after bigint NOT NULL
);
CREATE INDEX ON bench.entry (account_id);
GRANT USAGE ON SCHEMA bench TO PUBLIC;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA bench TO PUBLIC;
"""


class PlainAccount(models.Model):
    """A balance."""

    objects: models.Manager[PlainAccount]
    id = models.UUIDField(primary_key=True)
    balance = models.BigIntegerField()

    class Meta:
        app_label = "bench"
        managed = False
        db_table = '"bench"."account"'


class PlainTransfer(models.Model):
    """A transfer."""

    objects: models.Manager[PlainTransfer]
    id = models.UUIDField(primary_key=True, default=new_id)
    payer = models.ForeignKey(PlainAccount, models.PROTECT, related_name="+")
    payee = models.ForeignKey(PlainAccount, models.PROTECT, related_name="+")
    amount = models.BigIntegerField()
    description = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "bench"
        managed = False
        db_table = '"bench"."transfer"'


class PlainEntry(models.Model):
    """A line of a statement."""

    objects: models.Manager[PlainEntry]
    id = models.UUIDField(primary_key=True, default=new_id)
    account = models.ForeignKey(PlainAccount, models.PROTECT, related_name="+")
    transfer = models.ForeignKey(PlainTransfer, models.PROTECT, related_name="+")
    amount = models.BigIntegerField()
    balance_after = models.BigIntegerField()

    class Meta:
        app_label = "bench"
        managed = False
        db_table = '"bench"."entry"'


def prepare(servers: Servers, *, name: str, ids: list[UUID], balance: int) -> None:
    """Makes the peer's tables and accounts in the bank's own database."""
    with psycopg.connect(servers.database_url(name=name, login=servers.owner)) as connection:
        connection.execute(_DDL)
    PlainAccount.objects.bulk_create([PlainAccount(id=id, balance=balance) for id in ids])


def transfer(details: TransferDetails) -> None:
    """Moves the money."""
    with transaction.atomic():
        wanted = [details.from_account_id, details.to_account_id]
        # Sorted, or two transfers in opposite directions would wait for each other for ever.
        locked = {
            found.id: found for found in PlainAccount.objects.select_for_update().filter(id__in=wanted).order_by("id")
        }
        payer, payee = locked[details.from_account_id], locked[details.to_account_id]
        if payer.balance < details.amount:
            raise ValueError("insufficient funds")
        payer.balance -= details.amount
        payee.balance += details.amount
        payer.save(update_fields=["balance"])
        payee.save(update_fields=["balance"])
        moved = PlainTransfer.objects.create(
            payer=payer, payee=payee, amount=details.amount, description=details.description
        )
        PlainEntry.objects.bulk_create(
            [
                PlainEntry(account=payer, transfer=moved, amount=-details.amount, balance_after=payer.balance),
                PlainEntry(account=payee, transfer=moved, amount=details.amount, balance_after=payee.balance),
            ]
        )
