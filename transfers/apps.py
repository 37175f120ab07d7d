"""The Django application of the transfers context; Django alone imports this module."""

from importlib import import_module

from django.apps import AppConfig


class TransfersConfig(AppConfig):
    """Money transfers: commands, events and the write API."""

    name = "transfers"

    def ready(self) -> None:
        """Declares the context's subscriptions, once Django is up."""
        import_module("transfers.handlers")
