"""The table of the drafts. Only `keeping` reads and writes it; in migrations it is a table like any other."""

from __future__ import annotations

from django.db import models


class TransferDraft(models.Model):
    """A transfer that somebody has written down, and what became of it. Mutable, and gone after some hours."""

    id = models.BigAutoField(primary_key=True)
    principal = models.TextField(help_text="Whose it is, as events name them.")
    key = models.UUIDField(help_text="The idempotency key that it is sent under.")
    written = models.JSONField(help_text="The fields of the form.")
    transfer_id = models.UUIDField(null=True, help_text="The transfer that it became.")
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "drafts_transfer_draft"
        default_permissions = ()  # it is nobody's to administer
        constraints = [models.UniqueConstraint(fields=["principal", "key"], name="drafts_transfer_draft_unique")]
        indexes = [models.Index(fields=["expires_at"], name="drafts_transfer_draft_expiry")]

    def __str__(self) -> str:
        return f"{self.principal} {self.key}"
