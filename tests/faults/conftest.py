"""One running product for all fault tests of a process, on a database and a Redis of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import _describe
from tests.daybook_process import Daybook, remove_folder, short_folder
from tests.faults.auditing import Auditor
from tests.faults.product import Product
from tests.servers import Servers


@pytest.fixture(scope="session")
def product(django_db_setup: None, servers: Servers, worker_name: str) -> Iterator[Product]:
    """`manage.py up` on a database of the run's Postgres, with an embedded Redis of its own."""
    name = f"daybook_test_{servers.run}_{worker_name}_faults"
    servers.clone(name=name)
    database = _describe(servers, name, redis_url="")
    folder = short_folder()
    environment = {name: value for name, value in database.environment.items() if name != "REDIS_URL"}
    with Daybook(data_dir=folder, environment={**environment, "WORKER_PROCESSES": "2"}).ready() as daybook:
        yield Product(daybook, Auditor(database_url=database.app_url))
        daybook.stop()
    remove_folder(folder)
    servers.drop(name=name)
