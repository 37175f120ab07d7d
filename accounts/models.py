"""The permissions of the accounts context, where Django looks for them. There is no table: events are all it keeps."""

from django.db import models

from accounts.permissions import AccountsPermission


class AccountsPermissions(models.Model):
    """Carries the permissions; never has a row."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [(value.partition(".")[2], label) for value, label in AccountsPermission.choices]
