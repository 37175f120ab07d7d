"""Indexes for looking events up by story, person and type, made by `sql/0002_event_searches.sql`."""

from pathlib import Path

from django.db import migrations, models
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    """Makes the indexes of the event searches."""

    dependencies = [("eventstore", "0001_tables")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    (_SQL / "0002_event_searches.sql").read_text(),
                    (_SQL / "0002_event_searches_reverse.sql").read_text(),
                )
            ],
            state_operations=[
                migrations.AddIndex(
                    model_name="event",
                    index=models.Index(
                        Cast(KT("metadata__correlation_id"), models.UUIDField()),
                        name="eventstore_event_correlation",
                    ),
                ),
                migrations.AddIndex(
                    model_name="event",
                    index=models.Index(
                        KT("metadata__actor"),
                        models.F("id"),
                        name="eventstore_event_person",
                        condition=~models.Q(metadata__actor__startswith="system:"),
                    ),
                ),
                migrations.AddIndex(
                    model_name="event",
                    index=models.Index(fields=["event_type", "id"], name="eventstore_event_type"),
                ),
            ],
        )
    ]
