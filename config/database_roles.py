"""What each database role may do: the owner migrates, the app role runs, and neither rewrites history.

Invariant: after every migration the app role has on each table exactly the rights of `RIGHTS`, however they were
before: it may read and add to the tables of `APPEND_ONLY_TABLES`, and has no right on a table that is not named.
Imported by the `migrate` command.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

logger = logging.getLogger(__name__)

APPEND_ONLY_TABLES = ("eventstore_event", "eventstore_log", "eventstore_operation", "eventstore_seal")

READ = "SELECT"
ADD = "SELECT, INSERT"
ADD_AND_REMOVE = "SELECT, INSERT, DELETE"
ADD_AND_CHANGE = "SELECT, INSERT, UPDATE"
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"

# What the program does with each table, and no more. Whoever locks a row (SELECT … FOR UPDATE) needs UPDATE.
RIGHTS: Mapping[str, str] = {
    **dict.fromkeys(APPEND_ONLY_TABLES, ADD),
    # Whom a migration alone changes: what there is, and what a role may do.
    "auth_group": READ,
    "auth_group_permissions": READ,
    "auth_permission": READ,
    "django_content_type": READ,
    "django_migrations": READ,
    # Who signs in. Nobody is deleted, and what was done in the admin is not undone.
    "django_admin_log": ADD,
    "axes_accessattempt": EVERYTHING,
    "axes_accessattemptexpiration": ADD_AND_REMOVE,  # goes with its attempt
    "axes_accessfailurelog": READ,
    "axes_accesslog": EVERYTHING,
    "django_session": EVERYTHING,
    "knox_authtoken": ADD_AND_REMOVE,
    "staff_staffmember": ADD_AND_CHANGE,
    "staff_staffmember_groups": ADD_AND_REMOVE,
    "staff_staffmember_user_permissions": ADD_AND_REMOVE,
    # What the pages keep of their own, for some hours.
    "drafts_transfer_draft": EVERYTHING,
    # The event store's own state.
    "eventstore_checkpoint": EVERYTHING,
    "eventstore_idempotency_record": ADD,
    "eventstore_outbox": ADD_AND_REMOVE,
    "eventstore_parked_event": EVERYTHING,
    "eventstore_parked_key": EVERYTHING,
    "eventstore_sequencer": "SELECT, UPDATE",  # one row, which the migration makes
    "eventstore_snapshot": EVERYTHING,  # disposable
    "eventstore_subject_key": ADD_AND_CHANGE,  # an erased person's row stays, with an empty key
}
SEQUENCES = ("accounts_account_number",)
READMODEL_SCHEMAS = ("readmodel", "readmodel_shadow", "readmodel_old")

# Whether a role of that name exists, and whether it is the one that asks.
SELECT_ROLE = "SELECT rolname = CURRENT_USER FROM pg_catalog.pg_roles WHERE rolname = %s"

# The tables of the migrations' schema.
SELECT_TABLES = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public' ORDER BY tablename"

# Which of the named sequences exist.
SELECT_SEQUENCES = """
    SELECT sequencename FROM pg_catalog.pg_sequences WHERE schemaname = 'public' AND sequencename = ANY(%s)
"""

# What was granted earlier, by another version, is taken back. Nobody sees the moment in between: it is one transaction.
REVOKE_EVERYTHING = """
    GRANT USAGE ON SCHEMA public TO {role};
    REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role};
"""

GRANT_ON_TABLE = "GRANT {rights} ON TABLE {table} TO {role}"

# Takes the next number; the sequence cannot be set back.
GRANT_ON_SEQUENCE = "GRANT USAGE ON SEQUENCE {sequence} TO {role}"

# Read models live in schemas that the app role owns, so that it can rebuild and swap their tables.
CREATE_OWNED_SCHEMA = "CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}"

# With a single role there is nobody to hand the schema to.
CREATE_SCHEMA = "CREATE SCHEMA IF NOT EXISTS {schema}"


@contextmanager
def owner_role() -> Iterator[None]:
    """Let the default connection log in as the owner of the database for the time of the block."""
    app_login = {key: connection.settings_dict[key] for key in ("USER", "PASSWORD")}
    connection.close()
    connection.settings_dict.update(settings.DATABASE_OWNER_LOGIN)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(app_login)


def grant_app_role(*, role: str) -> None:
    """Create the schemas of the read models and grant the app role its rights; harmless when repeated.

    Grants nothing when the role does not exist, or when it is the role that asks (and so owns everything).
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SELECT_ROLE, [role])
        found = cursor.fetchone()
        separate = found is not None and not found[0]
        names = {"role": sql.Identifier(role)}
        for schema in READMODEL_SCHEMAS:
            statement = sql.SQL(CREATE_OWNED_SCHEMA if separate else CREATE_SCHEMA)
            cursor.execute(statement.format(schema=sql.Identifier(schema), **names))
        if not separate:
            logger.warning(
                "The app role %s also owns the tables, so only triggers keep it from rewriting history;"
                " give migrations a role of their own with DATABASE_OWNER_URL",
                role,
            )
            return
        cursor.execute(sql.SQL(REVOKE_EVERYTHING).format(**names))
        _grant(cursor, names)


def _grant(cursor: Any, names: Mapping[str, sql.Composable]) -> None:
    cursor.execute(SELECT_TABLES)
    for (table,) in cursor.fetchall():
        if rights := RIGHTS.get(table):
            named = {"rights": sql.SQL(rights), "table": sql.Identifier(table), **names}
            cursor.execute(sql.SQL(GRANT_ON_TABLE).format(**named))
    cursor.execute(SELECT_SEQUENCES, [list(SEQUENCES)])
    for (sequence,) in cursor.fetchall():
        cursor.execute(sql.SQL(GRANT_ON_SEQUENCE).format(sequence=sql.Identifier(sequence), **names))
