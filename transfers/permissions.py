"""What people and programs may be permitted to do with transfers.

Which role has which stands in `config/staff/roles.py`. A codename never changes: it is stored. The API and the pages
of this context import this, and whoever shows what it holds.
"""

from django.db.models import TextChoices


class TransfersPermission(TextChoices):
    """The permissions of this context, each with the sentence that an administrator reads."""

    VIEW_TRANSFERS = "transfers.view_transfers", "Can see transfers"
    CREATE_TRANSFER = "transfers.create_transfer", "Can make transfers"
