"""The Django application of the accounts context; Django alone imports this module."""

from importlib import import_module

from django.apps import AppConfig

from accounts.domain.account import ACCOUNT
from accounts.domain.customer import CUSTOMER
from eventstore.aggregates import aggregates


class AccountsConfig(AppConfig):
    """Customers and accounts: commands, events and the write API."""

    name = "accounts"

    def ready(self) -> None:
        """Declares the context's aggregates and subscriptions, once Django is up."""
        aggregates.register(ACCOUNT)
        aggregates.register(CUSTOMER)
        import_module("accounts.handlers")
