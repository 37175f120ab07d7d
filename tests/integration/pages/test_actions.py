"""What an action's page does in each state of an account, for each role: it does it, or says in words why not."""

from __future__ import annotations

import re
from itertools import product
from typing import Final
from uuid import UUID, uuid4

import pytest

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch, refund
from tests.integration.pages.desk import Desk
from views_readmodel.pages.account_actions import ACTIONS
from views_readmodel.pages.viewing import PAGE_ROWS

STATES: Final = ("open", "empty", "frozen", "closed", "closed-with-refund")
ROLES: Final = (Role.TELLER, Role.SUPERVISOR, Role.AUDITOR, Role.OPERATOR)
MAY: Final = {
    Role.TELLER: {"deposit", "withdraw"},
    Role.SUPERVISOR: {"deposit", "withdraw", "freeze", "unfreeze", "close", "pay-out", "reverse"},
    Role.AUDITOR: set(),
    Role.OPERATOR: set(),
}
# What is said where it makes no sense; where nothing stands, it can be done.
SAID: Final = {
    ("deposit", "frozen"): "This account is frozen",
    ("deposit", "closed"): "closed for good",
    ("deposit", "closed-with-refund"): "closed for good",
    ("withdraw", "frozen"): "This account is frozen",
    ("withdraw", "closed"): "closed for good",
    ("withdraw", "closed-with-refund"): "closed for good",
    ("freeze", "frozen"): "frozen already",
    ("freeze", "closed"): "closed for good",
    ("freeze", "closed-with-refund"): "closed for good",
    ("unfreeze", "open"): "not frozen",
    ("unfreeze", "empty"): "not frozen",
    ("unfreeze", "closed"): "closed for good",
    ("unfreeze", "closed-with-refund"): "closed for good",
    ("close", "open"): "Only an empty account can be closed, and this one holds 20.00 EUR",
    ("close", "frozen"): "Unfreeze it first",
    ("close", "closed"): "closed already",
    ("close", "closed-with-refund"): "closed already",
    ("pay-out", "open"): "Only a closed one is paid out here",
    ("pay-out", "empty"): "Only a closed one is paid out here",
    ("pay-out", "frozen"): "Only a closed one is paid out here",
    ("pay-out", "closed"): "holds nothing that could be paid out",
    ("reverse", "frozen"): "This account is frozen",
    ("reverse", "closed"): "closed for good",
    ("reverse", "closed-with-refund"): "closed for good",
}
NAMES: Final = (*(action.name for action in ACTIONS), "reverse")
# What only the account itself refuses, beside the form.
TOO_LITTLE: Final = {("withdraw", "empty"), ("reverse", "empty")}
FILLED_IN: Final = {"amount": "1.00", "reason": "A test", "description": "A test"}


def _account(state: str) -> UUID:
    """An account in that state, whose second entry is a deposit that nothing was done about."""
    teller, supervisor = Counter(Role.TELLER), Counter(Role.SUPERVISOR)
    account = teller.account("0.00")
    body = {"reason": "A test"}

    def do(path: str, **fields: str) -> None:
        assert supervisor.post(f"accounts/{account}/{path}", fields or body).status_code in (200, 201)

    do("deposits", amount="20.00")
    if state not in ("open", "frozen"):
        do("withdrawals", amount="20.00")
    if state == "frozen":
        do("freeze")
    if state.startswith("closed"):
        do("close")
    if state == "closed-with-refund":
        refund(account, amount=2_000)
    dispatch()
    return account


def _address(account: UUID, name: str) -> str:
    return f"/accounts/{account}/entries/2/reverse" if name == "reverse" else f"/accounts/{account}/{name}"


@pytest.mark.parametrize(("name", "state"), [*product(NAMES, STATES)])
def test_each_action_is_done_or_refused_in_words_in_each_state(
    name: str, state: str, supervisor: Desk, counter: Counter
) -> None:
    account = _account(state)
    address, before = _address(account, name), counter.balance(account)
    sent = {"key": str(uuid4()), **FILLED_IN}
    if (name, state) not in SAID:
        shown = {name: value for name, value in supervisor.form(address).items() if value}
        answered = supervisor.send(address, sent | shown)
        too_little = (name, state) in TOO_LITTLE
        assert answered.status_code == (200 if too_little else 303)
        assert ("does not hold that much" in answered.content.decode()) is too_little
        return
    for answered in (supervisor.get(address), supervisor.send(address, sent), supervisor.send(address, {})):
        page = answered.content.decode()
        assert answered.status_code == 409
        assert SAID[name, state] in page
        assert f'href="/accounts/{account}">Back to the account' in page
        assert "command_key" not in page  # no form that could only be refused
    dispatch()
    assert counter.balance(account) == before


@pytest.mark.parametrize("state", STATES)
def test_a_role_may_do_only_its_own_actions_whatever_the_state(state: str, committed_db: Database) -> None:
    account = _account(state)
    for role in ROLES:
        desk = Desk(role)
        for name in NAMES:
            address = _address(account, name)
            may = 409 if (name, state) in SAID else 200
            expected = may if name in MAY[role] else 403
            assert desk.get(address).status_code == expected, (role, name)
            if expected == 403:
                refused = desk.send(address, {"key": str(uuid4()), **FILLED_IN})
                assert refused.status_code == 403, (role, name)
                assert b"Your role does not permit this" in refused.content
                assert b'href="/"' in refused.content


def test_an_account_offers_what_can_be_done_and_nothing_else(supervisor: Desk) -> None:
    for state in STATES:
        account = _account(state)
        page = supervisor.get(f"/accounts/{account}").content.decode()
        offered = {action.name for action in ACTIONS if f'href="/accounts/{account}/{action.name}"' in page}
        told = {"close"} if state == "open" else set()  # that it has to be emptied first
        assert offered == {action.name for action in ACTIONS if (action.name, state) not in SAID} | told


def test_an_entry_that_cannot_be_reversed_says_why(supervisor: Desk, counter: Counter) -> None:
    opened_with_cash, account = counter.account("5.00"), _account("open")
    assert "Only a deposit or a withdrawal" in _refused(supervisor, f"/accounts/{opened_with_cash}/entries/1/reverse")
    address = _address(account, "reverse")
    sent = {"key": str(uuid4()), **FILLED_IN}
    assert supervisor.send(address, sent).status_code == 303
    assert supervisor.send(address, sent).status_code == 303  # a second click of the same button is no mistake
    dispatch()
    assert "reversed already" in _refused(supervisor, address)


def test_an_entry_that_was_reversed_long_ago_is_offered_no_more(supervisor: Desk, counter: Counter) -> None:
    account = _account("open")
    supervisor.send(_address(account, "reverse"), {"key": str(uuid4()), **FILLED_IN})
    for _ in range(PAGE_ROWS):
        counter.post(f"accounts/{account}/deposits", {"amount": "1.00"})
    dispatch()
    page = supervisor.get(f"/accounts/{account}").content.decode()
    older = re.search(r'href="([^"]+)" rel="next"', page)
    assert older
    page = supervisor.get(older[1].replace("&amp;", "&")).content.decode()
    assert 'id="entry-2"' in page
    assert "<span>Reversed</span>" in page
    assert "/entries/2/reverse" not in page


def _refused(desk: Desk, address: str) -> str:
    answered = desk.get(address)
    assert answered.status_code == 409
    found: str = answered.content.decode()
    return found
