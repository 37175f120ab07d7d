"""Waiting for what was written holds a thread of the server, so that only so many may wait at one time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Semaphore
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from config.staff.roles import Role
from eventstore.rest import freshness
from eventstore.rest.freshness import TooManyWaiting, asking_as, read_until
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, problem
from tests.integration.pages.desk import Desk
from views_readmodel.pages.commanding import shown
from views_readmodel.queries import Subject

PLACES = 3
LONG_SECONDS = 60.0  # far longer than any test takes: whoever waits so long was kept waiting


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


@pytest.fixture
def few_places(settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "MOST_WAITING": PLACES}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Who has asked the read models for what may have to be waited for, each time."""
    principals: list[str | None] = []

    def noting(*arguments: Any, **named: Any) -> Any:
        principals.append(freshness._principal.get())
        return read_until(*arguments, **named)

    monkeypatch.setattr("views_readmodel.queries.read_until", noting)
    return principals


@contextmanager
def all_places_taken() -> Iterator[None]:
    """As many wait as may, each in a thread of its own, until the block is left."""
    left = Event()

    def wait(waits: Event) -> bool:
        reads = 0

        def read() -> bool:
            nonlocal reads
            reads += 1
            if reads > 1:  # the first look takes no place
                waits.set()
            return left.is_set()

        return read_until(read, enough=bool, seconds=LONG_SECONDS)

    begun = [Event() for _ in range(PLACES)]
    with ThreadPoolExecutor(PLACES) as threads:
        waiting = [threads.submit(wait, each) for each in begun]
        try:
            assert all(each.wait(LONG_SECONDS) for each in begun)
            yield
        finally:
            left.set()
        assert all(each.result(LONG_SECONDS) for each in waiting)


def test_it_keeps_half_of_the_web_threads_for_those_who_do_not_wait() -> None:
    assert django_settings.EVENTSTORE["MOST_WAITING"] == django_settings.WEB_THREADS // 2


@pytest.mark.usefixtures("few_places")
def test_it_lets_nobody_wait_beyond_the_places_there_are_and_gives_each_place_back() -> None:
    for _ in range(2):
        with all_places_taken():
            with pytest.raises(TooManyWaiting):
                read_until(bool, enough=bool, seconds=LONG_SECONDS)
            assert read_until(lambda: True, enough=bool, seconds=LONG_SECONDS)
            assert not read_until(bool, enough=bool, seconds=0)


@pytest.mark.usefixtures("few_places")
def test_it_gives_one_principal_half_of_the_places_at_most(settings: Settings) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "MOST_WAITING": 5}
    go_on, waiting = Event(), Semaphore(0)

    def wait(principal: str) -> bool:
        def read() -> bool:
            waiting.release()
            return go_on.is_set()

        with asking_as() as tell:
            tell(principal)
            return read_until(read, enough=bool, seconds=LONG_SECONDS)

    with ThreadPoolExecutor(4) as threads:
        begun = [threads.submit(wait, "one") for _ in range(2)]
        for _ in range(4):  # the first look takes no place
            assert waiting.acquire(timeout=LONG_SECONDS)
        try:
            with pytest.raises(TooManyWaiting):
                threads.submit(wait, "one").result(LONG_SECONDS)
            begun.append(threads.submit(wait, "another"))
        finally:
            go_on.set()
        assert all(each.result(LONG_SECONDS) for each in begun)
    assert wait("one")


@pytest.mark.usefixtures("few_places")
def test_a_program_that_waits_for_what_never_comes_leaves_places_to_others(
    committed_db: Database, asked: list[str | None]
) -> None:
    program = Counter(Role.SERVICE)
    account_id = program.account("1.00")
    dispatch()
    assert program.get(f"accounts/{account_id}", min_version=9999).status_code == 503
    assert asked == [str(program.member.pk)]
    assert freshness._principal.get() is None


@pytest.mark.usefixtures("few_places")
def test_the_pages_of_a_person_wait_in_the_places_of_that_person(
    committed_db: Database, asked: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(Role.TELLER)
    monkeypatch.setattr("views_readmodel.pages.commanding.VISIBLE_SECONDS", 0.01)
    assert desk.fill_in("/customers/register", name="Alice Abel").status_code == 303
    assert asked == [str(desk.client.session["_auth_user_id"])]
    assert freshness._principal.get() is None


@pytest.mark.usefixtures("few_places")
def test_it_gives_a_place_back_when_reading_fails() -> None:
    class ReadFailed(Exception):
        pass

    def read_twice() -> bool:
        if seen:
            raise ReadFailed
        seen.append(True)
        return False

    for _ in range(PLACES + 1):
        seen: list[bool] = []
        with pytest.raises(ReadFailed):
            read_until(read_twice, enough=bool, seconds=LONG_SECONDS)


@pytest.mark.usefixtures("few_places")
def test_it_asks_to_come_back_at_once_when_too_many_wait_for_a_version(teller: Counter) -> None:
    account_id = teller.account("1.00")
    dispatch()
    with all_places_taken():
        for path in (f"accounts/{account_id}", f"accounts/{account_id}/entries"):
            answered = teller.get(path, min_version=9999)
            assert "too many others are waiting" in problem(answered, 503, "not_yet_visible")["detail"]
            assert answered.headers["Retry-After"] == "1"
        assert teller.get(f"accounts/{account_id}").status_code == 200
        assert teller.get(f"accounts/{account_id}", min_version=1).status_code == 200


@pytest.mark.usefixtures("few_places")
def test_it_makes_a_transfer_without_waiting_when_too_many_wait(teller: Counter) -> None:
    body = {
        "from_account_id": str(teller.account("5.00")),
        "to_account_id": str(teller.account()),
        "amount": "1.00",
    }
    with all_places_taken():
        answered = teller.post("transfers", body, headers={"Prefer": "wait=10"})
    assert (answered.status_code, answered.json()["state"]) == (202, "INITIAL")
    assert answered.headers["Location"].endswith(answered.json()["transfer_id"])
    assert "Preference-Applied" not in answered.headers


@pytest.mark.usefixtures("few_places", "committed_db")
def test_it_has_a_page_say_that_it_is_still_posting_when_too_many_wait() -> None:
    with all_places_taken():
        assert shown(subject=Subject.ACCOUNT, id=uuid4(), version=7) == "?posting=7"
