"""Fixtures of the property tests."""

from collections.abc import Iterator

import msgspec
import pytest

from accounts.domain.account import ACCOUNT
from tests.conftest import Database
from tests.properties.test_money import MAX_BALANCE


@pytest.fixture
def small_bank(fresh_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A bank whose accounts fill up soon and are snapshotted often, so that short examples meet both."""
    monkeypatch.setattr("accounts.domain.account.MAX_BALANCE_MINOR", MAX_BALANCE)
    usual = ACCOUNT.snapshot_every
    msgspec.structs.force_setattr(ACCOUNT, "snapshot_every", 3)
    yield
    msgspec.structs.force_setattr(ACCOUNT, "snapshot_every", usual)
