"""Indexes for looking operations up by who, what and to whom, made by `sql/0004_operation_searches.sql`."""

from pathlib import Path

from django.db import migrations, models
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, NullIf

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    """Makes the indexes of the search for operations."""

    dependencies = [("eventstore", "0003_seals")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    (_SQL / "0004_operation_searches.sql").read_text(),
                    (_SQL / "0004_operation_searches_reverse.sql").read_text(),
                )
            ],
            state_operations=[
                migrations.AddIndex(
                    model_name="operation",
                    index=models.Index(fields=["actor", "id"], name="eventstore_operation_actor"),
                ),
                migrations.AddIndex(
                    model_name="operation",
                    index=models.Index(fields=["action", "id"], name="eventstore_operation_action"),
                ),
                migrations.AddIndex(
                    model_name="operation",
                    index=models.Index(
                        Coalesce(NullIf(models.F("subscription"), models.Value("")), KT("detail__member")),
                        models.F("id"),
                        name="eventstore_operation_to",
                    ),
                ),
                migrations.AddIndex(
                    model_name="operation",
                    index=models.Index(KT("detail__key"), models.F("id"), name="eventstore_operation_key"),
                ),
            ],
        )
    ]
