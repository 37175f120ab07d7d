"""The sequence of account numbers, made by `sql/0002_account_number.sql`."""

from pathlib import Path

from django.db import migrations

_SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    """Makes the sequence."""

    dependencies = [("accounts", "0001_permissions")]

    operations = [
        migrations.RunSQL(
            (_SQL / "0002_account_number.sql").read_text(),
            (_SQL / "0002_account_number_reverse.sql").read_text(),
        )
    ]
