"""The embedded Redis: a broker and cache whose content may be lost at any time.

Invariants: it listens on a private socket alone, asks for a password, and keeps nothing on disk; the truth is in
Postgres. Imported by the supervisor and by the tests' servers.
"""

import os
import signal
import subprocess
import time

import redis

from config import processes
from config.embedded.binaries import Binaries
from config.embedded.credentials import Credentials
from config.embedded.home import Home
from config.embedded.postgres import make_private_dir

STOP_SIGNAL = signal.SIGTERM
START_TIMEOUT_SECONDS = 20.0
NO_ANSWER = f"The embedded Redis did not answer within {START_TIMEOUT_SECONDS:.0f} s; its lines above say why"
LEFTOVER_TIMEOUT_SECONDS = 5.0


class RedisUnusable(Exception):
    """The embedded Redis cannot be started."""


def prepare_redis(*, home: Home, credentials: Credentials) -> None:
    """Write the configuration and clear what a crash left behind. The caller holds the data folder's lock."""
    make_private_dir(home=home, folder=home.socket_dir)
    make_private_dir(home=home, folder=home.redis_dir)
    _stop_leftover(home=home)
    config_file = home.redis_dir / "redis.conf"
    descriptor = os.open(config_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_configuration(home=home, credentials=credentials))
    if home.service_user:
        os.chown(config_file, home.service_user.uid, home.service_user.gid)


def server_command(*, home: Home, binaries: Binaries) -> list[str]:
    """The command that runs the server in the foreground."""
    return [str(binaries.redis_server), str(home.redis_dir / "redis.conf")]


def wait_until_ready(*, home: Home, credentials: Credentials, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers. Raises RedisUnusable when it ends or does not answer in time."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not answers(home=home, credentials=credentials):
        if process.poll() is not None:
            raise RedisUnusable(f"The embedded Redis ended with code {process.returncode}; its lines above say why")
        if time.monotonic() > deadline:
            raise RedisUnusable(NO_ANSWER)
        time.sleep(processes.POLL_SECONDS)


def answers(*, home: Home, credentials: Credentials) -> bool:
    """Whether the server answers now."""
    address = home.redis_url(password=credentials.redis_password)
    try:
        with redis.Redis.from_url(address, socket_timeout=2.0, socket_connect_timeout=2.0) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _configuration(*, home: Home, credentials: Credentials) -> str:
    lines = [
        "port 0",
        f'unixsocket "{home.redis_socket}"',
        "unixsocketperm 700",
        f'pidfile "{home.redis_dir / "redis.pid"}"',
        f'dir "{home.redis_dir}"',
        f"requirepass {credentials.redis_password}",
        "daemonize no",
        'save ""',
        "appendonly no",
        "databases 64",
        "loglevel warning",
        "set-proc-title no",
    ]
    return "\n".join(lines) + "\n"


def _stop_leftover(*, home: Home) -> None:
    """Stop a server of this very folder that a killed start left behind, and clear its socket."""
    try:
        pid = int((home.redis_dir / "redis.pid").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        pid = 0
    if pid and str(home.redis_dir) in processes.command_line(pid=pid):
        for signal_number in (STOP_SIGNAL, signal.SIGKILL):
            try:
                os.kill(pid, signal_number)
            except ProcessLookupError:
                break
            if processes.wait_until(lambda: not processes.is_alive(pid=pid), timeout_seconds=LEFTOVER_TIMEOUT_SECONDS):
                break
    home.redis_socket.unlink(missing_ok=True)
