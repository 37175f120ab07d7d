"""The Django application of the transfers context; Django alone imports this module."""

from django.apps import AppConfig


class TransfersConfig(AppConfig):
    """Money transfers: commands, events and the write API."""

    name = "transfers"
