"""The permissions of the transfers context; no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Tells Django of the permissions."""

    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="TransfersPermissions",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "permissions": [
                    ("view_transfers", "Can see transfers"),
                    ("create_transfer", "Can make transfers"),
                ],
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
