"""Every table is known to be append-only, rebuildable or mutable; a new one must be given its place here."""

import pytest
from django.apps import apps
from django.core.management import call_command

from config.database_roles import APPEND_ONLY_TABLES, RIGHTS

# History: rows are added, never changed; triggers and missing rights see to it.
APPEND_ONLY = {"eventstore.Event", "eventstore.LogEntry", "eventstore.Operation", "eventstore.Seal"}

# Made from history, and made again at will.
REBUILDABLE = {
    "eventstore.Snapshot",
    "views_readmodel.Account",
    "views_readmodel.Customer",
    "views_readmodel.Entry",
    "views_readmodel.Transfer",
    "views_readmodel.TransferStep",
}

# State of its own, which only a backup brings back.
# Carriers of permissions, without a table.
WITHOUT_TABLE = {"accounts.AccountsPermissions", "transfers.TransfersPermissions"}

MUTABLE = {
    "admin.LogEntry",
    "auth.Group",
    "auth.Permission",
    "axes.AccessAttempt",
    "axes.AccessAttemptExpiration",
    "axes.AccessFailureLog",
    "axes.AccessLog",
    "contenttypes.ContentType",
    "drafts.TransferDraft",
    "eventstore.Checkpoint",
    "eventstore.IdempotencyRecord",
    "eventstore.OutboxEntry",
    "eventstore.ParkedEvent",
    "eventstore.ParkedKey",
    "eventstore.Sequencer",
    "eventstore.SubjectKey",
    "knox.AuthToken",
    "sessions.Session",
    "staff.StaffMember",
}


def _models() -> dict[str, str]:
    return {model._meta.label: model._meta.db_table for model in apps.get_models()}


def test_every_model_has_its_place() -> None:
    listed = APPEND_ONLY | REBUILDABLE | MUTABLE | WITHOUT_TABLE
    assert set(_models()) == listed


def test_no_model_has_two_places() -> None:
    assert not (APPEND_ONLY & REBUILDABLE)
    assert not (APPEND_ONLY & MUTABLE)
    assert not (REBUILDABLE & MUTABLE)


def test_the_database_guards_exactly_the_append_only_models() -> None:
    assert {_models()[label] for label in APPEND_ONLY} == set(APPEND_ONLY_TABLES)


def test_the_app_role_s_rights_are_listed_for_exactly_the_tables_that_there_are() -> None:
    made_by_migrations = [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]
    tables = {model._meta.db_table for model in made_by_migrations if model._meta.app_label != "views_readmodel"}
    assert set(RIGHTS) == tables | {"django_migrations"}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
