"""Lists that are paged by key: no count and no offset, so that a page costs the same in a table of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

if TYPE_CHECKING:
    from eventstore.admin.locked import LockedAdmin

BEFORE: Final = "before"
AFTER: Final = "after"


class KeysetChangeList(ChangeList):
    """A change list, newest first by primary key, that knows its neighbours and not its length."""

    model_admin: LockedAdmin
    older: str | None = None  # query strings, or None at an end
    newer: str | None = None
    newest: str = "?"

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """What the filters are given: neither the cursors nor the fields of the search form."""
        found: dict[str, Any] = super().get_filters_params(params)
        for name in (BEFORE, AFTER, *self.model_admin.search_fields_of_form()):
            found.pop(name, None)
        return found

    def get_results(self, request: HttpRequest) -> None:
        """The page, and whether there are others."""
        found = self.read_page(self.queryset.order_by(), request)
        self.result_list = found
        self.result_count = len(found)
        self.show_full_result_count = False
        self.full_result_count = None
        self.show_admin_actions = bool(found)
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(found, max(1, len(found)))

    def read_page(self, queryset: QuerySet[Model], request: HttpRequest) -> list[Model]:
        """One page of the queryset, whose order is the key's."""
        before, after = self._cursor(request, BEFORE), self._cursor(request, AFTER)
        if after is not None:
            rows = list(queryset.filter(pk__gt=after).order_by("pk")[: self.list_per_page + 1])
            more_newer, more_older = len(rows) > self.list_per_page, True
            rows = rows[: self.list_per_page][::-1]
        else:
            older = queryset if before is None else queryset.filter(pk__lt=before)
            rows = list(older.order_by("-pk")[: self.list_per_page + 1])
            more_newer, more_older = before is not None, len(rows) > self.list_per_page
            rows = rows[: self.list_per_page]
        self.newest = self.get_query_string(remove=[BEFORE, AFTER])
        if rows:
            self.older = self._link(BEFORE, rows[-1].pk) if more_older else None
            self.newer = self._link(AFTER, rows[0].pk) if more_newer else None
        elif before is not None or after is not None:
            self.newer = self.newest
        return rows

    def _link(self, name: str, key: Any) -> str:
        other = AFTER if name == BEFORE else BEFORE
        return self.get_query_string({name: str(key)}, remove=[other])

    def _cursor(self, request: HttpRequest, name: str) -> Any:
        given = request.GET.get(name)
        if given is None:
            return None
        try:
            return self.opts.pk.to_python(given)
        except ValidationError as error:
            raise IncorrectLookupParameters(error) from error
