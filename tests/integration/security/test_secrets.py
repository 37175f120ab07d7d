"""What must not be written anywhere in the clear: passwords, tokens, and what is personal about customers."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import patch
from uuid import uuid4

import httpx
import psycopg
import pytest
import structlog
from django.db import IntegrityError
from django.test import Client

from config.embedded.credentials import read_credentials
from config.embedded.home import OWNER_ROLE, find_home
from config.logs import logging_settings
from config.staff.roles import Role
from eventstore.subscriptions.parking import describe
from tests.conftest import Database
from tests.daybook_process import ROOT, Daybook
from tests.folders import passing_folder, remove_folder
from tests.integration.counter import API, Counter

MARK: Final = "Zyxwvut"
"""Nothing of ours contains it."""
SECRET: Final = f"{MARK}-secret-passphrase"
ERASE: Final = """
import sys, uuid, django; django.setup()
from eventstore.sealing import erase
assert erase(uuid.UUID(sys.argv[1]))
"""
# Every column of a text in which something could have been left; sealed fields, names to read and hashes are known.
_TEXTS: Final = """
SELECT error FROM eventstore_parked_key UNION ALL SELECT detail::text FROM eventstore_operation
UNION ALL SELECT change_message || object_repr FROM django_admin_log
UNION ALL SELECT username || user_agent || path_info || get_data || post_data FROM axes_accessattempt
UNION ALL SELECT username || user_agent || path_info FROM axes_accesslog
UNION ALL SELECT data::text || metadata::text FROM eventstore_event
UNION ALL SELECT state::text FROM eventstore_snapshot
UNION ALL SELECT answer::text FROM eventstore_idempotency_record
UNION ALL SELECT password FROM staff_staffmember UNION ALL SELECT digest FROM knox_authtoken
UNION ALL SELECT paused_reason FROM eventstore_checkpoint
"""


@pytest.fixture(scope="module")
def daybook() -> Iterator[Daybook]:
    """A whole Daybook, with all that its processes and servers print."""
    folder = passing_folder()
    with Daybook(data_dir=folder, environment={"LOG_LEVEL": "INFO"}).ready() as running:
        yield running
        running.stop()
    remove_folder(folder)


def _run(daybook: Daybook, *arguments: str, said: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=daybook.environment | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        input=said,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _tell_a_story(daybook: Daybook) -> list[str]:
    """Signs in, registers somebody, errs in every way, and erases them; answers with the tokens that were given."""
    _run(daybook, "manage.py", "create_staff", "tilda", "--role", "teller", "--password-stdin", said=f"{SECRET}\n")
    with httpx.Client(base_url=f"http://127.0.0.1:{daybook.port}", timeout=30) as client:

        def post(path: str, body: Any) -> httpx.Response:
            return client.post(f"{API}/{path}", json=body, headers={"Idempotency-Key": str(uuid4())})

        assert post("auth/login", {"username": "tilda", "password": f"{SECRET}-wrong"}).status_code == 401
        assert post("auth/login", {"username": SECRET, "password": "x"}).status_code == 401  # the wrong field
        token = post("auth/login", {"username": "tilda", "password": SECRET}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        person = {"name": f"{MARK} Alice", "email": f"{MARK}@example.com", "phone": "+49 555 0199"}
        customer = post("customers", person).json()["customer_id"]
        for wrong in ({"email": f"{MARK} is none"}, {"phone": MARK}, {MARK: 1}, {"name": f"{MARK}\0"}, MARK):
            assert client.patch(f"{API}/customers/{customer}", json=wrong).status_code == 400
        assert client.patch(f"{API}/customers/{customer}", json={"name": f"{MARK} Bob"}).status_code == 200
        assert client.get(f"{API}/customers", params={"search": MARK}).status_code == 200
        assert client.get("/find", params={"q": MARK}).status_code == 302
        assert client.get(f"{API}/customers", headers={"Authorization": f"Bearer {MARK}"}).status_code == 401
        assert client.get("/log-in", headers={"X-Correlation-ID": MARK, "User-Agent": MARK}).status_code == 200
        assert client.get("/", headers={"Host": f"{MARK}.example"}).status_code == 400
        _run(daybook, "-c", ERASE, customer)
        assert client.get(f"{API}/customers/{customer}").status_code in {200, 404, 410}
    return [token]


def test_a_whole_story_leaves_nothing_of_a_secret_or_a_person(daybook: Daybook) -> None:
    (token,) = _tell_a_story(daybook)
    _run(daybook, "manage.py", "dispatch", "--until-empty")
    home = find_home(data_dir=daybook.data_dir)
    credentials = read_credentials(path=home.credentials_file)
    assert credentials is not None
    url = home.database_url(user=OWNER_ROLE, password=credentials.owner_password)
    with psycopg.connect(url) as owner:
        texts = "\n".join(str(text) for (text,) in owner.execute(_TEXTS).fetchall())
        with pytest.raises(psycopg.Error):
            owner.execute(f"INSERT INTO eventstore_event (event_type) VALUES ('{MARK}')")
    printed = "\n".join(line for line in daybook.lines if "Invalid HTTP_HOST" not in line)
    for hidden in (MARK, token, "555 0199"):
        assert hidden not in printed
        assert hidden not in texts


def test_a_fault_of_ours_is_logged_without_what_was_sent(
    committed_db: Database, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    counter = Counter(Role.TELLER)

    def broken(**asked: Any) -> None:
        raise RuntimeError("out of order")

    with patch("accounts.services.register_customer", broken):
        answered = counter.post("customers", {"name": f"{MARK} Alice"})
    assert answered.status_code == 500
    assert MARK not in answered.content.decode()
    written = caplog.text + capsys.readouterr().err
    assert "out of order" in written
    assert MARK not in written
    assert counter.token not in written


DETAIL: Final = f"duplicate key\nDETAIL:  Key (name)=({MARK}) already exists.\nLINE 1: INSERT … '{MARK}'\n     ^"


def _logged(format_name: str, **said: Any) -> str:
    """What a line of the log looks like, in a format."""
    formatter: Any = logging_settings(format_name=format_name, level="INFO")["formatters"]["daybook"]
    made = structlog.stdlib.ProcessorFormatter(
        processors=formatter["processors"], foreign_pre_chain=formatter["foreign_pre_chain"]
    )
    record = logging.LogRecord("daybook", logging.ERROR, __file__, 1, said["message"], (), said.get("exc_info"))
    return made.format(record)


@pytest.mark.parametrize("format_name", ["console", "json"])
def test_what_the_database_quotes_of_a_row_is_not_logged(format_name: str) -> None:
    error = IntegrityError(DETAIL)
    line = _logged(format_name, message="broken", exc_info=(type(error), error, None))
    assert MARK not in describe(error)
    assert "duplicate key" in line
    assert MARK not in line


FORGED: Final = "x\n2026-11-23T00:00:00Z [info] log_in of=mallory\x1b[2J\r\u2028\u202e"


@pytest.mark.parametrize("format_name", ["console", "json"])
def test_nothing_from_outside_begins_a_line_or_speaks_to_the_terminal(format_name: str) -> None:
    error = ValueError(FORGED)
    written = _logged(format_name, message=FORGED, exc_info=(type(error), error, None))
    assert not re.search(r"^2026-11-23T00:00:00Z", written, re.MULTILINE)
    assert not set(written) & set("\x1b\r\u2028\u202e")


def test_a_request_is_logged_without_its_query_and_with_no_id_of_its_sender_s(
    committed_db: Database, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"X-Correlation-ID": FORGED.replace("\n", "%0a"), "X-Request-ID": MARK, "X-Forwarded-For": "203.0.113.9"}
    answered = Client().get("/customers", {"search": MARK}, headers=headers)
    assert FORGED not in answered.headers["X-Correlation-ID"]
    written = caplog.text + capsys.readouterr().err
    assert "GET /customers" in written
    assert MARK not in written
    assert "203.0.113.9" not in written
