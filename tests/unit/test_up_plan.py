"""What `manage.py up` plans, without a process."""

import io
import os
import re
import shlex
from collections.abc import Sequence

import pytest

from config.up import plan
from config.up.output import LineReader, Terminal
from tests.daybook_process import ROOT
from views_readmodel.live.stream import MOST_LISTENERS

DEFAULT_OPTIONS = {"--pool", "--log-level", "--loglevel"}  # which are fine as they are
OF_THE_HOST = {"--host", "--port", "--workers-kill-timeout"}  # others there than beneath `up`
OPTIONS = plan.Options(
    port=8123,
    web_processes=1,
    worker_processes=2,
    queues=("eventstore",),
    environment={"SECRET_KEY": "hidden"},
)


def test_it_waits_longer_after_each_quick_death_and_never_too_long() -> None:
    delays = [plan.restart_delay_seconds(failures=failures) for failures in range(1, 12)]
    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays == sorted(delays)
    assert delays[-1] == plan.LONGEST_RESTART_SECONDS


def test_it_forgets_quick_deaths_after_a_steady_run() -> None:
    assert plan.failures_after(failures=7, ran_seconds=plan.STEADY_SECONDS) == 1
    assert plan.failures_after(failures=7, ran_seconds=0.1) == 8


def test_it_stops_within_ten_seconds_even_if_every_stage_takes_all_its_time() -> None:
    assert sum(plan.STOP_SECONDS.values()) < 10
    assert list(plan.Stage) == [plan.Stage.WEB, plan.Stage.WORK, plan.Stage.SERVERS]


@pytest.mark.parametrize(
    ("code", "words"), [(0, "ended with code 0"), (-9, "was killed by SIGKILL"), (-99, "was killed by signal 99")]
)
def test_it_tells_an_exit_in_words(code: int, words: str) -> None:
    assert plan.describe_exit(code=code) == words


def test_it_gives_servers_none_of_its_secrets() -> None:
    for service in (
        plan.postgres_service(argv=["postgres"], stop_signal=2, user=None),
        plan.redis_service(argv=["redis-server"], stop_signal=15, user=None),
    ):
        assert "SECRET_KEY" not in service.environment
        assert service.stage == plan.Stage.SERVERS


def _options(argv: Sequence[str]) -> dict[str, str]:
    """Each option with what follows it, "" where another option does."""
    after = [*argv[1:], "--"]
    return {
        part: "" if value.startswith("--") else value
        for part, value in zip(argv, after, strict=True)
        if part.startswith("--")
    }


def test_the_commands_for_several_hosts_are_documented_with_the_same_options() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").replace("\\\n", " ")
    for service, program in (
        (plan.web_service(options=OPTIONS), "-m granian "),
        (plan.worker_service(options=OPTIONS), " worker "),
        (plan.beat_service(options=OPTIONS), " beat "),
    ):
        (command,) = [line for line in text.splitlines() if ".venv/bin/python -m " in line and program in line]
        ours, documented = _options(service.argv), _options(shlex.split(command))
        assert {*ours} - {*documented} <= DEFAULT_OPTIONS, service.name
        for name in {*ours} & {*documented} - OF_THE_HOST:
            assert documented[name] == ours[name], name


def test_it_puts_no_secret_into_a_command_line() -> None:
    for service in (
        plan.web_service(options=OPTIONS),
        plan.worker_service(options=OPTIONS),
        plan.beat_service(options=OPTIONS),
    ):
        assert not any("hidden" in part for part in service.argv)
        assert service.environment["SECRET_KEY"] == "hidden"


@pytest.mark.parametrize(
    ("public_url", "address"),
    [("https://bank.example", "https://bank.example"), ("http://127.0.0.1:8000", "http://127.0.0.1:8123")],
)
def test_it_prints_the_address_that_a_person_can_use(public_url: str, address: str) -> None:
    assert plan.displayed_address(public_url=public_url, port=8123) == address


def _read(written: bytes, *, chatter: re.Pattern[str] | None = None) -> str:
    reading, writing = os.pipe()
    stream = io.StringIO()
    reader = LineReader(name="web", descriptor=reading, terminal=Terminal(stream=stream), chatter=chatter)
    os.write(writing, written)
    assert reader.read()
    os.close(writing)
    assert not reader.read()
    os.close(reading)
    return stream.getvalue()


def test_the_web_server_takes_far_more_connections_than_there_are_threads_and_listeners() -> None:
    argv = plan.web_service(options=OPTIONS).argv
    given = {name: int(argv[argv.index(name) + 1]) for name in ("--backlog", "--backpressure")}
    assert given == {"--backlog": plan.BACKLOG, "--backpressure": plan.MOST_CONNECTIONS}
    assert MOST_LISTENERS * 3 < plan.MOST_CONNECTIONS
    assert int(argv[argv.index("--http1-header-read-timeout") + 1]) <= 6_000
    assert int(argv[argv.index("--http1-buffer-size") + 1]) * plan.MOST_CONNECTIONS <= 256 * 1024 * 1024


def test_no_more_connections_are_taken_than_files_may_be_open() -> None:
    assert plan.connections_for(files=1_000_000) == plan.MOST_CONNECTIONS
    assert plan.connections_for(files=1024) == 1024 - plan.OTHER_FILES
    assert plan.connections_for(files=200) == plan.FEWEST_CONNECTIONS


def test_it_prefixes_each_whole_line_and_keeps_a_last_one_without_an_end() -> None:
    assert _read("first\nsecond ü\r\nlast".encode()) == "web      | first\nweb      | second ü\nweb      | last\n"


def test_it_leaves_out_what_every_good_day_says_and_nothing_else() -> None:
    said = b"LOG:  starting PostgreSQL 18.4\nLOG:  server process (PID 7) was terminated by signal 9\n"
    shown = _read(said, chatter=plan.POSTGRES_CHATTER)
    assert shown == "web      | LOG:  server process (PID 7) was terminated by signal 9\n"


def test_it_notes_that_nobody_reads_any_more() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream=stream)
    stream.close()
    terminal.line("up", "to nobody")
    assert terminal.is_closed
