"""One run of Daybook from first check to last stop: what `manage.py up` does, in order.

Invariant: whatever happens after the folder is held, everything that was started is stopped before `run` returns.
Imported by the `up` command.
"""

import http.client
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from django.conf import settings

from config.embedded import binaries, postgres, redis
from config.embedded.credentials import Credentials, CredentialsUnreadable, load_or_create_credentials
from config.embedded.home import Home, find_home
from config.processes import raise_file_limit
from config.up import plan
from config.up.checks import PortTaken, ServerAway, check_surroundings
from config.up.folder import (
    FolderInUse,
    FolderUnusable,
    empty_metrics_dir,
    hold_folder,
    make_data_dir,
    mark,
    stop_leftovers,
    was_used,
)
from config.up.output import Terminal
from config.up.supervisor import Supervisor

READY_SECONDS = 60.0
READY = "ready"
ALL_IN_ORDER = '"status": "ok"'
"""In the answer of a web server that has its broker, too, which it can do without later."""
PROBE_SECONDS = 5.0  # above what the checks behind the answer may take
PROBE_BYTES = 500
DEMO_CUSTOMERS = "12"
DEMO_TRANSFERS = "60"


class CannotStart(Exception):
    """Daybook cannot start."""


def run(*, demo: bool) -> None:
    """Run Daybook until a stop is asked for.

    Raises Stopped when that happened, and CannotStart with one line when it did not come that far.
    """
    data_dir: Path = settings.DAYBOOK_DATA_DIR.absolute()
    terminal = Terminal()
    try:
        if not was_used(data_dir=data_dir):  # a start that is refused leaves a new folder as it was
            check_surroundings()
        make_data_dir(data_dir=data_dir)
        with hold_folder(data_dir=data_dir):
            if stopped := stop_leftovers(data_dir=data_dir):
                terminal.line("up", f"stopped {len(stopped)} processes that an earlier run left behind")
            check_surroundings()
            supervisor = Supervisor(terminal=terminal, cwd=settings.BASE_DIR)
            with _signals_go_to(supervisor):
                try:
                    _serve(supervisor=supervisor, terminal=terminal, data_dir=data_dir, demo=demo)
                finally:
                    terminal.line("up", "stopping")
                    supervisor.stop_all()
                    terminal.line("up", "stopped")
    except (FolderInUse, FolderUnusable, CredentialsUnreadable, binaries.BinariesMissing) as error:
        raise CannotStart(str(error)) from error
    except (PortTaken, ServerAway) as error:
        raise CannotStart(str(error)) from error
    except (postgres.PostgresUnusable, redis.RedisUnusable) as error:
        raise CannotStart(str(error)) from error
    except OSError as error:  # a full disk, say, or a folder that became read-only
        raise CannotStart(f"Daybook cannot start: {error}") from error


def _serve(*, supervisor: Supervisor, terminal: Terminal, data_dir: Path, demo: bool) -> None:
    """Start everything, say where it is, and watch it until a stop is asked for."""
    options = _options(data_dir=data_dir)
    _start_servers(supervisor=supervisor, home=find_home(data_dir=data_dir), terminal=terminal)
    prepare = plan.command_service(options=options, name="setup", arguments=("prepare_database",))
    if supervisor.run_once(prepare) != 0:
        raise CannotStart("The database could not be prepared; the lines of `setup` above say why")
    supervisor.start(plan.web_service(options=options))
    supervisor.start(plan.worker_service(options=options))
    supervisor.start(plan.beat_service(options=options))
    address = plan.displayed_address(public_url=settings.PUBLIC_URL, port=settings.PORT)
    _wait_until_ready(supervisor=supervisor)
    terminal.line("up", f"Daybook is ready at {address}  (API: {address}/api/v1/docs)  Ctrl-C stops it")
    if demo:
        load = ("load_demo", "--if-empty", "--customers", DEMO_CUSTOMERS, "--transfers", DEMO_TRANSFERS)
        supervisor.run_once(plan.command_service(options=options, name="demo", arguments=load))
    while True:
        supervisor.watch()


def _wait_until_ready(*, supervisor: Supervisor) -> None:
    """Wait until every child works and the web server finds all in order. Raises CannotStart, with what is not."""
    answer = "nothing"

    def settled() -> bool:
        nonlocal answer
        if supervisor.hopeless():
            return True
        if supervisor.not_working():
            return False
        answer = _readiness(port=settings.PORT)
        return answer == READY

    in_time = supervisor.wait_for(settled, timeout_seconds=READY_SECONDS)
    if reason := supervisor.hopeless():
        raise CannotStart(f"Daybook cannot start: {reason}")
    if not in_time:
        missing = ", ".join(supervisor.not_working())
        reason = f"{missing} did not get ready" if missing else f"/health/ready answers {answer}"
        raise CannotStart(f"Daybook was not ready within {READY_SECONDS:.0f} s: {reason}; the lines above say why")


def _start_servers(*, supervisor: Supervisor, home: Home, terminal: Terminal) -> None:
    """Start those of the two servers that are ours to start, and wait until they answer."""
    if not (settings.DAYBOOK_EMBEDDED_POSTGRES or settings.DAYBOOK_EMBEDDED_REDIS):
        return
    if home.cluster_dir.exists() and not home.credentials_file.exists():
        raise postgres.PostgresUnusable(
            f"{home.credentials_file} is missing, and the data in {home.cluster_dir} cannot be opened without it:"
            " restore it from a copy"
        )
    credentials = load_or_create_credentials(path=home.credentials_file)
    programs = binaries.find_binaries(home=home)
    if home.service_user and not home.is_reachable:
        terminal.line(
            "up",
            f"the servers run as user {home.service_user.name}, who cannot enter {home.data_dir}:"
            f" their files are in {home.servers_dir}",
        )
    if settings.DAYBOOK_EMBEDDED_POSTGRES:
        postgres.prepare_cluster(home=home, binaries=programs, credentials=credentials)
        argv = postgres.server_command(home=home, binaries=programs)
        service = plan.postgres_service(argv=argv, stop_signal=postgres.STOP_SIGNAL, user=home.service_user)
        supervisor.start(service)
    if settings.DAYBOOK_EMBEDDED_REDIS:
        redis.prepare_redis(home=home, credentials=credentials)
        argv = redis.server_command(home=home, binaries=programs)
        supervisor.start(plan.redis_service(argv=argv, stop_signal=redis.STOP_SIGNAL, user=home.service_user))
    _wait_for_servers(supervisor=supervisor, home=home, credentials=credentials)


def _wait_for_servers(*, supervisor: Supervisor, home: Home, credentials: Credentials) -> None:
    """Wait until those of the servers that we started answer."""

    def postgres_answers() -> bool:
        return postgres.answers(home=home, credentials=credentials)

    def redis_answers() -> bool:
        return redis.answers(home=home, credentials=credentials)

    if settings.DAYBOOK_EMBEDDED_POSTGRES:
        if not supervisor.wait_for(postgres_answers, timeout_seconds=postgres.START_TIMEOUT_SECONDS):
            raise postgres.PostgresUnusable(postgres.NO_ANSWER)
        postgres.ensure_database(home=home, credentials=credentials)
    if settings.DAYBOOK_EMBEDDED_REDIS and not supervisor.wait_for(
        redis_answers, timeout_seconds=redis.START_TIMEOUT_SECONDS
    ):
        raise redis.RedisUnusable(redis.NO_ANSWER)


def _options(*, data_dir: Path) -> plan.Options:
    environment = {
        **os.environ,
        **mark(data_dir=data_dir),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DAYBOOK_DATA_DIR": str(data_dir),
        "PYTHONUNBUFFERED": "1",
        "PROMETHEUS_MULTIPROC_DIR": str(empty_metrics_dir(data_dir=data_dir)),
    }
    return plan.Options(
        port=settings.PORT,
        web_processes=settings.WEB_PROCESSES,
        worker_processes=settings.WORKER_PROCESSES,
        queues=settings.WORKER_QUEUES,
        environment=environment,
        web_connections=plan.connections_for(files=raise_file_limit()),
    )


def _readiness(*, port: int) -> str:
    """What the web server says to /health/ready: READY when all is in order, else the answer in a few words."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/health/ready", headers={"Host": _own_host()})
        answer = connection.getresponse()
        body = answer.read(PROBE_BYTES).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException):
        return "nothing"
    finally:
        connection.close()
    if answer.status == HTTPStatus.OK and ALL_IN_ORDER in body:
        return READY
    if answer.status in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
        return f"{answer.status} {body}"
    return str(answer.status)


def _own_host() -> str:
    """A host that the web server accepts; which ones is the operator's choice."""
    named = [host.removeprefix(".") for host in settings.ALLOWED_HOSTS if host != "*"]
    return named[0] if named else "127.0.0.1"


@contextmanager
def _signals_go_to(supervisor: Supervisor) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal (unless under nohup) ask for an orderly stop."""
    caught = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        caught.remove(signal.SIGHUP)
    before = {number: signal.signal(number, supervisor.request_stop) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
