"""The settings fail loudly, and what a deployment gets is what Django's own checks ask for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.environment import Environment

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "DATABASE_URL": "postgresql://daybook_app:secret@db.example/daybook",
    "DATABASE_OWNER_URL": "postgresql://daybook_owner:secret@db.example/daybook",
    "REDIS_URL": "redis://:secret@redis.example:6379/0",
    "SECRET_KEY": "Jm0hqkYt7X2r9bPzLw4sVc8nEo1uGd5aKf6iTj3xMv_RQyWHBNUSIDZO-lpgeACF",
    "SEALING_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "PUBLIC_URL": "https://bank.example",
    "PROXIES": "1",
}


# How the settings read a variable.
READERS = {
    *(name for name, reader in vars(Environment).items() if callable(reader) and not name.startswith("_")),
    *("str", "int", "bool", "float", "list"),
}


def _manage(*arguments: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_production_environment_passes_django_s_deployment_checks() -> None:
    found = _manage("check", "--deploy", "--fail-level", "WARNING", environment=PRODUCTION)
    assert found.returncode == 0, found.stderr
    assert "no issues" in found.stdout


def test_a_proxy_that_was_not_told_of_is_warned_of() -> None:
    found = _manage("check", environment={**PRODUCTION, "PROXIES": "0"})
    assert "config.W001" in found.stderr
    assert "Set PROXIES to how many proxies there are" in found.stderr


@pytest.mark.parametrize("missing", ["SECRET_KEY", "SEALING_KEYS"])
def test_a_missing_secret_stops_the_start_with_one_line_that_names_it(missing: str) -> None:
    environment = {name: value for name, value in PRODUCTION.items() if name != missing}
    found = _manage("check", environment=environment)
    assert found.returncode == 1
    assert found.stdout == ""
    (line,) = found.stderr.strip().splitlines()
    assert line.startswith(f"Daybook cannot start: {missing} is not set")
    assert "python -c" in line  # how to make one


def test_a_database_that_is_not_postgres_is_refused() -> None:
    found = _manage("check", environment={**PRODUCTION, "DATABASE_URL": "sqlite:////tmp/bank.db"})
    assert found.returncode == 1
    assert "DATABASE_URL must name a database on a PostgreSQL server" in found.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *(("PORT", value) for value in ("abc", "70000", "0", "-1", "8_000", "٨٠٠٠", "80.0")),
        *(("DATABASE_URL", value) for value in ("nonsense", "postgresql://", "postgresql://host", "mysql://host/name")),
        *(("DATABASE_URL", value) for value in ("postgresql://u:p@host:abc/name", "postgresql://u:p@[::1/name")),
        ("DATABASE_OWNER_URL", "nonsense"),
        *(("REDIS_URL", value) for value in ("nonsense", "http://host", "redis://host:abc/0", "unix:///x?db=first")),
        *(("PUBLIC_URL", value) for value in ("bank.example", "ftp://bank.example", "https://", "https://host/path")),
        *((name, value) for name in ("WEB_PROCESSES", "WEB_THREADS", "WORKER_PROCESSES") for value in ("0", "two")),
        *((name, value) for name in ("TOKEN_HOURS", "API_KEY_DAYS") for value in ("0", "-1", "1.5", "9" * 20)),
        *(("WORKER_SOFT_SHUTDOWN_SECONDS", value) for value in ("-1", "soon", "nan", "inf")),
        *(("SEALING_KEYS", value) for value in ("short", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=,short")),
        ("BANK_TIME_ZONE", "Europe/Atlantis"),
        ("BANK_TIME_ZONE", "../../etc/passwd"),
        ("DEBUG", "perhaps"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_that_cannot_be_meant_stops_the_start_with_one_line_that_names_the_variable(
    variable: str, value: str
) -> None:
    found = _manage("check", environment={**PRODUCTION, variable: value})
    assert found.returncode == 1
    assert found.stdout == ""
    (line,) = found.stderr.strip().splitlines()
    assert line.startswith(f"Daybook cannot start: {variable}")


def test_a_secret_that_is_wrong_is_not_repeated() -> None:
    for variable, value in (("SEALING_KEYS", "hush"), ("DATABASE_URL", "postgresql://u:hush@host:abc/name")):
        assert "hush" not in _manage("check", environment={**PRODUCTION, variable: value}).stderr


def test_an_empty_variable_counts_as_unset() -> None:
    empty = dict.fromkeys(("PORT", "DEBUG", "LOG_LEVEL", "BANK_TIME_ZONE", "TOKEN_HOURS", "DAYBOOK_DATA_DIR"), "")
    found = _manage("check", environment={**PRODUCTION, **empty})
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(
    ("place", "why"),
    [("file", "must name a folder"), ("file/deeper", "Not a directory"), ("x" * 300, "File name too long")],
)
def test_a_data_folder_that_cannot_be_one_is_told_in_one_line(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "file").write_text("something else")
    found = _manage("check", environment={"DAYBOOK_DATA_DIR": str(tmp_path / place)})
    assert found.returncode == 1
    (line,) = found.stderr.strip().splitlines()
    assert line.startswith("Daybook cannot start: DAYBOOK_DATA_DIR")
    assert why in line


def test_a_command_without_the_embedded_servers_says_how_to_start_them(tmp_path: Path) -> None:
    found = _manage("showmigrations", environment={"DAYBOOK_DATA_DIR": str(tmp_path)})
    assert found.returncode == 1
    assert found.stderr.strip().endswith("Start it with `make run`, then repeat this command.")


def test_reading_the_settings_leaves_nothing_behind(tmp_path: Path) -> None:
    _manage("check", environment={"DAYBOOK_DATA_DIR": str(tmp_path / "data")})
    assert list(tmp_path.iterdir()) == []


def test_the_example_lists_every_variable_that_the_settings_read() -> None:
    settings = (ROOT / "config" / "settings.py").read_text(encoding="utf-8")
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    read = {part.partition('"')[0] for kind in READERS for part in settings.split(f'env.{kind}("')[1:]}
    assert {name for name in read if f"#{name}=" not in example} == set()
