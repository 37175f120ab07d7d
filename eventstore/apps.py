"""Django's entry to the event store."""

from importlib import import_module

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate, pre_migrate

from eventstore.exclusion import begin_migration, end_migration


class EventStoreConfig(AppConfig):
    """The event store as a Django app."""

    name = "eventstore"
    label = "eventstore"
    verbose_name = "Event store"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Has migrations and replays exclude each other; shows the store in the admin where there is one."""
        pre_migrate.connect(begin_migration, sender=self)
        post_migrate.connect(end_migration, sender=self)
        if apps.is_installed("django.contrib.admin"):
            import_module("eventstore.admin.registration")
