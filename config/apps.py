"""The Django application of the composition root; Django alone imports this module."""

from django.apps import AppConfig
from django.core.checks import Tags, register

from config.celery import app as celery_app
from config.checks import check_proxies
from config.search_path import pin_search_paths


class DaybookConfig(AppConfig):
    """Commands of the whole: `up`, `migrate` and what else joins the contexts."""

    name = "config"
    celery_app = celery_app  # loaded with Django, so that every process sends its wake-ups to the same broker

    def ready(self) -> None:
        """Has connections see the migrations' tables alone, and the settings checked."""
        pin_search_paths()
        register(check_proxies, Tags.security)
