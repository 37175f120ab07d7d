"""The Django application of the transfers context; Django alone imports this module."""

from importlib import import_module

from django.apps import AppConfig

from eventstore.aggregates import aggregates
from transfers.domain.transfer import MONEY_TRANSFER


class TransfersConfig(AppConfig):
    """Money transfers: commands, events and the write API."""

    name = "transfers"

    def ready(self) -> None:
        """Declares the context's aggregate and subscriptions, once Django is up."""
        aggregates.register(MONEY_TRANSFER)
        import_module("transfers.handlers")
