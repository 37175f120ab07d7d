"""The environment, read strictly: a value that cannot be meant stops the start with a line that names its variable.

Invariant: nothing is guessed from a broken value, and no secret is repeated in a message. Imported by settings alone.
"""

import math
import os
import re
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import environ
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from redis import ConnectionPool

YES_OR_NO = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
POSTGRES_SCHEMES = ("postgresql", "postgres", "pgsql", "psql")
HIGHEST_PORT = 65535
MANY = 1_000_000
LONGEST_NUMBER = 20  # digits; Python reads no number of thousands of them
BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp", "sqs", "memory")
HOST = re.compile(r"\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")


class Environment(environ.Env):  # type: ignore[misc]  # it has no types
    """The variables; every reader takes what an unset or empty one means, and raises ImproperlyConfigured."""

    def get_value(self, var: str, *arguments: Any, **named: Any) -> Any:
        """What all readers come by."""
        found = super().get_value(var, *arguments, **named)
        if isinstance(found, str) and any("\ud800" <= character <= "\udfff" for character in found):
            raise ImproperlyConfigured(f"{var} is not text in UTF-8")
        return found

    def flag(self, variable: str, *, default: bool) -> bool:
        """True or false."""
        text = self.str(variable, default="").strip().lower()
        if not text:
            return default
        if text not in YES_OR_NO:
            raise ImproperlyConfigured(f"{variable} must be true or false, not {text!r}")
        return YES_OR_NO[text]

    def whole(self, variable: str, *, default: int, least: int = 1, most: int = MANY) -> int:
        """A whole number between two others, both included."""
        text = self.str(variable, default="").strip()
        if not text:
            return default
        is_number = text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER
        if not is_number or not least <= int(text) <= most:
            raise ImproperlyConfigured(f"{variable} must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    def seconds(self, variable: str, *, default: float) -> float:
        """A duration, not negative."""
        text = self.str(variable, default="").strip()
        try:
            found = float(text) if text else default
        except ValueError:
            found = math.nan
        if not 0 <= found < MANY:
            raise ImproperlyConfigured(f"{variable} must be a number of seconds, not {text!r}")
        return found

    def one_of(self, variable: str, *, default: str, choices: Collection[str]) -> str:
        """One of some words."""
        found: str = self.str(variable, default="").strip() or default
        if found not in choices:
            raise ImproperlyConfigured(f"{variable} must be one of {', '.join(choices)}, not {found!r}")
        return found

    def zone(self, variable: str, *, default: str) -> str:
        """The name of a time zone."""
        name: str = self.str(variable, default="") or default
        try:
            ZoneInfo(name)
        except (LookupError, OSError, ValueError) as error:
            raise ImproperlyConfigured(f"{variable} must name a time zone, such as {default}, not {name!r}") from error
        return name

    def folder(self, variable: str, *, default: Path) -> Path:
        """A folder, which need not be there yet; nothing else may stand in its place."""
        path = Path(self.str(variable, default="") or default)
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except FileNotFoundError:
            is_folder = True  # from the first start on
        except OSError as error:
            raise ImproperlyConfigured(f"{variable} cannot be {path}: {error.strerror}") from error
        if not is_folder:
            raise ImproperlyConfigured(f"{variable} must name a folder; {path} is none")
        if not _keeps_files(path):
            raise ImproperlyConfigured(f"{variable} cannot be {path}: nothing can be kept there")
        return path

    def hosts(self, variable: str, *, default: list[str]) -> list[str]:
        """Names of hosts, by which and by no others Daybook is asked."""
        found = [host.strip() for host in self.str(variable, default="").split(",") if host.strip()]
        for host in found:
            if not HOST.fullmatch(host):
                raise ImproperlyConfigured(
                    f"{variable} must name hosts, such as bank.example or .bank.example for all below it, not {host!r};"
                    " with another one anybody could have links made that lead to them"
                )
        return found or default

    def origins(self, variable: str, *, default: list[str]) -> list[str]:
        """Http(s) addresses without a path; a star may stand for what is below a host."""
        found = [origin.strip() for origin in self.str(variable, default="").split(",") if origin.strip()]
        for origin in found:
            scheme, _, host = origin.partition("://")
            name, _, port = host.partition(":") if not host.startswith("[") else (host, "", "")
            if (
                scheme not in {"http", "https"}
                or not HOST.fullmatch(name.removeprefix("*"))
                or port.strip("0123456789")
            ):
                raise ImproperlyConfigured(
                    f"{variable} must list addresses such as https://bank.example, not {origin!r}"
                )
        return found or default

    def broker_url(self, variable: str) -> str:
        """The address of a broker that Celery knows; empty when there is none."""
        address: str = self.str(variable, default="").strip()
        scheme, between, _ = address.partition("://")
        if address and (not between or scheme not in BROKERS):
            raise ImproperlyConfigured(f"{variable} must name a broker: redis://:password@host:6379/0")
        if scheme in {"redis", "rediss"}:
            self.redis_url(variable)
        return address

    def origin(self, variable: str, *, default: str) -> str:
        """An http(s) address without a path, and without a slash at its end."""
        address: str = (self.str(variable, default="") or default).rstrip("/")
        try:
            parts = urlsplit(address)
            is_sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and not parts.path
        except ValueError:
            is_sound = False
        if not is_sound:
            raise ImproperlyConfigured(f"{variable} must be an address such as https://bank.example, not {address!r}")
        return address

    def sealing_keys(self, variable: str) -> list[str]:
        """Keys that wrap keys, the first of them in use; empty when there are none."""
        found = [key.strip() for key in self.list(variable, default=[])]
        for number, key in enumerate(found, start=1):
            try:
                Fernet(key)
            except ValueError as error:
                raise ImproperlyConfigured(
                    f"{variable}: key {number} is none; each is 32 random bytes in URL-safe base64, for example the"
                    " output of `python -c 'from cryptography.fernet import Fernet;"
                    " print(Fernet.generate_key().decode())'`"
                ) from error
        return found

    def postgres_url(self, variable: str) -> str:
        """The address of a PostgreSQL database; empty when there is none."""
        address: str = self.str(variable, default="")
        try:
            parts = urlsplit(address)
            is_sound = parts.scheme in POSTGRES_SCHEMES and parts.port != 0 and len(parts.path) > 1
        except ValueError:
            is_sound = False
        if address and not is_sound:
            raise ImproperlyConfigured(
                f"{variable} must name a database on a PostgreSQL server: postgresql://user:password@host:5432/name"
            )
        return address

    def redis_url(self, variable: str) -> str:
        """The address of a Redis database; empty when there is none."""
        address: str = self.str(variable, default="")
        try:
            pool: Any = ConnectionPool.from_url(address) if address else None
        except ValueError as error:
            raise ImproperlyConfigured(f"{variable} must name a Redis server: redis://:password@host:6379/0") from error
        if pool is not None:
            pool.disconnect()
        return address


def _keeps_files(path: Path) -> bool:
    """Whether the file system on which the folder is, or would be, holds files at all: that of processes does not."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return not hasattr(os, "statvfs") or os.statvfs(path).f_blocks > 0
    except OSError:
        return True  # whoever makes the folder finds out
