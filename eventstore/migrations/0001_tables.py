"""The event store's tables, made by `sql/0001_tables.sql`; the models below are what Django should think of them."""

from pathlib import Path

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    """Makes the tables, the append-only triggers and the head of the log."""

    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    (_SQL / "0001_tables.sql").read_text(),
                    (_SQL / "0001_tables_reverse.sql").read_text(),
                )
            ],
            state_operations=[
                migrations.CreateModel(
                    name="Event",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("event_id", models.UUIDField(unique=True)),
                        ("stream_type", models.TextField()),
                        ("stream_id", models.UUIDField()),
                        ("version", models.IntegerField()),
                        ("event_type", models.TextField()),
                        ("schema_version", models.SmallIntegerField()),
                        ("data", models.JSONField()),
                        ("metadata", models.JSONField()),
                        ("recorded_at", models.DateTimeField()),
                    ],
                ),
                migrations.CreateModel(
                    name="IdempotencyRecord",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("principal", models.TextField()),
                        ("key", models.TextField()),
                        ("fingerprint", models.BinaryField()),
                        ("answer", models.JSONField()),
                        (
                            "created_at",
                            models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                        ),
                    ],
                    options={
                        "db_table": "eventstore_idempotency_record",
                    },
                ),
                migrations.CreateModel(
                    name="LogEntry",
                    fields=[
                        ("position", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("stream_bucket", models.SmallIntegerField()),
                        ("route_bucket", models.SmallIntegerField(null=True)),
                        ("sequenced_at", models.DateTimeField()),
                    ],
                    options={
                        "verbose_name_plural": "log entries",
                        "db_table": "eventstore_log",
                    },
                ),
                migrations.CreateModel(
                    name="Operation",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ("actor", models.TextField()),
                        ("action", models.TextField()),
                        ("subscription", models.TextField()),
                        ("detail", models.JSONField()),
                    ],
                ),
                migrations.CreateModel(
                    name="ParkedEvent",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("subscription", models.TextField()),
                        ("position", models.BigIntegerField()),
                        ("parked_at", models.DateTimeField()),
                    ],
                    options={
                        "db_table": "eventstore_parked_event",
                    },
                ),
                migrations.CreateModel(
                    name="ParkedKey",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("subscription", models.TextField()),
                        ("key", models.UUIDField()),
                        ("attempts", models.IntegerField(db_default=1, default=1)),
                        ("next_attempt_at", models.DateTimeField()),
                        ("parked_at", models.DateTimeField()),
                        ("error", models.TextField()),
                    ],
                    options={
                        "db_table": "eventstore_parked_key",
                    },
                ),
                migrations.CreateModel(
                    name="Sequencer",
                    fields=[
                        ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                        ("log_id", models.UUIDField()),
                        ("position", models.BigIntegerField()),
                        ("sequenced_at", models.DateTimeField()),
                        ("heartbeat_at", models.DateTimeField()),
                    ],
                ),
                migrations.CreateModel(
                    name="Snapshot",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("stream_type", models.TextField()),
                        ("stream_id", models.UUIDField()),
                        ("version", models.IntegerField()),
                        ("state_version", models.SmallIntegerField()),
                        ("state", models.JSONField()),
                        ("created_at", models.DateTimeField()),
                        ("updated_at", models.DateTimeField()),
                    ],
                ),
                migrations.CreateModel(
                    name="SubjectKey",
                    fields=[
                        ("subject_id", models.UUIDField(primary_key=True, serialize=False)),
                        ("wrapped_key", models.BinaryField()),
                        (
                            "created_at",
                            models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                        ),
                    ],
                    options={
                        "db_table": "eventstore_subject_key",
                    },
                ),
                migrations.CreateModel(
                    name="Checkpoint",
                    fields=[
                        ("id", models.BigAutoField(primary_key=True, serialize=False)),
                        ("subscription", models.TextField()),
                        ("follows", models.TextField()),
                        ("bucket_low", models.SmallIntegerField()),
                        ("bucket_high", models.SmallIntegerField()),
                        ("position", models.BigIntegerField()),
                        ("projection_version", models.IntegerField(null=True)),
                        (
                            "status",
                            models.TextField(
                                choices=[
                                    ("running", "Running"),
                                    ("paused", "Paused"),
                                    ("replaying", "Replaying"),
                                ],
                                db_default="running",
                                default="running",
                            ),
                        ),
                        ("paused_by", models.TextField(db_default="", default="")),
                        ("paused_reason", models.TextField(db_default="", default="")),
                        ("attempts", models.SmallIntegerField(db_default=0, default=0)),
                        ("attempted_at", models.DateTimeField(null=True)),
                        ("careful_until", models.BigIntegerField(null=True)),
                        ("heartbeat_at", models.DateTimeField(null=True)),
                        ("held_until", models.DateTimeField(null=True)),
                        ("held_reason", models.TextField(db_default="", default="")),
                    ],
                    options={
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("subscription", "bucket_low"),
                                name="eventstore_checkpoint_range_unique",
                            )
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="OutboxEntry",
                    fields=[
                        (
                            "event",
                            models.OneToOneField(
                                db_constraint=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                primary_key=True,
                                serialize=False,
                                to="eventstore.event",
                            ),
                        ),
                        ("stream_bucket", models.SmallIntegerField()),
                        ("route_bucket", models.SmallIntegerField(null=True)),
                    ],
                    options={
                        "verbose_name_plural": "outbox entries",
                        "db_table": "eventstore_outbox",
                    },
                ),
                migrations.AddConstraint(
                    model_name="event",
                    constraint=models.UniqueConstraint(
                        fields=("stream_id", "version"), name="eventstore_event_stream_version_unique"
                    ),
                ),
                migrations.AddIndex(
                    model_name="idempotencyrecord",
                    index=models.Index(fields=["created_at"], name="eventstore_idempotency_age"),
                ),
                migrations.AddConstraint(
                    model_name="idempotencyrecord",
                    constraint=models.UniqueConstraint(
                        fields=("principal", "key"), name="eventstore_idempotency_record_unique"
                    ),
                ),
                migrations.AddField(
                    model_name="logentry",
                    name="event",
                    field=models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="eventstore.event",
                    ),
                ),
                migrations.AddIndex(
                    model_name="parkedkey",
                    index=models.Index(fields=["next_attempt_at"], name="eventstore_parked_key_due"),
                ),
                migrations.AddConstraint(
                    model_name="parkedkey",
                    constraint=models.UniqueConstraint(
                        fields=("subscription", "key"), name="eventstore_parked_key_unique"
                    ),
                ),
                migrations.AddField(
                    model_name="parkedevent",
                    name="parked_key",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        to="eventstore.parkedkey",
                    ),
                ),
                migrations.AddConstraint(
                    model_name="snapshot",
                    constraint=models.UniqueConstraint(
                        fields=("stream_id", "version", "state_version"), name="eventstore_snapshot_unique"
                    ),
                ),
                migrations.AddIndex(
                    model_name="logentry",
                    index=models.Index(
                        fields=["stream_bucket", "position"], name="eventstore_log_stream_bucket"
                    ),
                ),
                migrations.AddIndex(
                    model_name="logentry",
                    index=models.Index(
                        condition=models.Q(("route_bucket__isnull", False)),
                        fields=["route_bucket", "position"],
                        name="eventstore_log_route_bucket",
                    ),
                ),
                migrations.AddIndex(
                    model_name="parkedevent",
                    index=models.Index(fields=["parked_key", "position"], name="eventstore_parked_event_key"),
                ),
                migrations.AddConstraint(
                    model_name="parkedevent",
                    constraint=models.UniqueConstraint(
                        fields=("subscription", "position"), name="eventstore_parked_event_unique"
                    ),
                ),
            ],
        )
    ]
