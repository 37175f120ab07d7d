"""What is logged can be read, and tells no secret."""

import json
import logging
import logging.config

import pytest

from config.logs import Brief, Refusals, logging_settings


def _format(format_name: str, record: logging.LogRecord) -> str:
    made = logging_settings(format_name=format_name, level="INFO")["formatters"]["daybook"]
    formatter: logging.Formatter = made.pop("()")(**made)
    return formatter.format(record)


def _failure() -> logging.LogRecord:
    password = "not-for-the-log"
    try:
        raise ValueError(len(password))  # noqa: TRY301
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    return logging.LogRecord("daybook", logging.ERROR, __file__, 1, "It failed for %s", ("Alice",), info)


@pytest.mark.parametrize("format_name", ["console", "json"])
def test_it_logs_a_failure_with_its_traceback_and_without_local_variables(format_name: str) -> None:
    line = _format(format_name, _failure())
    assert "It failed for Alice" in line
    assert "ValueError: 15" in line
    assert "not-for-the-log" not in line.replace('password = "not-for-the-log"', "")


def test_it_logs_one_json_object_a_line_for_machines() -> None:
    line = _format("json", _failure())
    found = json.loads(line)
    assert found["event"] == "It failed for Alice"
    assert found["level"] == "error"
    assert "\n" not in line


def test_it_cuts_what_beat_repeats_each_second_to_one_line() -> None:
    record = _failure()
    record.msg, record.args = "Message Error: %s\n%s", ("refused", ["a", "page"])
    assert Brief().filter(record)
    assert _format("console", record).count("\n") == 0
    assert "Message Error: refused" in record.getMessage()


@pytest.mark.parametrize(
    ("name", "level", "lines"), [("django.security.DisallowedHost", "warning", 1), ("django", "error", 6)]
)
def test_it_makes_one_line_and_no_error_of_what_was_refused(name: str, level: str, lines: int) -> None:
    record = _failure()
    record.name = name
    assert Refusals().filter(record)
    written = _format("console", record)
    assert f"[{level}" in written
    assert len(written.splitlines()) == lines


def test_it_passes_on_what_beat_repeats_once_a_minute() -> None:
    now = [0.0]
    brief = Brief(now=lambda: now[0])
    assert brief.filter(_failure())
    now[0] = 59.0
    assert not brief.filter(_failure())
    other = _failure()
    other.msg, other.args = "Something else", ()
    assert brief.filter(other)
    now[0] = 60.0
    assert brief.filter(_failure())
    for number in range(1_000):
        other.msg = f"line {number}"
        assert brief.filter(other)
