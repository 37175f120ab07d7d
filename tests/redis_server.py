"""A Redis of one test's own, that may be killed, frozen and started again. Imported by tests and benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Final

import redis

from config import processes
from config.embedded.binaries import find_binaries
from config.embedded.home import find_home

PASSWORD: Final = "only-for-tests"
START_SECONDS: Final = 30.0


class RedisServer:
    """A private Redis on a socket in a folder."""

    def __init__(self, folder: Path) -> None:
        self._program = find_binaries(home=find_home(data_dir=folder)).redis_server
        self._socket = folder / "redis.sock"
        self.url = f"unix://:{PASSWORD}@{self._socket}"
        self._process: subprocess.Popen[bytes]
        self.start()

    def start(self) -> None:
        """Starts it, empty, and waits until it answers."""
        command = [str(self._program), "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        self._process = subprocess.Popen([*command, "--requirepass", PASSWORD], stdout=subprocess.DEVNULL)
        assert processes.wait_until(self._answers, timeout_seconds=START_SECONDS)

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1.0) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue."""
        with redis.Redis.from_url(self.url) as client:
            return int(client.llen(queue))

    def has_consumer(self) -> bool:
        """Whether somebody waits for messages."""
        with redis.Redis.from_url(self.url) as client:
            return any(one["cmd"] == "brpop" for one in client.client_list())

    def freeze(self) -> None:
        """It takes connections and says nothing."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, and refuses connections."""
        self._process.kill()
        self._process.wait()
