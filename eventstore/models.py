"""The event store's tables as Django models, for migrations, the admin and ad-hoc reading.

The hot paths use SQL of their own (`appending`, `loading`, `sequencer`, `subscriptions`); the tables are made by
`migrations/sql/`. Invariant: `Event`, `LogEntry`, `Seal` and `Operation` are append-only, and the database itself
refuses anything else.
"""

from __future__ import annotations

from django.db import models
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, Now, NullIf


class Event(models.Model):
    """A fact. Append-only."""

    id = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    stream_type = models.TextField()
    stream_id = models.UUIDField()
    version = models.IntegerField()
    event_type = models.TextField()
    schema_version = models.SmallIntegerField()
    data = models.JSONField()
    metadata = models.JSONField()
    recorded_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream_id", "version"], name="eventstore_event_stream_version_unique")
        ]
        indexes = [
            models.Index(Cast(KT("metadata__correlation_id"), models.UUIDField()), name="eventstore_event_correlation"),
            models.Index(
                KT("metadata__actor"),
                models.F("id"),
                name="eventstore_event_person",
                condition=~models.Q(metadata__actor__startswith="system:"),
            ),
            models.Index(fields=["event_type", "id"], name="eventstore_event_type"),
        ]

    def __str__(self) -> str:
        return f"{self.event_type} {self.stream_type}/{self.stream_id}@{self.version}"


class OutboxEntry(models.Model):
    """A committed event that has no position yet."""

    event = models.OneToOneField(Event, models.DO_NOTHING, primary_key=True, db_constraint=False)
    stream_bucket = models.SmallIntegerField()
    route_bucket = models.SmallIntegerField(null=True)

    class Meta:
        db_table = "eventstore_outbox"
        verbose_name_plural = "outbox entries"

    def __str__(self) -> str:
        return f"event {self.event_id}, unsequenced"


class LogEntry(models.Model):
    """An event's place in the one order. Append-only, written by the sequencer alone."""

    position = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(Event, models.DO_NOTHING, db_constraint=False)
    stream_bucket = models.SmallIntegerField()
    route_bucket = models.SmallIntegerField(null=True)
    sequenced_at = models.DateTimeField()

    class Meta:
        db_table = "eventstore_log"
        verbose_name_plural = "log entries"
        indexes = [
            models.Index(fields=["stream_bucket", "position"], name="eventstore_log_stream_bucket"),
            models.Index(
                fields=["route_bucket", "position"],
                name="eventstore_log_route_bucket",
                condition=models.Q(route_bucket__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"position {self.position}"


class Sequencer(models.Model):
    """The head of the log: a single row."""

    id = models.SmallIntegerField(primary_key=True)
    log_id = models.UUIDField()
    position = models.BigIntegerField()
    sequenced_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"log {self.log_id} at {self.position}"


class Seal(models.Model):
    """Tamper evidence for a range of the log. Append-only, written by `seals.sealer` alone."""

    last_position = models.BigIntegerField(primary_key=True)
    first_position = models.BigIntegerField()
    format = models.SmallIntegerField()
    leaves = models.BinaryField()  # the first bytes of each entry's hash, by which an altered one is named
    previous_hash = models.BinaryField(unique=True)  # of the seal before
    hash = models.BinaryField()
    sealed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"seal of positions {self.first_position} to {self.last_position}"


class Checkpoint(models.Model):
    """How far a subscription has come in a range of buckets."""

    class Status(models.TextChoices):
        """Whether the dispatcher advances it."""

        RUNNING = "running"
        PAUSED = "paused"  # by an operator
        REPLAYING = "replaying"  # a shadow that a replay advances

    id = models.BigAutoField(primary_key=True)
    subscription = models.TextField()
    follows = models.TextField()
    bucket_low = models.SmallIntegerField()
    bucket_high = models.SmallIntegerField()
    position = models.BigIntegerField()
    projection_version = models.IntegerField(null=True)
    status = models.TextField(choices=Status.choices, default=Status.RUNNING, db_default=Status.RUNNING)
    paused_by = models.TextField(default="", db_default="")
    paused_reason = models.TextField(default="", db_default="")
    attempts = models.SmallIntegerField(default=0, db_default=0)
    attempted_at = models.DateTimeField(null=True)
    careful_until = models.BigIntegerField(null=True)  # up to here in small parts, since batches died
    careful_entries = models.SmallIntegerField(default=1, db_default=1)  # so many log entries at a time
    heartbeat_at = models.DateTimeField(null=True)
    held_until = models.DateTimeField(null=True)
    held_reason = models.TextField(default="", db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "bucket_low"], name="eventstore_checkpoint_range_unique")
        ]

    def __str__(self) -> str:
        return f"{self.subscription} [{self.bucket_low}-{self.bucket_high}] at {self.position}"


class ParkedKey(models.Model):
    """A story or stream that a subscription could not go on with."""

    id = models.BigAutoField(primary_key=True)
    subscription = models.TextField()
    key = models.UUIDField()
    attempts = models.IntegerField(default=1, db_default=1)
    next_attempt_at = models.DateTimeField()
    parked_at = models.DateTimeField()
    error = models.TextField()

    class Meta:
        db_table = "eventstore_parked_key"
        constraints = [models.UniqueConstraint(fields=["subscription", "key"], name="eventstore_parked_key_unique")]
        indexes = [models.Index(fields=["next_attempt_at"], name="eventstore_parked_key_due")]

    def __str__(self) -> str:
        return f"{self.subscription} {self.key}"


class ParkedEvent(models.Model):
    """An event that waits behind a parked key: the culprit itself or a follower."""

    id = models.BigAutoField(primary_key=True)
    parked_key = models.ForeignKey(ParkedKey, models.DO_NOTHING, db_index=False)
    subscription = models.TextField()
    position = models.BigIntegerField()
    parked_at = models.DateTimeField()

    class Meta:
        db_table = "eventstore_parked_event"
        constraints = [
            models.UniqueConstraint(fields=["subscription", "position"], name="eventstore_parked_event_unique")
        ]
        indexes = [models.Index(fields=["parked_key", "position"], name="eventstore_parked_event_key")]

    def __str__(self) -> str:
        return f"{self.subscription} position {self.position}"


class Operation(models.Model):
    """What an operator did to a subscription or a parked key. Append-only."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()
    action = models.TextField()
    subscription = models.TextField()
    detail = models.JSONField()

    class Meta:
        indexes = [
            models.Index(fields=["actor", "id"], name="eventstore_operation_actor"),
            models.Index(fields=["action", "id"], name="eventstore_operation_action"),
            models.Index(
                Coalesce(NullIf(models.F("subscription"), models.Value("")), KT("detail__member")),
                models.F("id"),
                name="eventstore_operation_to",
            ),
            models.Index(KT("detail__key"), models.F("id"), name="eventstore_operation_key"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subscription} by {self.actor}"


class Snapshot(models.Model):
    """A state at a version. Disposable."""

    id = models.BigAutoField(primary_key=True)
    stream_type = models.TextField()
    stream_id = models.UUIDField()
    version = models.IntegerField()
    state_version = models.SmallIntegerField()
    state = models.JSONField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream_id", "version", "state_version"], name="eventstore_snapshot_unique")
        ]

    def __str__(self) -> str:
        return f"{self.stream_type}/{self.stream_id}@{self.version}"


class SubjectKey(models.Model):
    """The key of a person's sealed fields, wrapped. Emptying it erases the person."""

    subject_id = models.UUIDField(primary_key=True)
    wrapped_key = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "eventstore_subject_key"

    def __str__(self) -> str:
        return f"key of {self.subject_id}"


class IdempotencyRecord(models.Model):
    """The first answer to a request."""

    id = models.BigAutoField(primary_key=True)
    principal = models.TextField()
    key = models.TextField()
    fingerprint = models.BinaryField()
    answer = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "eventstore_idempotency_record"
        constraints = [
            models.UniqueConstraint(fields=["principal", "key"], name="eventstore_idempotency_record_unique")
        ]
        indexes = [models.Index(fields=["created_at"], name="eventstore_idempotency_age")]

    def __str__(self) -> str:
        return f"{self.principal} {self.key}"
