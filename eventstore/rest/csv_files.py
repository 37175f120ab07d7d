"""Whole lists as CSV (RFC 4180): streamed, in a memory that does not grow with them, and safe to open in a spreadsheet.

Invariants: no cell is a formula, whoever wrote its text; a file that could not be finished does not end as a whole one
does, for the connection is cut; only so many are under way at one time, since each holds a thread of the server for as
long as its reader takes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from io import StringIO
from itertools import chain, islice
from threading import BoundedSemaphore
from typing import Any, Final
from weakref import finalize

from django.http import StreamingHttpResponse
from rest_framework.renderers import JSONRenderer

from eventstore.conf import store_settings

CSV: Final = "text/csv"
ROWS_PER_CHUNK: Final = 500

# What spreadsheets, in one script or another, take for the beginning of a formula; after spaces too, to be sure.
_FORMULA: Final = re.compile(r"\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# A spreadsheet whose separator is not the comma takes a text apart, and what stands behind is then a beginning.
_FORMULA_INSIDE: Final = re.compile(r'([;\t|,][\s"]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])')
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class TooManyDownloads(Exception):
    """Others are downloading, and each download takes a place; ask again in a moment."""

    code = "downloads_busy"


class CsvRenderer(JSONRenderer):
    """Lets a view be asked for CSV in `Accept`; its problems stay JSON, and the file itself is a `csv_file`."""

    media_type = CSV
    format = "csv"


def csv_file(
    *, columns: Sequence[str], rows: Iterable[Sequence[Any]], name: str, for_spreadsheets: bool = False
) -> StreamingHttpResponse:
    """A download of the rows under a line with the columns' names; None is an empty cell, rows are read as it goes.

    `for_spreadsheets` puts a byte order mark first, without which Excel takes the text for an older encoding and which
    many programs take for a part of the first name; and no text has a formula in it for who separates otherwise.
    Raises `TooManyDownloads`.
    """
    return StreamingHttpResponse(
        _Download(columns, rows, mark="\ufeff" if for_spreadsheets else ""),
        content_type=f"{CSV}; charset=utf-8; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="{name}.csv"',
            "Cache-Control": "private, no-store",
            "Vary": "Accept, Authorization, Cookie",
        },
    )


def harmless(cell: Any, *, for_spreadsheets: bool = False) -> Any:
    """The cell with an apostrophe before what would be a formula, as spreadsheets themselves write such text."""
    if isinstance(cell, str) and for_spreadsheets:
        cell = _FORMULA_INSIDE.sub(r"\1'", cell)
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


class _Download:
    """The file's bytes, chunk by chunk; holds one of the places until it is closed or forgotten."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, mark: str) -> None:
        places = _places(store_settings().MOST_DOWNLOADS)
        if not places.acquire(blocking=False):
            raise TooManyDownloads
        self.close = finalize(self, places.release)  # at most once
        self._lines = chain([columns], rows)
        self._mark = mark

    def __iter__(self) -> Iterator[bytes]:
        before = self._mark
        while lines := list(islice(self._lines, ROWS_PER_CHUNK)):
            chunk = StringIO(before, newline="")
            chunk.seek(len(before))
            csv.writer(chunk).writerows(
                [harmless(cell, for_spreadsheets=bool(self._mark)) for cell in line] for line in lines
            )
            yield chunk.getvalue().encode()
            before = ""


@cache  # the setting is the same for as long as a process serves
def _places(most: int) -> BoundedSemaphore:
    return BoundedSemaphore(most)
