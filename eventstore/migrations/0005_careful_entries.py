"""How many log entries at a time are gone through where a batch has died."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the column; an older program leaves it alone, and its parts are of one."""

    dependencies = [("eventstore", "0004_operation_searches")]

    operations = [
        migrations.AddField(
            model_name="checkpoint",
            name="careful_entries",
            field=models.SmallIntegerField(db_default=1, default=1),
        ),
    ]
