"""The fixtures that give tests their databases keep what they promise."""

import pytest
import redis as redis_client
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import connection

from tests.conftest import Database


def test_the_fresh_database_keeps_commits_and_is_its_own(fresh_database: Database) -> None:
    get_user_model().objects.create(username="alice")
    connection.close()
    assert connection.settings_dict["NAME"] == fresh_database.name
    assert get_user_model().objects.count() == 1


def test_the_fresh_database_begins_without_another_test_s_rows(fresh_database: Database) -> None:
    assert get_user_model().objects.count() == 0


@pytest.mark.django_db
def test_the_rolled_back_database_does_not_see_committed_rows() -> None:
    assert get_user_model().objects.count() == 0


def test_the_committed_database_is_another_one(committed_db: Database) -> None:
    before = get_user_model().objects.count()
    get_user_model().objects.create(username=f"alice-{before}")
    connection.close()
    assert get_user_model().objects.count() == before + 1


def test_the_cache_is_the_run_s_own_redis(redis_url: str) -> None:
    cache.set("a", 1)
    assert cache.get("a") == 1
    with redis_client.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 1
