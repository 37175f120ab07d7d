"""How hard the properties are tried: the same bounded examples every time, or as many as somebody has patience for.

`PROPERTY_EXAMPLES=2000 pytest tests/properties` tries that many random ones. Imported by this package.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

_wanted: Final = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
THOROUGH: Final = bool(_wanted)
"""Whether somebody has patience."""


def examples(usual: int, *, steps: int = 50) -> settings:
    """`usual` examples, the same in every run, unless the environment asks for more; no time limit on any."""
    return settings(
        max_examples=_wanted or usual,
        stateful_step_count=steps,
        derandomize=not _wanted,
        deadline=None,
        database=None,  # nothing is written beside the code; a failure prints how to repeat it
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
