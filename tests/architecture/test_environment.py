"""Every variable of `.env.example`, with bad values: a line that names it and no start, or taken by design."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.test_settings import PRODUCTION, ROOT

BAD: Final = (
    *("x", "-1", "-5", "1.5", "1e309", "nan", "inf", "9" * 400, "9" * 5_000, "0x10", "\u0661", "1 2", "true false"),
    *(
        "http://",
        "://",
        "redis://host:x/0",
        "postgresql://",
        "/proc/x",
        "../x",
        "*",
        "a b",
        "https://x/y",
        ",",
        "\udcff",
    ),
)
"""What no variable but a free text can mean."""

TAKEN: Final[dict[str, set[str]]] = {
    # Texts whose owner may choose them as they like.
    **dict.fromkeys(("SECRET_KEY", "METRICS_TOKEN", "STATIC_ROOT"), set(BAD) - {"\udcff"}),
    # A folder of any name, but not where there are no files; too long a name is refused by the system.
    "DAYBOOK_DATA_DIR": set(BAD) - {"\udcff", "/proc/x", "9" * 400, "9" * 5_000},
    "PROMETHEUS_MULTIPROC_DIR": set(BAD),  # the library's own; `up` sets it
    "ALLOWED_HOSTS": {"x", "1.5", "1e309", "nan", "inf", "9" * 400, "9" * 5_000, "0x10", ","},
    "CSRF_TRUSTED_ORIGINS": {","},
    "WORKER_SOFT_SHUTDOWN_SECONDS": {"1.5", "\u0661"},
    "SEALING_KEYS": set(),
}

# Reads the settings anew for each pair that comes in, as `manage.py` does at its start, and tells what came of it.
READ: Final = """
import json, os, runpy, sys
from django.core.exceptions import ImproperlyConfigured
told = []
for variable, value in json.load(sys.stdin):
    os.environ[variable] = value
    try:
        runpy.run_path("config/settings.py")
    except ImproperlyConfigured as error:
        told.append(str(error))
    except BaseException as error:
        told.append(f"{type(error).__name__} is raised: {error}")
    else:
        told.append(None)
    os.environ.pop(variable)
    os.environ.update({name: given for name, given in json.loads(sys.argv[1]).items() if name == variable})
json.dump(told, sys.stdout)
"""


def _variables() -> list[str]:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    return re.findall(r"^#([A-Z_]+)=", example, flags=re.MULTILINE)


def _told(pairs: list[tuple[str, str]]) -> list[str | None]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    found = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(PRODUCTION)],
        cwd=ROOT,
        env={**inherited, **PRODUCTION, "PYTHONPATH": str(ROOT)},
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=True,
    )
    answers: list[str | None] = json.loads(found.stdout)
    return answers


def test_every_variable_with_every_bad_value_is_refused_in_a_line_that_names_it_or_taken_by_design() -> None:
    variables = _variables()
    assert len(variables) > 30
    pairs = [(variable, value) for variable in variables for value in BAD]
    wrong = []
    for (variable, value), told in zip(pairs, _told(pairs), strict=True):
        if value in TAKEN.get(variable, set()):
            good = told is None
        else:
            good = told is not None and told.startswith(variable) and "\n" not in told
        if not good:
            wrong.append((variable, value[:30], told))
    assert not wrong


@pytest.mark.parametrize("variable", ["ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SLOW_TRANSFER_SECONDS"])
def test_an_empty_one_is_an_unset_one(variable: str) -> None:
    assert _told([(variable, ""), (variable, " ")]) == [None, None]


def test_a_bad_value_stops_the_start_itself() -> None:
    for variable, value in (
        ("SLOW_TRANSFER_SECONDS", "x"),
        ("OVERDUE_TRANSFER_SECONDS", "-5"),
        ("ALLOWED_HOSTS", "*"),
        ("CELERY_BROKER_URL", "x"),
        ("DAYBOOK_DATA_DIR", "/proc/x"),
    ):
        found = subprocess.run(
            [sys.executable, "manage.py", "check"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **PRODUCTION, variable: value},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (found.returncode, found.stdout) == (1, "")
        (line,) = found.stderr.strip().splitlines()
        assert line.startswith(f"Daybook cannot start: {variable}")


def test_the_folder_of_the_program_may_hold_the_data() -> None:
    assert _told([("DAYBOOK_DATA_DIR", str(Path(ROOT) / ".daybook"))]) == [None]
