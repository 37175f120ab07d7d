"""Which tables a statement means: the migrations' own, whatever else the app role may have made of the same name.

Invariant: every connection of Django's looks for names in pg_catalog, then in `public`, where the app role can make
nothing, and last among temporary tables; what is set for the role or in the address is overruled. A read model's
schema comes first only within the transactions that say so (`eventstore.tables.use_schema`).
Connected by `config.apps`. A statement rather than a start-up option: connection poolers refuse those.
"""

from typing import Any

from django.db.backends.signals import connection_created

_SEARCH_PATH = "SET search_path = public, pg_temp"


def pin_search_paths() -> None:
    """Has every connection set its search path as it is opened."""
    connection_created.connect(_pin, dispatch_uid="config.search_path")


def _pin(*, connection: Any, **_: Any) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_SEARCH_PATH)
