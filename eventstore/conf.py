"""The event store's settings, from the dictionary `EVENTSTORE` of the Django settings, each with a stated default."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a project may set."""

    WAKE: str | None = None  # dotted path of `f(using: str) -> None`, called after a commit; None: nobody is woken
    SEALING_KEYS: tuple[str, ...] = ()  # Fernet keys that wrap the persons' keys; the first wraps, all unwrap
    LOCK_TIMEOUT_MS: int = 5_000  # how long a command waits for another writer of its stream
    CACHED_STREAMS: int = 20_000  # states that a process keeps, at most
    CONFLICT_ATTEMPTS: int = 5  # how often a transaction is tried when another writer was faster
    MOST_WAITING: int = 8  # requests that may wait for a read model at one time, in one process; each holds a thread
    MOST_DOWNLOADS: int = 4  # whole lists that are being downloaded at one time, in one process; each holds a thread


@lru_cache(maxsize=1)
def store_settings() -> StoreSettings:
    """The settings of this process. Raises ImproperlyConfigured on an unknown or ill-typed key."""
    given: dict[str, Any] = getattr(settings, "EVENTSTORE", {})
    try:
        return msgspec.convert(given, StoreSettings)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"EVENTSTORE: {error}") from error


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "EVENTSTORE":
        store_settings.cache_clear()


setting_changed.connect(_forget)
