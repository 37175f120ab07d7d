"""The parts of the store's core: the modules that hold decisions, and the tests that are to miss a change of them."""

from __future__ import annotations

from typing import Final, NamedTuple

INTEGRATION: Final = "tests/integration/test_"
_STORE: Final = tuple(
    f"{INTEGRATION}eventstore_{name}.py" for name in ("append", "loading", "concurrency", "idempotency")
)
_SUBSCRIPTIONS: Final = tuple(
    f"{INTEGRATION}eventstore_{name}.py"
    for name in ("subscriptions", "attempts", "waiting", "parking", "deadlines", "dispatch")
)


TOO_SLOW: Final = (f"{INTEGRATION}replay.py::test_it_holds_no_more_in_memory_for_a_longer_log",)
"""Left out: what it looks at is none of what a mutant changes."""


class Part(NamedTuple):
    """A module, and the files of tests that are run against its mutants."""

    name: str
    file: str
    tests: tuple[str, ...]


PARTS: Final = (
    Part(
        "appending",
        "eventstore/appending.py",
        (*_STORE, f"{INTEGRATION}eventstore_waiting.py", f"{INTEGRATION}eventstore_sealing.py"),
    ),
    Part("loading", "eventstore/loading.py", _STORE),
    Part("snapshots", "eventstore/snapshots.py", _STORE),
    Part("store", "eventstore/store.py", _STORE),
    Part("parking", "eventstore/subscriptions/parking.py", _SUBSCRIPTIONS),
    Part("runner", "eventstore/subscriptions/runner.py", _SUBSCRIPTIONS),
    Part("handling", "eventstore/subscriptions/handling.py", _SUBSCRIPTIONS),
    Part("replay", "eventstore/replay.py", (f"{INTEGRATION}replay.py", f"{INTEGRATION}replay_command.py")),
    Part("shadow", "eventstore/shadow.py", (f"{INTEGRATION}replay.py", f"{INTEGRATION}replay_command.py")),
    Part("dispatch", "eventstore/dispatch.py", _SUBSCRIPTIONS),
    Part(
        "operations",
        "eventstore/operations.py",
        tuple(f"{INTEGRATION}{name}.py" for name in ("commands_eventstore", "admin_operations", "transfers_parked")),
    ),
)
