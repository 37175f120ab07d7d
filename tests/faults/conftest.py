"""One running product for all fault tests, with clients that do not stop asking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daybook_process import short_folder
from tests.faults.product import Product, remove

SEED = 4


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """`manage.py up` with embedded servers of its own, behind proxies, and a town of accounts."""
    folder = short_folder()
    with Product(folder=folder, seed=SEED) as product:
        yield product
    remove(folder)
