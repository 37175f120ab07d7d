"""What `manage.py check` says about the settings beside Django's own checks. Registered by `apps`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks


def check_proxies(**_: Any) -> list[checks.CheckMessage]:
    """Whether addresses are told apart: where people come by https, a proxy stands in front."""
    if not settings.HTTPS or settings.PROXIES:
        return []
    told = (
        "PUBLIC_URL is https, so a proxy stands in front, and PROXIES is 0: everybody has the proxy's address, and"
        " shares its limits on log-ins and requests."
    )
    return [checks.Warning(told, hint="Set PROXIES to how many proxies there are, 1 for most.", id="config.W001")]
