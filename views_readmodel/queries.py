"""Every answer that is given from the read models: for the REST API and for pages, one query each.

Pages of a list are asked for by the key of the last row before them (`after`), newest first; ask for one row more than
is shown, and its presence tells that there is more. Amounts are integers in minor units. Reading code imports this
module; nothing in it writes, and nothing in it knows a service or an aggregate.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final, TypeVar, get_origin, get_type_hints
from uuid import UUID

import msgspec
from django.db import connections, router

from accounts.numbers import is_number
from eventstore.rest.freshness import MAX_WAIT_SECONDS, NotYetVisible, read_until
from eventstore.tables import Row
from transfers.published.events import FINAL_STATUSES, TransferStatus
from views_readmodel import models
from views_readmodel.projections.accounts import AccountRow, EntryRow
from views_readmodel.projections.customers import CustomerRow
from views_readmodel.projections.transfers import StepRow, TransferRow

R = TypeVar("R", bound=Row)

Newest = tuple[datetime, UUID]
"""The key of a row in a list of accounts, customers or transfers: when it was made, and its id."""

ROWS_PER_BATCH: Final = 1_000
"""How many rows of a whole list are read at one time."""

MOST_CUSTOMERS_OF_A_NAME: Final = 1_000
"""How many customers whom a search finds by name are looked through for their accounts."""

WAITING_STATES: Final = ("SCHEDULED", "AWAITING_APPROVAL")
"""States in which a transfer waits for a date or a person, so that nobody should wait for it."""


class AccountView(AccountRow, frozen=True):
    """An account, with what is known of its customer now."""

    customer_name: str | None = None  # None: not visible yet


class EntryView(EntryRow, frozen=True):
    """A line of a statement, with what is known of the other side now."""

    counterparty_number: str | None = None
    counterparty_title: str | None = None
    counterparty_name: str | None = None  # of the customer


class TransferView(TransferRow, frozen=True):
    """A transfer with its steps, the first one first."""

    steps: list[StepRow] = []


# An account.
_ACCOUNT = """
SELECT a.account_id, a.number, a.title, a.customer_id, a.currency, a.balance, a.state, a.reference, a.opened_at,
    a.changed_at, a.version, c.name
FROM readmodel.account a
LEFT JOIN readmodel.customer c ON c.customer_id = a.customer_id
WHERE a.account_id = %(account_id)s
"""

# Accounts, newest first. Conditions on a null parameter fall away before the query is planned.
_ACCOUNTS = """
SELECT a.account_id, a.number, a.title, a.customer_id, a.currency, a.balance, a.state, a.reference, a.opened_at,
    a.changed_at, a.version, c.name
FROM (
    SELECT * FROM readmodel.account
    WHERE (%(customer_id)s::uuid IS NULL OR customer_id = %(customer_id)s::uuid)
        AND (%(state)s::text IS NULL OR state = %(state)s::text)
        AND (%(currency)s::text IS NULL OR currency = %(currency)s::text)
        AND (%(created_from)s::timestamptz IS NULL OR opened_at >= %(created_from)s::timestamptz)
        AND (%(created_to)s::timestamptz IS NULL OR opened_at < %(created_to)s::timestamptz)
        AND (
            %(after_at)s::timestamptz IS NULL
            OR (opened_at, account_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
        )
        AND (
            %(search)s::text IS NULL
            OR search @@ (
                SELECT to_tsquery('simple', string_agg(word || ':*', ' & '))
                FROM regexp_split_to_table(%(search)s::text, '[^[:alnum:]]+') AS word WHERE word <> ''
            )
        )
    ORDER BY opened_at DESC, account_id DESC
    LIMIT %(limit)s
) AS a
LEFT JOIN readmodel.customer c ON c.customer_id = a.customer_id
ORDER BY a.opened_at DESC, a.account_id DESC
"""

# The account of a number. The number is one of the words that are searched, and there is an index of those.
_ACCOUNT_OF_NUMBER = """
SELECT a.account_id, a.number, a.title, a.customer_id, a.currency, a.balance, a.state, a.reference, a.opened_at,
    a.changed_at, a.version, c.name
FROM readmodel.account a
LEFT JOIN readmodel.customer c ON c.customer_id = a.customer_id
WHERE a.search @@ plainto_tsquery('simple', %(number)s) AND a.number = %(number)s
"""

# What a customer holds in each currency.
_HOLDINGS = """
SELECT currency, sum(balance)::bigint FROM readmodel.account
WHERE customer_id = %(customer_id)s GROUP BY currency ORDER BY currency
"""

# Accounts by their ids.
_ACCOUNTS_BY_ID = """
SELECT a.account_id, a.number, a.title, a.customer_id, a.currency, a.balance, a.state, a.reference, a.opened_at,
    a.changed_at, a.version, c.name
FROM readmodel.account a
LEFT JOIN readmodel.customer c ON c.customer_id = a.customer_id
WHERE a.account_id = ANY(%(account_ids)s::uuid[])
"""

# Accounts that are found by their own words or by their customer's name, newest first; of a common name only the
# newest customers' accounts.
_FIND_ACCOUNTS = """
WITH asked AS (
    SELECT to_tsquery('simple', string_agg(word || ':*', ' & ')) AS words
    FROM regexp_split_to_table(%(search)s::text, '[^[:alnum:]]+') AS word WHERE word <> ''
),
named AS (
    SELECT customer_id FROM readmodel.customer WHERE search @@ (SELECT words FROM asked)
    ORDER BY created_at DESC, customer_id DESC LIMIT %(most_customers)s
),
found AS (
    (
        SELECT account_id FROM readmodel.account
        WHERE search @@ (SELECT words FROM asked)
            AND (%(state)s::text IS NULL OR state = %(state)s::text)
            AND (%(currency)s::text IS NULL OR currency = %(currency)s::text)
            AND (
                %(after_at)s::timestamptz IS NULL
                OR (opened_at, account_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
            )
        ORDER BY opened_at DESC, account_id DESC LIMIT %(limit)s
    )
    UNION
    (
        SELECT account_id FROM readmodel.account
        WHERE customer_id IN (SELECT customer_id FROM named)
            AND (%(state)s::text IS NULL OR state = %(state)s::text)
            AND (%(currency)s::text IS NULL OR currency = %(currency)s::text)
            AND (
                %(after_at)s::timestamptz IS NULL
                OR (opened_at, account_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
            )
        ORDER BY opened_at DESC, account_id DESC LIMIT %(limit)s
    )
)
SELECT a.account_id, a.number, a.title, a.customer_id, a.currency, a.balance, a.state, a.reference, a.opened_at,
    a.changed_at, a.version, c.name
FROM readmodel.account a
LEFT JOIN readmodel.customer c ON c.customer_id = a.customer_id
WHERE a.account_id IN (SELECT account_id FROM found)
ORDER BY a.opened_at DESC, a.account_id DESC
LIMIT %(limit)s
"""

# Whether a search finds more customers by name than are looked through for their accounts.
_IS_COMMON_NAME = """
SELECT count(*) > %(most_customers)s FROM (
    SELECT 1 FROM readmodel.customer
    WHERE search @@ (
        SELECT to_tsquery('simple', string_agg(word || ':*', ' & '))
        FROM regexp_split_to_table(%(search)s::text, '[^[:alnum:]]+') AS word WHERE word <> ''
    )
    LIMIT %(most_customers)s + 1
) AS found
"""

# Lines of an account's statement, newest first. Times become versions first, which grow with them: so any page of any
# span of time is one piece of the primary key.
_ENTRIES = """
SELECT e.account_id, e.version, e.entry_id, e.kind, e.amount, e.balance_after, e.transfer_id,
    e.counterparty_account_id, e.reverses, e.description, e.recorded_at, a.number, a.title, c.name
FROM (
    SELECT * FROM readmodel.entry
    WHERE account_id = %(account_id)s
        AND (%(kind)s::text IS NULL OR kind = %(kind)s::text)
        AND (%(after)s::integer IS NULL OR version < %(after)s::integer)
        AND (
            %(created_from)s::timestamptz IS NULL
            OR version >= (
                SELECT version FROM readmodel.entry
                WHERE account_id = %(account_id)s AND recorded_at >= %(created_from)s::timestamptz
                ORDER BY recorded_at, version LIMIT 1
            )
        )
        AND (
            %(created_to)s::timestamptz IS NULL
            OR version <= (
                SELECT version FROM readmodel.entry
                WHERE account_id = %(account_id)s AND recorded_at < %(created_to)s::timestamptz
                ORDER BY recorded_at DESC, version DESC LIMIT 1
            )
        )
    ORDER BY version DESC
    LIMIT %(limit)s
) AS e
LEFT JOIN readmodel.account a ON a.account_id = e.counterparty_account_id
LEFT JOIN readmodel.customer c ON c.customer_id = a.customer_id
ORDER BY e.version DESC
"""

# Which of an account's entries others undo.
_REVERSED_ENTRIES = """
SELECT reverses FROM readmodel.entry
WHERE account_id = ANY(%(account_ids)s::uuid[]) AND reverses = ANY(%(entry_ids)s::uuid[]) AND reverses IS NOT NULL
"""

# A transfer with its steps.
_TRANSFER = """
SELECT t.transfer_id, t.from_account_id, t.to_account_id, t.amount, t.currency, t.description, t.reference, t.metadata,
    t.state, t.failure_reason, t.initiated_by, t.approved_by, t.reverses, t.reversed_by, t.created_at, t.execute_at,
    t.completed_at, t.from_account_version, t.to_account_version, t.correlation_id, t.changed_at, t.version,
    (
        SELECT jsonb_agg(s ORDER BY s.version) FROM readmodel.transfer_step s
        WHERE s.transfer_id = t.transfer_id AND s.version <= t.version
    )
FROM readmodel.transfer t
WHERE t.transfer_id = %(transfer_id)s
"""

# Transfers, newest first.
_TRANSFERS = """
SELECT t.transfer_id, t.from_account_id, t.to_account_id, t.amount, t.currency, t.description, t.reference, t.metadata,
    t.state, t.failure_reason, t.initiated_by, t.approved_by, t.reverses, t.reversed_by, t.created_at, t.execute_at,
    t.completed_at, t.from_account_version, t.to_account_version, t.correlation_id, t.changed_at, t.version
FROM readmodel.transfer t
WHERE (%(state)s::text IS NULL OR t.state = %(state)s::text)
    AND (%(reference)s::text IS NULL OR t.reference = %(reference)s::text)
    AND (%(created_from)s::timestamptz IS NULL OR t.created_at >= %(created_from)s::timestamptz)
    AND (%(created_to)s::timestamptz IS NULL OR t.created_at < %(created_to)s::timestamptz)
    AND (
        %(after_at)s::timestamptz IS NULL
        OR (t.created_at, t.transfer_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
    )
ORDER BY t.created_at DESC, t.transfer_id DESC
LIMIT %(limit)s
"""

# Transfers of one account, newest first: the newest it paid and the newest it received, each from an index of its own.
# No transfer is in both halves, for its two accounts are never the same.
_TRANSFERS_OF_ACCOUNT = """
SELECT t.transfer_id, t.from_account_id, t.to_account_id, t.amount, t.currency, t.description, t.reference, t.metadata,
    t.state, t.failure_reason, t.initiated_by, t.approved_by, t.reverses, t.reversed_by, t.created_at, t.execute_at,
    t.completed_at, t.from_account_version, t.to_account_version, t.correlation_id, t.changed_at, t.version
FROM (
    (
        SELECT * FROM readmodel.transfer
        WHERE from_account_id = %(account_id)s
            AND (%(state)s::text IS NULL OR state = %(state)s::text)
            AND (%(reference)s::text IS NULL OR reference = %(reference)s::text)
            AND (%(created_from)s::timestamptz IS NULL OR created_at >= %(created_from)s::timestamptz)
            AND (%(created_to)s::timestamptz IS NULL OR created_at < %(created_to)s::timestamptz)
            AND (
                %(after_at)s::timestamptz IS NULL
                OR (created_at, transfer_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
            )
        ORDER BY created_at DESC, transfer_id DESC
        LIMIT %(limit)s
    )
    UNION ALL
    (
        SELECT * FROM readmodel.transfer
        WHERE to_account_id = %(account_id)s
            AND (%(state)s::text IS NULL OR state = %(state)s::text)
            AND (%(reference)s::text IS NULL OR reference = %(reference)s::text)
            AND (%(created_from)s::timestamptz IS NULL OR created_at >= %(created_from)s::timestamptz)
            AND (%(created_to)s::timestamptz IS NULL OR created_at < %(created_to)s::timestamptz)
            AND (
                %(after_at)s::timestamptz IS NULL
                OR (created_at, transfer_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
            )
        ORDER BY created_at DESC, transfer_id DESC
        LIMIT %(limit)s
    )
) AS t
ORDER BY t.created_at DESC, t.transfer_id DESC
LIMIT %(limit)s
"""

# Transfers of some amounts, newest first. Each amount in each state is one piece of one index, of which no more is read
# than is shown: no other index is in the order that is asked for, however common an amount or a state is.
_TRANSFERS_OF_AMOUNTS = """
SELECT t.transfer_id, t.from_account_id, t.to_account_id, t.amount, t.currency, t.description, t.reference, t.metadata,
    t.state, t.failure_reason, t.initiated_by, t.approved_by, t.reverses, t.reversed_by, t.created_at, t.execute_at,
    t.completed_at, t.from_account_version, t.to_account_version, t.correlation_id, t.changed_at, t.version
FROM unnest(%(currencies)s::text[], %(amounts)s::bigint[]) AS asked (currency, amount)
CROSS JOIN unnest(%(states)s::text[]) AS wanted (state)
CROSS JOIN LATERAL (
    SELECT * FROM readmodel.transfer
    WHERE (currency, amount, state, created_at, transfer_id) >= (
            asked.currency, asked.amount, wanted.state,
            coalesce(%(created_from)s::timestamptz, '-infinity'), '00000000-0000-0000-0000-000000000000'::uuid
        )
        AND (currency, amount, state, created_at, transfer_id) < (
            asked.currency, asked.amount, wanted.state,
            coalesce(%(before_at)s::timestamptz, 'infinity'), %(before_id)s::uuid
        )
    ORDER BY currency DESC, amount DESC, state DESC, created_at DESC, transfer_id DESC
    LIMIT %(limit)s
) AS t
ORDER BY t.created_at DESC, t.transfer_id DESC
LIMIT %(limit)s
"""

# A customer.
_CUSTOMER = """
SELECT customer_id, name, email, phone, reference, created_at, changed_at, version
FROM readmodel.customer WHERE customer_id = %(customer_id)s
"""

# Customers, newest first.
_CUSTOMERS = """
SELECT customer_id, name, email, phone, reference, created_at, changed_at, version
FROM readmodel.customer
WHERE (%(created_from)s::timestamptz IS NULL OR created_at >= %(created_from)s::timestamptz)
    AND (%(created_to)s::timestamptz IS NULL OR created_at < %(created_to)s::timestamptz)
    AND (
        %(after_at)s::timestamptz IS NULL
        OR (created_at, customer_id) < (%(after_at)s::timestamptz, %(after_id)s::uuid)
    )
    AND (
        %(search)s::text IS NULL
        OR search @@ (
            SELECT to_tsquery('simple', string_agg(word || ':*', ' & '))
            FROM regexp_split_to_table(%(search)s::text, '[^[:alnum:]]+') AS word WHERE word <> ''
        )
    )
ORDER BY created_at DESC, customer_id DESC
LIMIT %(limit)s
"""

# How far a row has come.
_ACCOUNT_VERSION = "SELECT version FROM readmodel.account WHERE account_id = %(id)s"
_CUSTOMER_VERSION = "SELECT version FROM readmodel.customer WHERE customer_id = %(id)s"
_TRANSFER_VERSION = "SELECT version FROM readmodel.transfer WHERE transfer_id = %(id)s"

# Whether a transfer needs no more waiting for, and both accounts show what it did to them.
_SETTLED = """
SELECT t.state = ANY(%(settled)s)
    AND (t.from_account_version IS NULL OR payer.version >= t.from_account_version)
    AND (t.to_account_version IS NULL OR payee.version >= t.to_account_version)
FROM readmodel.transfer t
LEFT JOIN readmodel.account payer ON payer.account_id = t.from_account_id
LEFT JOIN readmodel.account payee ON payee.account_id = t.to_account_id
WHERE t.transfer_id = %(transfer_id)s
"""

_STATES: Final = [status.value for status in TransferStatus]
_LEAST_ID: Final = UUID(int=0)
_SETTLED_STATES: Final = [*sorted(status.value for status in FINAL_STATUSES), *WAITING_STATES]


class Subject(StrEnum):
    """What a version can be waited for."""

    ACCOUNT = "account"  # its entries too
    CUSTOMER = "customer"
    TRANSFER = "transfer"  # its steps too


_VERSION_OF: Final[Mapping[Subject, str]] = {
    Subject.ACCOUNT: _ACCOUNT_VERSION,
    Subject.CUSTOMER: _CUSTOMER_VERSION,
    Subject.TRANSFER: _TRANSFER_VERSION,
}


def account(*, account_id: UUID) -> AccountView | None:
    """The account, or None when no such account is visible (yet)."""
    return _first(_rows(_ACCOUNT, AccountView, account_id=account_id))


def accounts(
    *,
    search: str | None = None,
    customer_id: UUID | None = None,
    state: str | None = None,
    currency: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    after: Newest | None = None,
    limit: int,
) -> list[AccountView]:
    """Accounts, newest first.

    `search` finds those in whose number, title or reference each of its words begins a word. `created_to` is exclusive.
    """
    return _rows(
        _ACCOUNTS,
        AccountView,
        search=_folded(search) if search else None,
        customer_id=customer_id,
        state=state,
        currency=currency,
        created_from=created_from,
        created_to=created_to,
        limit=limit,
        **_after(after),
    )


def accounts_by_id(*, account_ids: Collection[UUID]) -> dict[UUID, AccountView]:
    """Those of the accounts that are visible, by their ids."""
    rows = _rows(_ACCOUNTS_BY_ID, AccountView, account_ids=list(account_ids)) if account_ids else []
    return {row.account_id: row for row in rows}


def account_of_number(*, number: str) -> AccountView | None:
    """The account that has the number, written with or without spaces, if it is visible."""
    digits = "".join(number.split())
    return _first(_rows(_ACCOUNT_OF_NUMBER, AccountView, number=digits)) if is_number(digits) else None


def find_accounts(
    *,
    search: str,
    state: str | None = None,
    currency: str | None = None,
    after: Newest | None = None,
    limit: int,
) -> list[AccountView]:
    """Accounts, newest first, in whose number, title, reference or customer's name each word begins a word.

    Of a name that more than `MOST_CUSTOMERS_OF_A_NAME` have, those of the newest of them.
    """
    return _rows(
        _FIND_ACCOUNTS,
        AccountView,
        search=_folded(search),
        state=state,
        currency=currency,
        most_customers=MOST_CUSTOMERS_OF_A_NAME,
        limit=limit,
        **_after(after),
    )


def is_common_name(*, search: str) -> bool:
    """Whether `find_accounts` leaves out accounts of some customers whom the search finds by name."""
    asked = {"search": _folded(search), "most_customers": MOST_CUSTOMERS_OF_A_NAME}
    return bool(_values(_IS_COMMON_NAME, asked)[0][0])


def entries(
    *,
    account_id: UUID,
    kind: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    after: int | None = None,
    limit: int,
) -> list[EntryView]:
    """Lines of the account's statement, newest first; `after` is the version of the last line before."""
    return _rows(
        _ENTRIES,
        EntryView,
        account_id=account_id,
        kind=kind,
        created_from=created_from,
        created_to=created_to,
        after=after,
        limit=limit,
    )


def every_entry(
    *,
    account_id: UUID,
    kind: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> Iterator[EntryView]:
    """All those lines, newest first, a batch of them in memory at one time."""
    after: int | None = None
    while batch := entries(
        account_id=account_id,
        kind=kind,
        created_from=created_from,
        created_to=created_to,
        after=after,
        limit=ROWS_PER_BATCH,
    ):
        yield from batch
        after = batch[-1].version


def holdings(*, customer_id: UUID) -> list[tuple[str, int]]:
    """What a customer holds in all their accounts: each currency and the sum in its minor units."""
    return [(currency, balance) for currency, balance in _values(_HOLDINGS, {"customer_id": customer_id})]


def reversed_entries(*, entries: Sequence[EntryRow]) -> set[UUID]:
    """The ids of those of the entries that have been reversed, wherever on the statement that was."""
    found = _values(
        _REVERSED_ENTRIES,
        {
            "account_ids": list({entry.account_id for entry in entries}),
            "entry_ids": [entry.entry_id for entry in entries],
        },
    )
    return {reverses for (reverses,) in found}


def transfer(*, transfer_id: UUID) -> TransferView | None:
    """The transfer with its steps, or None when no such transfer is visible (yet)."""
    return _first(_rows(_TRANSFER, TransferView, transfer_id=transfer_id))


def transfers(
    *,
    account_id: UUID | None = None,
    state: str | None = None,
    reference: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    after: Newest | None = None,
    limit: int,
) -> list[TransferRow]:
    """Transfers, newest first, without their steps; `account_id` is either of the two accounts."""
    return _rows(
        _TRANSFERS if account_id is None else _TRANSFERS_OF_ACCOUNT,
        TransferRow,
        account_id=account_id,
        state=state,
        reference=reference,
        created_from=created_from,
        created_to=created_to,
        limit=limit,
        **_after(after),
    )


def transfers_of_amounts(
    *,
    amounts: Mapping[str, int],
    state: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    after: Newest | None = None,
    limit: int,
) -> list[TransferRow]:
    """Transfers, newest first, of the amount that belongs to their currency; `created_to` is exclusive."""
    ends = [end for end in (after, (created_to, _LEAST_ID) if created_to else None) if end]
    before_at, before_id = min(ends, default=(None, _LEAST_ID))
    return _rows(
        _TRANSFERS_OF_AMOUNTS,
        TransferRow,
        currencies=list(amounts),
        amounts=list(amounts.values()),
        states=[state] if state else _STATES,
        created_from=created_from,
        before_at=before_at,
        before_id=before_id,
        limit=limit,
    )


def customer(*, customer_id: UUID) -> CustomerRow | None:
    """The customer, or None when no such customer is visible (yet)."""
    return _first(_rows(_CUSTOMER, CustomerRow, customer_id=customer_id))


def customers(
    *,
    search: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    after: Newest | None = None,
    limit: int,
) -> list[CustomerRow]:
    """Customers, newest first. `search` finds those in whose name or reference each of its words begins a word."""
    return _rows(
        _CUSTOMERS,
        CustomerRow,
        search=_folded(search) if search else None,
        created_from=created_from,
        created_to=created_to,
        limit=limit,
        **_after(after),
    )


def wait_for_version(*, subject: Subject, id: UUID, version: int, seconds: float = MAX_WAIT_SECONDS) -> None:
    """Waits until the read model shows this version of the stream.

    Raises `NotYetVisible` when it takes longer, or when too many wait already.
    """

    def shown() -> int:
        found = _values(_VERSION_OF[subject], {"id": id})
        return int(found[0][0]) if found else 0

    if read_until(shown, enough=lambda found: found >= version, seconds=seconds) < version:
        raise NotYetVisible(f"{subject} {id} at version {version}")


def wait_for_transfer(*, transfer_id: UUID, seconds: float) -> bool:
    """Waits until the transfer is final, or waits for a person or a date, and both accounts show what it did.

    Answers with False when it takes longer. Raises `TooManyWaiting` when too many wait already.
    """

    def settled() -> bool:
        found = _values(_SETTLED, {"transfer_id": transfer_id, "settled": _SETTLED_STATES})
        return bool(found and found[0][0])

    return read_until(settled, enough=bool, seconds=seconds)


def _folded(search: str) -> str:
    """What somebody looks for as the columns `search` have it: without accents, so that either way of writing is found.

    The tables do the same in SQL (projections/customers.sql); a test compares the two.
    """
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", search) if not "\u0300" <= letter <= "\u036f")
    return unicodedata.normalize("NFKC", plain).replace("\u00df", "ss")


def _after(after: Newest | None) -> dict[str, Any]:
    at, id = after or (None, None)
    return {"after_at": at, "after_id": id}


def _rows(statement: str, row: type[R], **parameters: Any) -> list[R]:
    decoders = _json_decoders(row)
    return [row(*_decoded(values, decoders)) for values in _values(statement, parameters)]


def _values(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connections[router.db_for_read(models.Account)].cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _decoded(values: tuple[Any, ...], decoders: Mapping[int, msgspec.json.Decoder[Any]]) -> Sequence[Any]:
    if not decoders:
        return values
    return [decoders[index].decode(value) if index in decoders else value for index, value in enumerate(values)]


@cache
def _json_decoders(row: type[Row]) -> Mapping[int, msgspec.json.Decoder[Any]]:
    """How the columns that Django hands over as JSON text become what the row holds, by their place."""
    hints = get_type_hints(row)
    types = [hints[field] for field in row.__struct_fields__]
    return {index: msgspec.json.Decoder(type) for index, type in enumerate(types) if get_origin(type) in (dict, list)}


def _first(rows: Sequence[R]) -> R | None:
    return rows[0] if rows else None
