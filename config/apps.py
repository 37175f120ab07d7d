"""The Django application of the composition root; Django alone imports this module."""

from django.apps import AppConfig


class DaybookConfig(AppConfig):
    """Commands of the whole: `up`, `migrate` and what else joins the contexts."""

    name = "config"
