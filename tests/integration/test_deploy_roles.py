"""`deploy/roles.sql` makes on any server what the embedded one has: an owner that migrates, an app role that runs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from config.embedded import binaries
from config.embedded.credentials import read_credentials
from config.embedded.home import find_home
from config.embedded.postgres import SUPERUSER
from tests.conftest import Database
from tests.daybook_process import ROOT
from tests.servers import DROP_DATABASE, Login, Servers

SCRIPT = ROOT / "deploy" / "roles.sql"
OWNER = Login(user="made_owner", password="the owner's, with a quote")
APP = Login(user="made_app", password="the app's, with a quote")


@pytest.fixture
def superuser(servers: Servers) -> Login:
    """The superuser's login; skips the test on servers elsewhere, whose superuser is not ours."""
    credentials = read_credentials(path=Path(servers.host).parent / "credentials.json")
    if credentials is None:
        pytest.skip("only the embedded server's superuser is known")
    return Login(user=SUPERUSER, password=credentials.superuser_password)


@pytest.fixture
def made(servers: Servers, superuser: Login, worker_name: str) -> Iterator[str]:
    """A database that the script has made, under names of this test's own."""
    ending = f"{servers.run}_{worker_name}"
    script = SCRIPT.read_text(encoding="utf-8")
    script = script.replace("daybook_owner", f"made_owner_{ending}").replace("daybook_app", f"made_app_{ending}")
    script = script.replace("DATABASE daybook", f"DATABASE made_{ending}")
    try:
        _psql(servers, superuser, script)
        yield ending
    finally:
        with psycopg.connect(servers.database_url(name="postgres", login=superuser), autocommit=True) as connection:
            connection.execute(sql.SQL(DROP_DATABASE).format(name=sql.Identifier(f"made_{ending}")))
            for role in (f"made_owner_{ending}", f"made_app_{ending}"):
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def _psql(servers: Servers, superuser: Login, script: str) -> None:
    program = binaries.find_binaries(home=find_home(data_dir=Path(servers.host).parent)).postgres.with_name("psql")
    variables = ["-v", f"owner_password={OWNER.password}", "-v", f"app_password={APP.password}"]
    url = servers.database_url(name="postgres", login=superuser)
    command = [str(program), "--no-psqlrc", "--quiet", *variables, url]
    found = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_it_makes_what_migrations_and_the_app_role_need(servers: Servers, made: str, empty_database: Database) -> None:
    owner = Login(user=f"{OWNER.user}_{made}", password=OWNER.password)
    app = Login(user=f"{APP.user}_{made}", password=APP.password)
    urls = {
        "DATABASE_URL": servers.database_url(name=f"made_{made}", login=app),
        "DATABASE_OWNER_URL": servers.database_url(name=f"made_{made}", login=owner),
    }
    command = [sys.executable, "manage.py", "prepare_database", "--verbosity", "0"]
    environment = {**empty_database.environment, **urls}
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "also owns the tables" not in found.stderr
    with psycopg.connect(urls["DATABASE_URL"], autocommit=True) as connection:
        for right, is_granted in (("INSERT", True), ("UPDATE", False)):
            found_right = connection.execute("SELECT has_table_privilege('eventstore_event', %s)", [right]).fetchone()
            assert found_right == (is_granted,)
        assert connection.execute("SELECT count(*) FROM readmodel.account").fetchone() == (0,)
        owner_of_schema = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'readmodel'"
        assert connection.execute(owner_of_schema).fetchone() == (app.user,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.nobody_asked_for_this (id bigint)")
