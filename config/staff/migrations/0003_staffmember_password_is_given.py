"""Passwords that somebody else set."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the mark of a password that its owner has to replace; nobody's is one so far."""

    dependencies = [("staff", "0002_staffmember_is_service")]

    operations = [
        migrations.AddField(
            model_name="staffmember",
            name="password_is_given",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="The member has to choose another before anything else.",
                verbose_name="password set by somebody else",
            ),
        ),
    ]
