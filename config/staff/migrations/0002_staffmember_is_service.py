"""Programs beside people."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the mark of a program; everybody so far is a person."""

    dependencies = [("staff", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="staffmember",
            name="is_service",
            field=models.BooleanField(
                default=False,
                help_text="A program, which signs in with an API key and has no password.",
                verbose_name="program",
            ),
        ),
    ]
