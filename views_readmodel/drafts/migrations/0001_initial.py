"""Drafts of transfers, which were kept in the session before; those that are there are lost with it, as ever."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes the table."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="TransferDraft",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("principal", models.TextField(help_text="Whose it is, as events name them.")),
                ("key", models.UUIDField(help_text="The idempotency key that it is sent under.")),
                ("written", models.JSONField(help_text="The fields of the form.")),
                ("transfer_id", models.UUIDField(help_text="The transfer that it became.", null=True)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "drafts_transfer_draft",
                "default_permissions": (),
                "indexes": [models.Index(fields=["expires_at"], name="drafts_transfer_draft_expiry")],
                "constraints": [
                    models.UniqueConstraint(fields=("principal", "key"), name="drafts_transfer_draft_unique")
                ],
            },
        ),
    ]
