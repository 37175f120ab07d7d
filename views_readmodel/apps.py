"""The Django application of the read side; Django alone imports this module."""

from django.apps import AppConfig


class ViewsReadmodelConfig(AppConfig):
    """Read models, their projections, and the answers given from them."""

    name = "views_readmodel"
