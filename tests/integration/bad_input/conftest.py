"""A bank that bad requests are sent to, made once for each process: they change nothing in it."""

from __future__ import annotations

from functools import cache

import pytest

from tests.conftest import Database
from tests.integration.bad_input.api import Bank

_shared = cache(Bank)


@pytest.fixture
def bank(committed_db: Database) -> Bank:
    """The bank of this process. What is committed stays, and with it this."""
    return _shared()


@pytest.fixture
def own_bank(committed_db: Database) -> Bank:
    """A bank of the test's own, to change things in."""
    return Bank()
