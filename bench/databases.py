"""Servers and databases of a benchmark: embedded, durable as in production, fresh for each run.

`durable_servers` must be entered before Django is set up: it says in the environment where things are.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.fernet import Fernet

from config.environment import MANY
from tests.servers import EmbeddedServers, Servers


@contextmanager
def durable_servers() -> Iterator[Servers]:
    """A Postgres whose commits reach the disk, and a Redis; both end with the block."""
    running = EmbeddedServers(run="bench", durable=True)
    try:
        servers = running.servers
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SECRET_KEY": secrets.token_urlsafe(64),
            "SEALING_KEYS": Fernet.generate_key().decode(),
            "DATABASE_URL": servers.database_url(name=servers.template, login=servers.app),
            "DATABASE_OWNER_URL": servers.database_url(name=servers.template, login=servers.owner),
            "REDIS_URL": servers.redis_url,
            "LOG_LEVEL": "WARNING",
            # Counted as in production, and never too many.
            **dict.fromkeys(("RATE_LIMIT_PROGRAM_READS", "RATE_LIMIT_PROGRAM_WRITES"), str(MANY)),
            **dict.fromkeys(("RATE_LIMIT_PERSON_READS", "RATE_LIMIT_PERSON_WRITES"), str(MANY)),
        }
        yield servers
    finally:
        running.servers.forget_lock()
        running.stop()
