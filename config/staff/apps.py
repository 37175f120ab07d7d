"""The Django application of bank staff; Django alone imports this module."""

from django.apps import AppConfig


class StaffConfig(AppConfig):
    """People and programs that sign in, and their roles."""

    name = "config.staff"
    label = "staff"
