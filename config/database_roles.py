"""What each database role may do: the owner migrates, the app role runs, and neither rewrites history.

Invariant: after every migration the app role may read and write what it needs, and may only read and add to the
tables of `APPEND_ONLY_TABLES`. Imported by the `migrate` command.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

logger = logging.getLogger(__name__)

APPEND_ONLY_TABLES = ("eventstore_event", "eventstore_log", "eventstore_operation", "eventstore_seal")
READ_ONLY_TABLES = ("django_migrations",)
READMODEL_SCHEMAS = ("readmodel", "readmodel_shadow", "readmodel_old")

# Whether a role of that name exists, and whether it is the one that asks.
SELECT_ROLE = "SELECT rolname = CURRENT_USER FROM pg_catalog.pg_roles WHERE rolname = %s"

# Which of the named tables exist in the schema of the migrations.
SELECT_TABLES = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = 'public' AND tablename = ANY(%s)"

# The app role may use every table and sequence of the migrations' schema.
GRANT_EVERYTHING = """
    GRANT USAGE ON SCHEMA public TO {role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
    GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role};
"""

# History is read and added to, never rewritten.
REVOKE_REWRITING = "REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {role}"

# What only the owner changes, the app role reads.
REVOKE_WRITING = "REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {table} FROM {role}"

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
        cursor.execute(sql.SQL(GRANT_EVERYTHING).format(**names))
        for tables, statement_text in ((APPEND_ONLY_TABLES, REVOKE_REWRITING), (READ_ONLY_TABLES, REVOKE_WRITING)):
            cursor.execute(SELECT_TABLES, [list(tables)])
            for (table,) in cursor.fetchall():
                cursor.execute(sql.SQL(statement_text).format(table=sql.Identifier(table), **names))
