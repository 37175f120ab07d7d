"""The seals over the log, made by `sql/0003_seals.sql`."""

from pathlib import Path

from django.db import migrations, models

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    """Makes the table of the seals, append-only as history is. What is in the log is sealed in slices afterwards."""

    dependencies = [("eventstore", "0002_event_searches")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    (_SQL / "0003_seals.sql").read_text(),
                    (_SQL / "0003_seals_reverse.sql").read_text(),
                )
            ],
            state_operations=[
                migrations.CreateModel(
                    name="Seal",
                    fields=[
                        ("last_position", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("first_position", models.BigIntegerField()),
                        ("format", models.SmallIntegerField()),
                        ("leaves", models.BinaryField()),
                        ("previous_hash", models.BinaryField(unique=True)),
                        ("hash", models.BinaryField()),
                        ("sealed_at", models.DateTimeField()),
                    ],
                ),
            ],
        )
    ]
