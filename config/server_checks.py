"""Whether a PostgreSQL server is fit to keep the books: asked each time a database is prepared.

Invariant: what would lose or spoil history stops the preparation; what only makes a loss possible, or Daybook slow, is
said and left to whoever runs the server. Imported by the `prepare_database` command.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.db import connection

OLDEST = 15
NEWEST = 18
CONNECTIONS_OF_LIVE_UPDATES = 3  # of each web process, while pages are open
CONNECTIONS_BESIDE = 5  # commands, migrations, whoever looks

# How the server, the database and the role that asks are set up. A role may have settings of its own.
SELECT_SETTINGS = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)"
ASKED = (
    "default_transaction_isolation",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "idle_in_transaction_session_timeout",
    "in_hot_standby",
    "max_connections",
    "server_encoding",
    "server_version_num",
    "synchronous_commit",
)

# Whether the database's locale knows letters beside those of English.
SELECT_KNOWS_LETTERS = "SELECT lower('Ä') = 'ä'"


class ServerUnfit(Exception):
    """The server cannot keep the books."""


def check_server() -> list[str]:
    """Ask the server of the default connection; return warnings, each a line. Raises ServerUnfit with one line."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_SETTINGS, [list(ASKED)])
        found = dict(cursor.fetchall())
        for fault in faults(found):
            raise ServerUnfit(fault)
        cursor.execute(SELECT_KNOWS_LETTERS)
        return list(warnings(found, knows_letters=_only(cursor.fetchone())))


def faults(found: Mapping[str, str]) -> Iterator[str]:
    """What makes the server unfit, by its settings."""
    version = int(found["server_version_num"]) // 10_000
    if version < OLDEST:
        yield f"The server is PostgreSQL {version}, and Daybook needs {OLDEST} or newer"
    if found["server_encoding"] != "UTF8":
        yield (
            f"The database's encoding is {found['server_encoding']}, in which not every name can be written:"
            " make it anew with ENCODING 'UTF8', as deploy/roles.sql does"
        )
    if found.get("in_hot_standby") == "on" or found["default_transaction_read_only"] == "on":
        yield "The database can only be read: DATABASE_URL must name the primary, and a role that may write"
    if found["default_transaction_isolation"] != "read committed":
        yield (
            f"The default of transactions is {found['default_transaction_isolation']}, and Daybook's locks count on"
            " read committed: unset default_transaction_isolation for the database and the role"
        )


def warnings(found: Mapping[str, str], *, knows_letters: bool) -> Iterator[str]:
    """What whoever runs the server should know, by its settings."""
    version = int(found["server_version_num"]) // 10_000
    if version > NEWEST:
        yield f"The server is PostgreSQL {version}; Daybook has been tried with {OLDEST} to {NEWEST}"
    for setting in ("fsync", "full_page_writes"):
        if found[setting] == "off":
            yield f"{setting} is off: when the server's machine fails, all of the database may be lost"
    if found["synchronous_commit"] == "off":
        yield "synchronous_commit is off: when the server fails, what was confirmed in its last moments may be lost"
    if found["idle_in_transaction_session_timeout"] == "0":
        yield (
            "A session that is left in the middle of a transaction keeps its locks for good, and others wait: give the"
            " role an idle_in_transaction_session_timeout, as deploy/roles.sql does"
        )
    if not knows_letters:
        yield (
            "The database's locale knows no letters but the English ones, and search will not find other names well:"
            " make it anew with a UTF-8 locale, such as C.UTF-8"
        )
    wanted = connections_wanted()
    if wanted > int(found["max_connections"]):
        yield f"Daybook may open {wanted} connections, and the server takes {found['max_connections']}"


def connections_wanted() -> int:
    """How many connections the processes of one `up` may hold at once."""
    web = settings.WEB_PROCESSES * (settings.WEB_THREADS + CONNECTIONS_OF_LIVE_UPDATES)
    return int(web + settings.WORKER_PROCESSES + CONNECTIONS_BESIDE)


def _only(row: tuple[Any, ...] | None) -> bool:
    return bool(row and row[0])
