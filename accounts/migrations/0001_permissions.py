"""The permissions of the accounts context; no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Tells Django of the permissions."""

    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="AccountsPermissions",
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
                    ("view_customers", "Can see customers"),
                    ("register_customer", "Can register customers"),
                    ("change_customer", "Can rename customers and change how they are reached"),
                    ("view_accounts", "Can see accounts and their entries"),
                    ("open_account", "Can open accounts"),
                    ("deposit", "Can take cash in"),
                    ("withdraw", "Can pay cash out"),
                    ("reverse_entry", "Can reverse cash entries"),
                    ("freeze_account", "Can freeze and unfreeze accounts"),
                    ("close_account", "Can close accounts"),
                    ("pay_out_closed_account", "Can pay out what closed accounts hold"),
                ],
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
