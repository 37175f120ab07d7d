"""What the read models give as files: an account's statement as CSV, for the REST API and for pages alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.http import StreamingHttpResponse

from accounts.published.money import format_amount
from eventstore.rest.csv_files import csv_file
from views_readmodel import queries
from views_readmodel.queries import AccountView, EntryView

COLUMNS: Final = (
    "recorded_at",
    "kind",
    "amount",
    "balance_after",
    "currency",
    "description",
    "counterparty_number",
    "counterparty_title",
    "counterparty_customer_name",
    "counterparty_account_id",
    "transfer_id",
    "reverses",
    "entry_id",
    "version",
)
"""Named as in the JSON of an entry; what a person reads comes first."""


def entries_csv(
    account: AccountView,
    *,
    kind: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    for_spreadsheets: bool = False,
) -> StreamingHttpResponse:
    """Every line of the account's statement that the filters leave, newest first. Raises `TooManyDownloads`."""
    entries = queries.every_entry(
        account_id=account.account_id, kind=kind, created_from=created_from, created_to=created_to
    )
    return csv_file(
        columns=COLUMNS,
        rows=(_line(entry, currency=account.currency) for entry in entries),
        name=f"statement-{account.number}",
        for_spreadsheets=for_spreadsheets,
    )


def _line(entry: EntryView, *, currency: str) -> tuple[Any, ...]:
    return (
        entry.recorded_at.isoformat(),
        entry.kind,
        format_amount(entry.amount, currency),
        format_amount(entry.balance_after, currency),
        currency,
        entry.description,
        entry.counterparty_number,
        entry.counterparty_title,
        entry.counterparty_name,
        entry.counterparty_account_id,
        entry.transfer_id,
        entry.reverses,
        entry.entry_id,
        entry.version,
    )
