"""The Django application of bank staff; Django alone imports this module."""

from importlib import import_module

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class StaffConfig(AppConfig):
    """People and programs that sign in, and their roles."""

    name = "config.staff"
    label = "staff"

    def ready(self) -> None:
        """Has the roles brought up to date after every migration, signing in described, and each log-in stamped."""
        import_module("config.staff.schema")
        import_module("config.staff.idle")  # its receiver: a log-in before the first request is stamped too
        roles = import_module("config.staff.roles")  # it needs models, which are there only now
        post_migrate.connect(roles.apply_roles, sender=self, dispatch_uid="config.staff.roles")
