"""The Django application of the read side; Django alone imports this module."""

from importlib import import_module

from django.apps import AppConfig


class ViewsReadmodelConfig(AppConfig):
    """Read models, their projections, and the answers given from them."""

    name = "views_readmodel"

    def ready(self) -> None:
        """Declare the projections: whoever dispatches or replays finds them in the registry."""
        for module in ("accounts", "customers", "transfers"):
            import_module(f"views_readmodel.projections.{module}")
