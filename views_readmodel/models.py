"""The read models' tables as Django models, for ad-hoc reading and for permissions on them.

Unmanaged: the tables belong to the projections, which make and rebuild them from their `.sql` files; a test sees to it
that the columns here are those. The hot paths read with SQL of their own (`queries`). Nothing writes through these.
"""

from __future__ import annotations

from django.db import models


class Account(models.Model):
    """An account as it is."""

    account_id = models.UUIDField(primary_key=True)
    number = models.TextField()
    title = models.TextField()
    customer_id = models.UUIDField()
    currency = models.TextField()
    balance = models.BigIntegerField(help_text="In minor units.")
    state = models.TextField()
    reference = models.TextField(null=True)
    opened_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    version = models.IntegerField()

    class Meta:
        managed = False
        db_table = '"readmodel"."account"'

    def __str__(self) -> str:
        return self.number


class Entry(models.Model):
    """A movement of money on an account."""

    pk = models.CompositePrimaryKey("account_id", "version")
    account_id = models.UUIDField()
    version = models.IntegerField()
    entry_id = models.UUIDField()
    kind = models.TextField()
    amount = models.BigIntegerField(help_text="In minor units; negative when money left.")
    balance_after = models.BigIntegerField(help_text="In minor units.")
    transfer_id = models.UUIDField(null=True)
    counterparty_account_id = models.UUIDField(null=True)
    reverses = models.UUIDField(null=True, help_text="The entry that this one undoes.")
    description = models.TextField()
    recorded_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = '"readmodel"."entry"'
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.kind} {self.entry_id}"


class Customer(models.Model):
    """A customer as they are."""

    customer_id = models.UUIDField(primary_key=True)
    name = models.TextField()
    email = models.TextField(null=True)
    phone = models.TextField(null=True)
    reference = models.TextField(null=True)
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    version = models.IntegerField()

    class Meta:
        managed = False
        db_table = '"readmodel"."customer"'

    def __str__(self) -> str:
        return self.name


class Transfer(models.Model):
    """A transfer as it is."""

    transfer_id = models.UUIDField(primary_key=True)
    from_account_id = models.UUIDField()
    to_account_id = models.UUIDField()
    amount = models.BigIntegerField(help_text="In minor units.")
    currency = models.TextField()
    description = models.TextField()
    reference = models.TextField(null=True)
    metadata = models.JSONField()
    state = models.TextField()
    failure_reason = models.TextField(null=True)
    initiated_by = models.TextField()
    approved_by = models.TextField(null=True)
    reverses = models.UUIDField(null=True, help_text="The transfer that this one takes back.")
    reversed_by = models.UUIDField(null=True, help_text="The transfer that takes this one back.")
    created_at = models.DateTimeField()
    execute_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    from_account_version = models.IntegerField(null=True)
    to_account_version = models.IntegerField(null=True)
    correlation_id = models.UUIDField()
    changed_at = models.DateTimeField()
    version = models.IntegerField()

    class Meta:
        managed = False
        db_table = '"readmodel"."transfer"'

    def __str__(self) -> str:
        return f"{self.transfer_id} {self.state}"


class TransferStep(models.Model):
    """One event of a transfer."""

    pk = models.CompositePrimaryKey("transfer_id", "version")
    transfer_id = models.UUIDField()
    version = models.IntegerField()
    event_id = models.UUIDField()
    event_type = models.TextField()
    actor = models.TextField()
    recorded_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = '"readmodel"."transfer_step"'

    def __str__(self) -> str:
        return f"{self.transfer_id}@{self.version} {self.event_type}"
