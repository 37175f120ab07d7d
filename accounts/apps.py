"""The Django application of the accounts context; Django alone imports this module."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Customers and accounts: commands, events and the write API."""

    name = "accounts"
