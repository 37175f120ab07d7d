"""Live updates from a real database: a change is told when it can be seen, and only to whom it may be told."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.test import Client

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, member_of
from views_readmodel.live import changes as live
from views_readmodel.live.listener import NotSignedIn, PasswordIsGiven, listener_of
from views_readmodel.live.stream import LiveChanges, Refused


@pytest.fixture
def teller(committed_db: Database) -> Counter:
    return Counter(Role.TELLER)


def _changed(before: live.Positions) -> dict[UUID, tuple[str, int]] | None:
    found = live.changes_between(before, live.positions())
    return None if found is None else {change.stream_id: (change.stream_type, change.version) for change in found}


def test_a_change_is_told_once_the_read_model_shows_it(teller: Counter) -> None:
    payer, payee = teller.account("500.00"), teller.account("100.00")
    dispatch()
    before = live.positions()
    assert _changed(before) == {}
    transfer = teller.transfer(payer, payee, "150.00")
    assert _changed(before) == {}  # recorded, and not to be seen yet
    dispatch()
    assert _changed(before) == {payer: ("account", 2), payee: ("account", 2), transfer: ("transfer", 3)}


def test_too_much_to_tell_is_told_as_anything(teller: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatch()
    before = live.positions()
    monkeypatch.setattr(live, "MOST_POSITIONS", 1)
    teller.account("500.00")
    dispatch()
    assert _changed(before) is None


def test_a_rebuilt_projection_is_told_as_anything(teller: Counter) -> None:
    after = live.positions()
    further = {range_: position + 1 for range_, position in after.items()}
    assert live.changes_between(further, after) is None
    assert live.changes_between({}, after) is None


def _request(*, cookie: str = "", host: str = "127.0.0.1:8000") -> HttpRequest:
    request = HttpRequest()
    request.META |= {"HTTP_HOST": host, "HTTP_COOKIE": cookie}
    return request


def _cookie(client: Client) -> str:
    return "; ".join(f"{name}={cookie.value}" for name, cookie in client.cookies.items())


@pytest.mark.parametrize(
    ("role", "types"),
    [
        (Role.TELLER, {"account", "customer", "transfer"}),
        (Role.AUDITOR, {"account", "customer", "transfer"}),
        (Role.OPERATOR, set()),
    ],
)
def test_a_role_is_told_of_what_it_may_see(role: Role, types: set[str], committed_db: Database) -> None:
    client = Client()
    client.force_login(member_of(role))
    assert listener_of(_request(cookie=_cookie(client))).types == types


def test_nobody_listens_without_a_session(committed_db: Database) -> None:
    client = Client()
    client.force_login(member_of(Role.TELLER))
    signed_in = _cookie(client)
    client.logout()
    for cookie in (signed_in, "", "sessionid=guessed"):
        with pytest.raises(NotSignedIn):
            listener_of(_request(cookie=cookie))


def test_nobody_listens_who_was_deactivated(committed_db: Database) -> None:
    member = member_of(Role.TELLER, name="teller-who-leaves")
    client = Client()
    client.force_login(member)
    member.is_active = False
    member.save()
    with pytest.raises(NotSignedIn):
        listener_of(_request(cookie=_cookie(client)))


def test_nobody_listens_whose_password_was_given_to_them(committed_db: Database) -> None:
    member = member_of(Role.TELLER, name="teller-with-a-given-password")
    client = Client()
    client.force_login(member)
    member.password_is_given = True
    member.save()
    with pytest.raises(PasswordIsGiven):
        listener_of(_request(cookie=_cookie(client)))
    with pytest.raises(Refused) as refused:
        LiveChanges()._look(_request(cookie=_cookie(client)))
    assert refused.value.status == 403


def test_a_host_that_is_not_ours_is_refused(committed_db: Database) -> None:
    with pytest.raises(DisallowedHost):
        listener_of(_request(host="evil.example"))
