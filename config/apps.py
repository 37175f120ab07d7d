"""The Django application of the composition root; it stands last in `INSTALLED_APPS`.

Invariant: standing last, its `post_migrate` step sees every table that the migrations made.
"""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class DaybookConfig(AppConfig):
    """Commands of the whole, and what the database roles may do."""

    name = "config"

    def ready(self) -> None:
        """Grant the app role its rights after every migration."""
        from config.database_roles import grant_after_migrate

        post_migrate.connect(grant_after_migrate, sender=self, dispatch_uid="config.grant_after_migrate")
