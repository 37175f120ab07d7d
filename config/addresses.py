"""Who a request comes from: the address that limits and locks count by, and that the log names.

Invariant: a client cannot choose it. `X-Forwarded-For` counts only as far as proxies of ours wrote it (`PROXIES`);
what stands further left, the client wrote. Imported by `config` alone.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from django.conf import settings

IPV6_SITE_BITS: Final = 64
"""One customer of a network has at least so many addresses: they count as one."""

_WITH_PORT: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?", re.ASCII)


def client_address(request: Any) -> str | None:
    """The address as `spelled` has it; None when nobody knows."""
    given = _before_the_proxies(request) if settings.PROXIES else ""
    return spelled(given) or spelled(request.META.get("REMOTE_ADDR", ""))


def spelled(text: str) -> str | None:
    """An address in its one spelling, an IPv6 address as that of its network; None when it is none."""
    try:
        found: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Network((int(found), IPV6_SITE_BITS), strict=False).network_address)
    return str(found)


def _before_the_proxies(request: Any) -> str:
    """What the outermost proxy of ours saw. Each appends whom it was asked by; fewer entries mean a way past them."""
    chain = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    return _without_port(chain[-settings.PROXIES].strip()) if len(chain) >= settings.PROXIES else ""


def _without_port(text: str) -> str:
    """The address alone: some proxies say the port as well."""
    found = _WITH_PORT.fullmatch(text)
    return (found["v6"] or found["v4"]) if found else text
