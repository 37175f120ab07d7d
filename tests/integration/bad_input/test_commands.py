"""Every argument of every command of ours, with every class of bad value: one line, no traceback, nothing written."""

from __future__ import annotations

import argparse
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandError, OutputWrapper

from tests.integration.bad_input import values
from tests.integration.bad_input.api import Bank
from tests.integration.bad_input.written import nothing_is_written

_OURS = ("config", "config.staff", "eventstore", "views_readmodel", "accounts", "transfers")
# They run for good, or make and change the database itself, and take no value but a yes or a no.
_NOT_RUN = {"up", "migrate", "prepare_database"}
_DJANGO = {
    "help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks",
}  # fmt: skip

_BAD_NUMBERS = (
    "", " ", "x", "-1", "+1", " 1", "1.5", "1e3", "1_0", "NaN", values.ARABIC_DIGITS, values.WIDE_DIGITS, "\u00b2",
    "0x1", "9" * 5_000,
)  # fmt: skip
# No argument of a program holds a NUL: the system ends it there.
_BAD_TEXTS = (
    "", " ", "a\nb", "\u202ex", "x" * 100_000, "'; DROP TABLE x --", "../../etc/passwd", "\x1b[31m",
)  # fmt: skip


def _commands() -> list[str]:
    return sorted(name for name, application in get_commands().items() if application in _OURS and name not in _NOT_RUN)


def _arguments(name: str) -> list[argparse.Action]:
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    return [action for action in parser._actions if action.dest not in _DJANGO and action.nargs != 0]


@pytest.mark.parametrize("name", _commands())
def test_a_bad_argument_is_refused_in_a_line_and_writes_nothing(
    name: str, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO())
    required = _required(name)
    wrong: list[tuple[str, str, str | None]] = []
    for argument in _arguments(name):
        numbers = argument.type is not None
        with nothing_is_written():
            for value in _BAD_NUMBERS if numbers else _BAD_TEXTS:
                given = [value] if not argument.option_strings else [f"{argument.option_strings[-1]}={value}"]
                others = [part for dest, parts in required.items() if dest != argument.dest for part in parts]
                refused = _refusal(name, [*others, *given])
                if refused is None and value == "" and (name, argument.dest) in _NONE_WHEN_EMPTY:
                    continue
                # Beside what was typed, the reason is one line.
                is_line = refused is not None and (refused.replace(value, "") if value else refused).isprintable()
                if not is_line:
                    wrong.append((argument.dest, value[:60], refused and refused[:300]))
    assert not wrong, sorted({(name, dest) for dest, *_ in wrong})


def test_an_argument_that_is_no_text_is_refused_before_anything_else() -> None:
    refused = subprocess.run(
        [sys.executable, "manage.py", "unlock", b"\xff"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (refused.returncode, refused.stderr) == (1, "An argument is not text in UTF-8.\n")


# What each command needs beside the argument that is bad, so that it comes as far as that.
_NEEDED: dict[str, dict[str, list[str]]] = {
    "create_staff": {"role": ["--role=teller"], "password": ["--password-stdin"]},
    "create_api_key": {"role": ["--role=service"]},
    "dispatch": {"until": ["--until-empty"]},
    "replay_projections": {"dry": ["--dry-run"]},
}


# Options that may be left out, and are when they are empty.
_NONE_WHEN_EMPTY = {
    ("events", "actor"),
    ("events", "reason"),
    ("parked", "actor"),
    ("parked", "reason"),
    ("parked", "subscription"),
    ("subscriptions", "actor"),
    ("subscriptions", "reason"),
}


def _required(name: str) -> dict[str, list[str]]:
    return _NEEDED.get(name, {})


def _refusal(name: str, arguments: list[str]) -> str | None:
    """The one line with which it was refused, or None when it was not."""
    command = load_command_class(get_commands()[name], name)
    command.stdout, command.stderr = OutputWrapper(StringIO()), OutputWrapper(StringIO())
    parser = command.create_parser("manage.py", name)
    try:
        options: dict[str, Any] = vars(parser.parse_args(arguments))
    except CommandError as error:  # what argparse refuses, too
        return str(error)
    try:
        command.handle(*options.pop("args", ()), **options)
    except CommandError as error:
        return str(error)
    except SystemExit as ended:
        return str(ended) if ended.code else None
    return None
