"""Many copies of a small ledger in one database, for tests that need tens of thousands of events in a second or two.

A copy's ids are the original's with other leading bits, chosen so that each stream stays in its bucket: CRC-32 is
linear, so what leaves one id's bucket alone leaves all. Streams with sealed fields are left out, because a ciphertext
is bound to its person's id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

from eventstore.buckets import bucket_of
from tests.conftest import Database

_ID: Final = re.compile(r"\b([0-9a-f]{8})(-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b")
_READ_MODELS: Final = ("account", "entry", "transfer", "transfer_step")

# History in the order of the log, without what is sealed.
_SELECT_EVENTS = """
SELECT e.event_id::text, e.stream_type, e.stream_id::text, e.version, e.event_type, e.schema_version, e.data::text,
    e.metadata::text, e.recorded_at, l.stream_bucket, l.route_bucket
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
WHERE e.stream_type <> 'customer' ORDER BY l.position
"""
_SELECT_HEAD = "SELECT position, sequenced_at, (SELECT max(id) FROM eventstore_event) FROM eventstore_sequencer"
_COPY_EVENTS = """
COPY eventstore_event (
    id, event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
) FROM STDIN
"""
_COPY_LOG = "COPY eventstore_log (position, event_id, stream_bucket, route_bucket, sequenced_at) FROM STDIN"
_MOVE_HEAD = "UPDATE eventstore_sequencer SET position = %s"
_MOVE_IDENTITY = "SELECT setval(pg_get_serial_sequence('eventstore_event', 'id'), %s)"
_MOVE_PROJECTIONS = "UPDATE eventstore_checkpoint SET position = %s WHERE subscription LIKE 'views.%%'"

# The columns that a projection writes.
_SELECT_COLUMNS = """
SELECT attname FROM pg_catalog.pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
_COPY_OUT = "COPY {table} ({columns}) TO STDOUT"
_COPY_IN = "COPY {table} ({columns}) FROM STDIN"
_ANALYZE = "ANALYZE"


def multiply(database: Database, *, copies: int, again: bool = False) -> int:
    """Adds so many copies of everything that is in the database; answers with the number of events added.

    `again`: there are copies in it already.
    """
    masks = list(islice(_masks(shift=16 if again else 0), copies))
    with psycopg.connect(database.owner_url) as owner, psycopg.connect(database.app_url) as app:
        events = owner.execute(_SELECT_EVENTS).fetchall()
        head = owner.execute(_SELECT_HEAD).fetchone()
        assert head is not None
        _copy_history(owner, events, masks, head)
        for name in _READ_MODELS:
            _copy_read_model(app, name, masks)
        app.execute(_MOVE_PROJECTIONS, [head[0] + len(events) * copies])
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(_ANALYZE)
    return len(events) * copies


def _masks(*, shift: int) -> Iterator[int]:
    """What may be XORed to the leading 32 bits of every id."""
    zero = bucket_of(UUID(int=0))
    return (mask << shift for mask in count(1) if bucket_of(UUID(int=mask << (96 + shift))) == zero)


def _masked(text: str, mask: int) -> str:
    return _ID.sub(lambda found: f"{int(found[1], 16) ^ mask:08x}{found[2]}", text)


def _copy_history(
    owner: psycopg.Connection, events: Sequence[Any], masks: Sequence[int], head: tuple[Any, ...]
) -> None:
    position, sequenced_at, last_id = head
    with owner.cursor() as cursor:
        with cursor.copy(_COPY_EVENTS) as copy:
            for nth, mask in enumerate(masks):
                for ordinal, (*texts, recorded_at, _, _) in enumerate(events, start=1 + nth * len(events)):
                    copied = [_masked(text, mask) if isinstance(text, str) else text for text in texts]
                    copy.write_row([last_id + ordinal, *copied, recorded_at])
        with cursor.copy(_COPY_LOG) as copy:
            for ordinal in range(1, len(masks) * len(events) + 1):
                buckets = events[(ordinal - 1) % len(events)][-2:]
                copy.write_row([position + ordinal, last_id + ordinal, *buckets, sequenced_at])
        cursor.execute(_MOVE_HEAD, [position + len(masks) * len(events)])
        cursor.execute(_MOVE_IDENTITY, [last_id + len(masks) * len(events)])


def _copy_read_model(app: psycopg.Connection, name: str, masks: Sequence[int]) -> None:
    table = sql.Identifier("readmodel", name)
    columns = [column for (column,) in app.execute(_SELECT_COLUMNS, [f"readmodel.{name}"]).fetchall()]
    names = {"table": table, "columns": sql.SQL(", ").join(map(sql.Identifier, columns))}
    with app.cursor() as cursor:
        with cursor.copy(sql.SQL(_COPY_OUT).format(**names)) as copy:
            text = b"".join(bytes(block) for block in copy).decode()
        with cursor.copy(sql.SQL(_COPY_IN).format(**names)) as copy:
            for mask in masks:
                copy.write(_masked(text, mask))
