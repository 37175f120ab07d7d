"""What the proxies of the fault tests understand of the two protocols: commits, and wake-ups."""

from __future__ import annotations

import asyncio
import errno
import socket
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.kinds import KINDS
from tests.faults.proxies import (
    CommitFault,
    PostgresProxy,
    RedisProxy,
    WakeupFault,
    drop_everything,
    encode,
    is_commit,
    take_commands,
)
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
    proxy.treat([b"LPUSH", b"eventstore", b'{"headers": {"task": "eventstore.sweep"}}'])
    assert proxy.done == {f"wake-ups {how}": 1, f"sweeps {how}": 1}


def test_it_chooses_commits_of_one_role_and_no_more_than_it_is_told() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    proxy = PostgresProxy(upstream=lambda: Path("nowhere"), loop=loop, seed=1)
    assert proxy.choose("web") is None
    proxy.fault = CommitFault(role="web", how="silent", share=1.0, most=2)
    assert proxy.choose("worker") is None
    assert [proxy.choose("web") is not None for _ in range(4)] == [True, True, False, False]


def test_a_peer_that_was_made_silent_is_found_out_by_probes() -> None:
    """As the product finds out, only sooner: nothing that is sent to it is acknowledged any more."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
            client.setsockopt(socket.IPPROTO_TCP, option, 1)
        client.settimeout(30.0)
        peer, _ = server.accept()
        with peer:
            drop_everything(peer)
            with pytest.raises(OSError, match="timed out") as raised:
                client.recv(1)
            assert raised.value.errno == errno.ETIMEDOUT


def test_the_same_seed_plans_the_same_faults_and_each_round_has_every_kind() -> None:
    size = len(KINDS)
    planned = list(islice(plan(seed=7), 3 * size))
    assert planned == list(islice(plan(seed=7), 3 * size))
    assert planned != list(islice(plan(seed=8), 3 * size))
    for round_ in range(3):
        assert {name for name, _ in planned[round_ * size : (round_ + 1) * size]} == KINDS.keys()
