"""What the proxies of the fault tests understand of the two protocols: commits, and wake-ups."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.kinds import KINDS
from tests.faults.proxies import RedisProxy, WakeupFault, encode, is_commit, take_commands
from tests.faults.soak import plan


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("message", "commits"),
    [
        (_message(b"Q", b"COMMIT\0"), True),
        (_message(b"Q", b"commit;\0"), True),
        (_message(b"P", b"\0COMMIT\0\0\0"), True),
        (_message(b"Q", b"ROLLBACK\0"), False),
        (_message(b"Q", b"SELECT 'COMMIT'\0"), False),
        (_message(b"P", b"COMMIT\0SELECT 1\0\0\0"), False),
        (_message(b"p", b"COMMIT\0"), False),
    ],
)
def test_it_tells_a_commit_from_anything_else(message: bytes, *, commits: bool) -> None:
    assert is_commit(message) is commits


def test_it_takes_commands_only_when_they_are_there_in_full() -> None:
    sent = encode([b"LPUSH", b"eventstore", b"a\r\nb"]) + encode([b"PING"])
    buffer = bytearray()
    found: list[list[bytes]] = []
    for byte in sent:
        buffer.append(byte)
        found += take_commands(buffer)
    assert found == [[b"LPUSH", b"eventstore", b"a\r\nb"], [b"PING"]]
    assert not buffer


@pytest.mark.parametrize(
    ("how", "instead"),
    [
        ("lost", [b"STRLEN", b"lost-wake-ups"]),
        ("doubled", [b"LPUSH", b"eventstore", b"wake", b"wake"]),
        ("reordered", [b"RPUSH", b"eventstore", b"wake"]),
    ],
)
def test_it_loses_doubles_and_reorders_wake_ups_and_nothing_else(how: str, instead: list[bytes]) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    proxy = RedisProxy(upstream=lambda: Path("nowhere"), loop=loop, seed=1)
    wakeup, other = [b"LPUSH", b"eventstore", b"wake"], [b"LPUSH", b"else", b"wake"]
    assert proxy.treat(wakeup) == wakeup
    proxy.fault = WakeupFault(how=how, share=1.0)
    assert proxy.treat(wakeup) == instead
    assert proxy.treat(other) == other
    assert proxy.done == {f"wake-ups {how}": 1}


def test_the_same_seed_plans_the_same_faults_and_each_round_has_every_kind() -> None:
    size = len(KINDS)
    planned = list(islice(plan(seed=7), 3 * size))
    assert planned == list(islice(plan(seed=7), 3 * size))
    assert planned != list(islice(plan(seed=8), 3 * size))
    for round_ in range(3):
        assert {name for name, _ in planned[round_ * size : (round_ + 1) * size]} == KINDS.keys()
