"""The environment, read strictly: a value that cannot be meant stops the start with a line that names its variable.

Invariant: nothing is guessed from a broken value, and no secret is repeated in a message. Imported by settings alone.
"""

import math
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


class Environment(environ.Env):  # type: ignore[misc]  # it has no types
    """The variables; every reader takes what an unset or empty one means, and raises ImproperlyConfigured."""

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
        if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
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
        return path

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
