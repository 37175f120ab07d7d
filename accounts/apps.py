"""The Django application of the accounts context; Django alone imports this module."""

from importlib import import_module

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Customers and accounts: commands, events and the write API."""

    name = "accounts"

    def ready(self) -> None:
        """Declares the context's subscriptions, once Django is up."""
        import_module("accounts.handlers")
