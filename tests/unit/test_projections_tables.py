"""How a row's fields become a table's columns."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from eventstore.tables import Row, Table


class Shelf(Row, frozen=True):
    """One field of each type."""

    shelf_id: UUID
    place: int
    label: str | None
    full: bool
    made_at: datetime
    due_on: date
    weight: Decimal
    notes: dict[str, str] | None


class Nested(Row, frozen=True):
    """A field that no column holds."""

    shelf_id: UUID
    labels: list[str]


def test_each_field_is_a_column_of_its_type() -> None:
    statement = Table("shelf", Shelf, key=("shelf_id",)).write.as_string(None)
    assert (
        '"shelf_id" uuid, "place" bigint, "label" text, "full" boolean, "made_at" timestamptz, "due_on" date,'
        ' "weight" numeric, "notes" jsonb'
    ) in statement
    assert statement.rstrip().endswith('ON CONFLICT ("shelf_id") DO NOTHING')


def test_a_table_with_a_version_replaces_older_rows_except_what_is_fixed() -> None:
    table = Table(
        "shelf", Shelf, key=("shelf_id",), version="place", fixed=("made_at", "due_on", "weight", "notes", "label")
    )
    statement = table.write.as_string(None)
    assert 'DO UPDATE SET "place" = excluded."place", "full" = excluded."full" WHERE' in statement
    assert 'WHERE present."place" < excluded."place"' in statement


def test_a_field_that_no_column_holds_is_named() -> None:
    with pytest.raises(TypeError, match=r"Nested\.labels"):
        Table("nested", Nested, key=("shelf_id",))


def test_the_key_is_a_value_or_several() -> None:
    shelf = Shelf(UUID(int=5), 7, None, True, datetime.max, date.max, Decimal(1), None)  # noqa: DTZ901, FBT003
    assert Table("shelf", Shelf, key=("shelf_id",)).key_of(shelf) == UUID(int=5)
    assert Table("shelf", Shelf, key=("shelf_id", "place")).key_of(shelf) == (UUID(int=5), 7)


def test_rows_are_written_in_the_order_of_their_keys_as_the_database_has_it() -> None:
    table = Table("shelf", Shelf, key=("shelf_id", "place"))
    low = Shelf(UUID(int=5), 7, None, True, datetime.max, date.max, Decimal(1), None)  # noqa: DTZ901, FBT003
    high = Shelf(UUID(int=5 << 64), 1, None, True, datetime.max, date.max, Decimal(1), None)  # noqa: DTZ901, FBT003
    assert sorted([high, low], key=table.order) == [low, high]
