"""One running product for all fault tests, with clients that do not stop asking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.product import Product, remove
from tests.folders import passing_folder

SEED = 4


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    """`manage.py up` with embedded servers of its own, behind proxies, and a town of accounts."""
    folder = passing_folder()
    with Product(folder=folder, seed=SEED) as product:
        yield product
    remove(folder)
