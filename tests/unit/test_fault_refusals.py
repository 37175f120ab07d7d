"""What the audit of the fault tests takes for a reason to refuse, and what it never does."""

from __future__ import annotations

import pytest

from tests.faults.told import REFUSALS, Request, Standing

NEVER = {"unauthenticated", "forbidden", "not_found", "account_not_found", "rate_limited", "validation_error"}


def _request(what: str, minor: int = 0) -> Request:
    return Request(what=what, path="accounts/alice", body={}, account_id="alice", minor=minor)


@pytest.mark.parametrize(
    ("balance", "status", "what", "minor", "code", "right"),
    [
        (99, "open", "withdrawal", -100, "insufficient_funds", True),
        (100, "open", "withdrawal", -100, "insufficient_funds", False),
        (99, "frozen", "withdrawal", -100, "insufficient_funds", False),
        (99, "open", "reversal", 100, "insufficient_funds", False),
        (0, "frozen", "deposit", 100, "account_frozen", True),
        (0, "open", "deposit", 100, "account_frozen", False),
        (0, "closed", "deposit", 100, "account_closed", True),
        (0, "frozen", "deposit", 100, "account_closed", False),
        (0, "frozen", "freeze", 0, "account_frozen", True),
        (0, "open", "freeze", 0, "account_frozen", False),
        (0, "open", "unfreeze", 0, "invalid_state", True),
        (0, "frozen", "unfreeze", 0, "invalid_state", False),
        (1, "open", "close", 0, "account_not_empty", True),
        (0, "open", "close", 0, "account_not_empty", False),
        (0, "closed", "withdrawal", -100, "invalid_state", True),
        (50, "closed", "withdrawal", -100, "invalid_state", True),
        (100, "closed", "withdrawal", -100, "invalid_state", False),
        (50, "open", "withdrawal", -100, "invalid_state", False),
        (0, "open", "withdrawal", -100, "invalid_state", False),
        (0, "open", "close", 0, "refused", False),
        (0, "open", "close", 0, "invalid_state", False),
    ],
)
def test_a_refusal_needs_a_state_that_forbids(
    balance: int, status: str, what: str, minor: int, code: str, right: bool
) -> None:
    assert Standing(balance=balance, status=status).forbids(_request(what, minor), code) is right


@pytest.mark.parametrize("what", REFUSALS)
def test_no_client_is_refused_for_what_it_never_does_wrong(what: str) -> None:
    assert not REFUSALS[what] & NEVER
