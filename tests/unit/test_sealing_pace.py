"""When a dispatcher looks for something to seal, and when there is something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from eventstore.seals import sealer
from eventstore.seals.hashing import MOST_ENTRIES
from eventstore.seals.sealer import LOOK_SECONDS, Backlog, LogIncomplete, Pace


def test_it_looks_once_in_a_while_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace()
    looked = []
    for seconds in (0.0, LOOK_SECONDS / 2, LOOK_SECONDS, LOOK_SECONDS, LOOK_SECONDS * 1.5, LOOK_SECONDS * 2):
        now[0] = 100.0 + seconds
        looked.append(pace.is_up())
    assert looked == [False, False, True, False, False, True]


@pytest.mark.parametrize(
    ("entries", "seconds", "is_due"),
    [
        (0, 99.0, False),
        (1, 0.0, False),
        (1, 4.9, False),
        (1, 5.0, True),
        (1, -1.0, True),  # the clock was set back
        (1, None, True),  # its entry is gone, which is said by trying
        (MOST_ENTRIES - 1, 0.0, False),
        (MOST_ENTRIES, 0.0, True),
    ],
)
def test_what_is_old_or_fills_a_seal_is_due(entries: int, seconds: float | None, is_due: bool) -> None:
    waiting = Backlog(
        sealed_to=7, last_hash=None, entries=entries, waiting_seconds=seconds, now=datetime.now(UTC), now_sent=b""
    )
    assert waiting.is_due(age_seconds=5.0) is is_due


def test_a_log_without_a_head_is_not_sealed() -> None:
    class Cursor:
        def execute(self, _statement: Any) -> None:
            """Finds nothing."""

        def fetchone(self) -> None:
            """Nothing."""

    with pytest.raises(LogIncomplete, match="no head"):
        sealer._backlog(Cursor())
