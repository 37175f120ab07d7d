"""Which address is whose, for what stands in front of the views and has only the address to go by.

Invariant: imports nothing of this project, since what refuses a request is imported while Django is being set up.
"""

from __future__ import annotations

from typing import Final

_API: Final = "/api"


def is_by_api(path: str) -> bool:
    """Whether an address is the API's: what is refused there is a problem, and its own throttles count it."""
    return path == _API or path.startswith(f"{_API}/")
