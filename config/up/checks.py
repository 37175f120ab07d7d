"""What must be so around Daybook before it starts: a free port, and servers of one's own that answer.

Invariant: nothing is written and nothing started, so that a start that is refused here leaves nothing behind.
Imported by `config.up`.
"""

import errno
import socket

import redis
from django.conf import settings
from django.db import Error, connection

REDIS_TIMEOUT_SECONDS = 3.0


class PortTaken(Exception):
    """The port cannot be listened on."""


class ServerAway(Exception):
    """A server that an address names does not answer, or does not let us in."""


def check_surroundings() -> None:
    """Raises PortTaken or ServerAway, with one line that says what is wrong."""
    check_port(port=settings.PORT)
    if not settings.DAYBOOK_EMBEDDED_POSTGRES:
        _check_database()
    if not settings.DAYBOOK_EMBEDDED_REDIS:
        _check_redis()


def check_port(*, port: int) -> None:
    """Raises PortTaken when nobody, or only somebody with more rights, may listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web server does: a closed port is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EACCES:
                raise PortTaken(f"Port {port} is not yours to use; choose another, above 1023, with PORT") from error
            other = port + 1 if port < 65535 else port - 1
            raise PortTaken(
                f"Port {port} is taken ({error.strerror}); stop who uses it, or choose another with PORT={other}"
            ) from error


def _check_database() -> None:
    try:
        connection.ensure_connection()
    except Error as error:
        raise ServerAway(f"The database of DATABASE_URL does not answer: {_first_line(error)}") from error
    finally:
        connection.close()


def _check_redis() -> None:
    address = settings.REDIS_URL
    patience = {"socket_timeout": REDIS_TIMEOUT_SECONDS, "socket_connect_timeout": REDIS_TIMEOUT_SECONDS}
    try:
        with redis.Redis.from_url(address, **patience) as client:
            client.ping()
    except redis.RedisError as error:
        raise ServerAway(f"The Redis of REDIS_URL does not answer: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
