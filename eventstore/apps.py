"""Django's entry to the event store."""

from django.apps import AppConfig


class EventStoreConfig(AppConfig):
    """The event store as a Django app."""

    name = "eventstore"
    label = "eventstore"
    verbose_name = "Event store"
    default_auto_field = "django.db.models.BigAutoField"
