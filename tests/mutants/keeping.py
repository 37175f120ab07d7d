"""Keeps a session's databases as they were, for tests that were killed and left them otherwise."""

from __future__ import annotations

from django.db import connections
from psycopg import sql

from tests.servers import CLONE_DATABASE, SELECT_RUN_DATABASES, Servers


class Kept:
    """Copies of the session's databases, as they were when everything had passed."""

    def __init__(self, servers: Servers) -> None:
        connections.close_all()
        self._servers = servers
        self._names = [name for name in self._all() if name != self._servers.template]
        for name in self._names:
            self._copy(name, f"{name}_kept")

    def drop_others(self) -> None:
        """Drops what tests that did not come to their end have left."""
        kept = {*self._names, *(f"{name}_kept" for name in self._names), self._servers.template}
        for name in self._all():
            if name not in kept:
                self._servers.drop(name=name)

    def restore(self) -> None:
        """Each database as it was, whoever is still connected to it."""
        for name in self._names:
            self._servers.drop(name=name)
            self._copy(f"{name}_kept", name)

    def forget(self) -> None:
        """Drops the copies."""
        for name in self._names:
            self._servers.drop(name=f"{name}_kept")

    def _all(self) -> list[str]:
        with self._servers.maintenance() as connection:
            found = connection.execute(SELECT_RUN_DATABASES, [f"daybook\\_test\\_{self._servers.run}\\_%"]).fetchall()
        return [name for (name,) in found]

    def _copy(self, source: str, target: str) -> None:
        names = {"name": sql.Identifier(target), "template": sql.Identifier(source)}
        with self._servers.maintenance() as connection:
            connection.execute(sql.SQL(CLONE_DATABASE).format(**names))
