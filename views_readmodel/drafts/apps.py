"""The Django application of the drafts; Django alone imports this module."""

from django.apps import AppConfig


class DraftsConfig(AppConfig):
    """What was written down and not sent yet."""

    name = "views_readmodel.drafts"
    label = "drafts"
