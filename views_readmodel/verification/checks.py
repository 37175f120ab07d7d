"""All checks of the ledger, in the order in which they are reported. Start reading here."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from accounts.domain.account import ACCOUNT
from accounts.domain.customer import CUSTOMER
from eventstore.aggregates import Aggregate
from eventstore.verification.findings import Check
from eventstore.verification.running import store_checks
from transfers.domain.transfer import MONEY_TRANSFER
from views_readmodel.verification.answers import AnswersCheck
from views_readmodel.verification.balances import BalancesCheck
from views_readmodel.verification.conservation import ConservationCheck
from views_readmodel.verification.finality import FinalityCheck
from views_readmodel.verification.read_models import read_model_checks
from views_readmodel.verification.reversals import ReversalsCheck
from views_readmodel.verification.transfers import TransfersCheck

AGGREGATES: Final[tuple[Aggregate[Any], ...]] = (ACCOUNT, CUSTOMER, MONEY_TRANSFER)
"""Whose streams are folded."""


def ledger_checks() -> list[Check]:
    """Every check, new: what a check has seen it keeps."""
    transfers = TransfersCheck()
    return [
        *store_checks(app_role=_app_role()),
        BalancesCheck(),
        ReversalsCheck(),
        transfers,
        FinalityCheck(),
        ConservationCheck(transfers),
        AnswersCheck(),
        *read_model_checks(),
    ]


def _app_role() -> str | None:
    """The role that runs the bank, where it has no right to change history; None where it owns the tables."""
    role: str = settings.DATABASE_APP_ROLE
    return None if settings.DATABASE_OWNER_LOGIN["USER"] == role else role
