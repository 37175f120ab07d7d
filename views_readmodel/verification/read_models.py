"""The read models that are checked: every table of every projection, with the functions that make its rows."""

from __future__ import annotations

from typing import Any

from eventstore.subscriptions.registry import subscriptions
from eventstore.verification.rows import AddedRowsCheck, KeptRowsCheck, RowsCheck
from views_readmodel.projections.accounts import ACCOUNTS, ENTRIES, entries_of, evolve_account
from views_readmodel.projections.customers import CUSTOMERS, evolve_customer
from views_readmodel.projections.transfers import STEPS, TRANSFERS, evolve_transfer, step_of


def read_model_checks() -> list[RowsCheck[Any]]:
    """One check a table."""
    projections = {projection.id: projection for projection in subscriptions.projections()}
    accounts, customers, transfers = (projections[f"views.{name}"] for name in ("accounts", "customers", "transfers"))
    return [
        KeptRowsCheck(projection=customers, table=CUSTOMERS, evolve=evolve_customer),
        KeptRowsCheck(projection=accounts, table=ACCOUNTS, evolve=evolve_account),
        AddedRowsCheck(projection=accounts, table=ENTRIES, rows_of=entries_of),
        KeptRowsCheck(projection=transfers, table=TRANSFERS, evolve=evolve_transfer),
        AddedRowsCheck(projection=transfers, table=STEPS, rows_of=lambda recorded: [step_of(recorded)]),
    ]
