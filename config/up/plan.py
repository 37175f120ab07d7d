"""What `manage.py up` runs, decided without touching a process: the services, how each is started and stopped.

Invariant: pure; given the same options it gives the same plan. Imported by `config.up`.
"""

import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

from config.embedded.home import ServiceUser
from config.processes import READY_VARIABLE

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
# A service that ran this long before it died starts again with the shortest delay.
STEADY_SECONDS = 10.0
# So many quick deaths in a row mean that it does not start at all, and that its last words are worth repeating.
HOPELESS_FAILURES = 3
READY_LINE = "ready-to-work"
# How many connections a web process keeps open at once, idle ones and streams included; who comes then waits in the
# system's queue. Far more than there are threads and listeners (MOST_LISTENERS), so that neither use them up.
MOST_CONNECTIONS = 4096
FEWEST_CONNECTIONS = 128
# Files that a process has open beside them: the database, Redis, libraries, logs.
OTHER_FILES = 256
# How many may wait for being accepted; the system may have a lower bound of its own (net.core.somaxconn).
BACKLOG = 4096
# A client that has not said in this time what it asks for is cut off, and so is one that stays silent after an answer.
# A little more than the five seconds after which clients give up a connection that they keep.
HEADER_SECONDS = 6
# The longest head of a request, twice the longest header (`config.heads`); a connection may take up so much memory
# before anybody has looked at it.
HEADER_BYTES = 16 * 1024
# Their sum, with a moment for each kill, stays below the ten seconds that a stop may take.
STOP_SECONDS = {"web": 2.5, "workers": 4.0, "servers": 3.0}

# Servers are given nothing of our environment, secrets least of all.
SERVER_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

# What the programs say on every start and stop, and nobody needs to read; anything else is shown.
POSTGRES_CHATTER = re.compile(
    r"LOG:  (starting PostgreSQL|listening on|database system (was shut down at|is ready|is shut down)|shutting down"
    r"|received fast shutdown|aborting any active|background worker .logical replication launcher)"
)
REDIS_CHATTER = re.compile(
    r"# (oO0OoO0OoO0Oo|Redis version=|Configuration loaded|Server initialized|WARNING Memory overcommit"
    r"|WARNING: The TCP backlog|User requested shutdown|Redis is now ready to exit)|signal-handler .* Received SIGTERM"
)
CELERY_CHATTER = re.compile(
    r"^\s*$|worker: (Hitting Ctrl\+C again|Cold shutdown|Warm shutdown)|celery beat v.* is starting"
)
WEB_CHATTER = re.compile(r"\[WARNING\] Configuration allows spawning up to \d+ Python threads")


class Stage(IntEnum):
    """The order of stopping: first who takes requests, then who works them off, last who keeps the data."""

    WEB = 1
    WORK = 2
    SERVERS = 3


@dataclass(frozen=True, kw_only=True)
class Service:
    """One supervised child."""

    name: str
    argv: tuple[str, ...]
    stage: Stage
    stop_seconds: float
    environment: Mapping[str, str]  # all of it
    stop_signal: int = signal.SIGTERM
    user: ServiceUser | None = None
    chatter: re.Pattern[str] | None = None  # lines of every good day, which are not passed on
    ready_line: str | None = None  # what it says once it does its work; None: it is ready when it runs


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the operator chose."""

    port: int
    web_processes: int
    worker_processes: int
    queues: tuple[str, ...]
    environment: Mapping[str, str]  # of every child but the servers
    web_connections: int = MOST_CONNECTIONS  # of each web process


def connections_for(*, files: int) -> int:
    """How many connections a web process may keep that may have so many files open."""
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, files - OTHER_FILES))


def web_service(*, options: Options) -> Service:
    """The web server: pages, API and live updates behind one origin; Django in WEB_THREADS threads (`config.asgi`)."""
    argv = (
        *(sys.executable, "-m", "granian", "config.asgi:application"),
        *("--interface", "asginl", "--host", "127.0.0.1", "--port", str(options.port), "--no-ws", "--http", "1"),
        *("--workers", str(options.web_processes)),
        *("--backlog", str(BACKLOG), "--backpressure", str(options.web_connections)),
        *("--http1-header-read-timeout", str(HEADER_SECONDS * 1000), "--http1-buffer-size", str(HEADER_BYTES)),
        # A request that still runs after that is cut off; its client repeats it under the same key.
        *("--workers-kill-timeout", "2s", "--respawn-failed-workers", "--log-level", "warning"),
    )
    return Service(
        name="web",
        argv=argv,
        stage=Stage.WEB,
        stop_seconds=STOP_SECONDS["web"],
        environment=options.environment,
        chatter=WEB_CHATTER,
    )


def worker_service(*, options: Options) -> Service:
    """The Celery worker: a few processes that drain what the wake-ups point at."""
    # Nobody listens for its heartbeats; and a worker that was stopping with its broker gone hung on sending the last.
    argv = (
        *(sys.executable, "-m", "celery", "--quiet", "-A", "config.celery", "worker", "--pool", "prefork"),
        *("--concurrency", str(options.worker_processes), "--queues", ",".join(options.queues)),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning"),
    )
    return Service(
        name="worker",
        argv=argv,
        stage=Stage.WORK,
        stop_seconds=STOP_SECONDS["workers"],
        # SIGTERM then means: finish what runs within the soft time-out, give the rest back, go.
        environment={
            **options.environment,
            "REMAP_SIGTERM": "SIGQUIT",
            "WORKER_SOFT_SHUTDOWN_SECONDS": str(STOP_SECONDS["workers"] - 1),
            READY_VARIABLE: READY_LINE,
        },
        chatter=CELERY_CHATTER,
        ready_line=READY_LINE,
    )


def beat_service(*, options: Options) -> Service:
    """The clock: sends the regular wake-ups."""
    argv = (
        *(sys.executable, "-m", "celery", "--quiet", "-A", "config.celery", "beat", "--loglevel", "warning"),
        # Everything in its schedule is due within a second, so nothing need be remembered on disk.
        *("--scheduler", "celery.beat:Scheduler", "--pidfile", ""),
    )
    return Service(
        name="beat",
        argv=argv,
        stage=Stage.WORK,
        stop_seconds=STOP_SECONDS["workers"],
        environment={**options.environment, READY_VARIABLE: READY_LINE},
        chatter=CELERY_CHATTER,
        ready_line=READY_LINE,
    )


def command_service(*, options: Options, name: str, arguments: tuple[str, ...]) -> Service:
    """One management command, run to its end."""
    argv = (sys.executable, "manage.py", *arguments)
    return Service(
        name=name,
        argv=argv,
        stage=Stage.WORK,
        stop_seconds=STOP_SECONDS["workers"],
        environment=options.environment,
    )


def postgres_service(*, argv: list[str], stop_signal: int, user: ServiceUser | None) -> Service:
    """The embedded Postgres."""
    return _server(name="postgres", argv=argv, stop_signal=stop_signal, user=user, chatter=POSTGRES_CHATTER)


def redis_service(*, argv: list[str], stop_signal: int, user: ServiceUser | None) -> Service:
    """The embedded Redis."""
    return _server(name="redis", argv=argv, stop_signal=stop_signal, user=user, chatter=REDIS_CHATTER)


def _server(
    *, name: str, argv: list[str], stop_signal: int, user: ServiceUser | None, chatter: re.Pattern[str]
) -> Service:
    return Service(
        name=name,
        argv=tuple(argv),
        stage=Stage.SERVERS,
        stop_seconds=STOP_SECONDS["servers"],
        stop_signal=stop_signal,
        user=user,
        environment=SERVER_ENVIRONMENT,
        chatter=chatter,
    )


def restart_delay_seconds(*, failures: int) -> float:
    """How long to wait before start number `failures` + 1 after as many quick deaths (at least one)."""
    return float(min(FIRST_RESTART_SECONDS * 2 ** min(failures - 1, 10), LONGEST_RESTART_SECONDS))


def failures_after(*, failures: int, ran_seconds: float) -> int:
    """How many quick deaths in a row there are now, after one more death."""
    return 1 if ran_seconds >= STEADY_SECONDS else failures + 1


def describe_death(*, name: str, code: int, failures: int, delay_seconds: float, last_line: str) -> str:
    """What to say about a child that ended by itself; from the third quick death on with its last words."""
    often = f", {failures} times in a row" if failures >= HOPELESS_FAILURES else ""
    words = f" (its last line: {last_line})" if often and last_line else ""
    return f"{name} {describe_exit(code=code)}{often}; it starts again in {delay_seconds:g} s{words}"


def describe_exit(*, code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def displayed_address(*, public_url: str, port: int) -> str:
    """The address to print: where people reach Daybook from here."""
    return public_url if urlsplit(public_url).scheme == "https" else f"http://127.0.0.1:{port}"
