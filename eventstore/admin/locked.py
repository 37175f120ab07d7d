"""What every page of the event store in the admin shares: it can be read, and never edited.

Invariant: nobody adds, changes or deletes a row through the admin, a superuser included. What an operator may do is an
action with a confirmation and a reason, and goes through `eventstore.operations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest, HttpResponse

from eventstore.admin.keyset import KeysetChangeList

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class ChosenRows(_ModelAdmin):
    """A list whose rows can be ticked for an action, and that is narrowed by what its own filters link to alone."""

    narrowed_by: ClassVar[tuple[str, ...]] = ()  # the parameters of those links, as they are written there

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """By these: whoever may ask for any column finds out what is hidden in one, and some questions break Django."""
        return lookup in self.narrowed_by

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *more: Any) -> HttpResponse | None:
        """Does what was chosen. Raises BadRequest for what cannot be the key of a row, which Django would break on."""
        key = self.model._meta.pk  # noqa: SLF001 - Django's public API
        for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                known = chosen.isprintable() and key.to_python(chosen) is not None
            except ValidationError:
                known = False
            if not known:
                raise BadRequest("a row was chosen that cannot be")
        answered: HttpResponse | None = super().response_action(request, queryset, *more)
        return answered


class LockedAdmin(ChosenRows):
    """A table to read, newest first, paged by key."""

    list_per_page = 50
    show_full_result_count = False
    sortable_by: ClassVar[tuple[str, ...]] = ()
    list_display_links: Any = None
    hidden: ClassVar[tuple[str, ...]] = ()  # fields that nobody is shown
    title: ClassVar[str] = ""  # of the list; the model's own name when empty
    one: ClassVar[str] = ""  # the title of a row's page; the model's own name when empty
    change_list_template = "admin/eventstore/change_list.html"
    lead: ClassVar[str] = ""  # a sentence above the list
    empty: ClassVar[str] = "There is nothing here yet."  # said where a list that was not searched has no rows

    class Media:
        css = {"all": ["eventstore/admin.css"]}

    def search_form(self, request: HttpRequest) -> forms.Form | None:
        """The form above the list, bound to what is asked; None for none."""
        return None

    def search_fields_of_form(self) -> tuple[str, ...]:
        """The names of the search form's fields."""
        return ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Lists are paged by key."""
        return KeysetChangeList

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first; keys grow with time."""
        return ("-pk",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All columns but the hidden ones."""
        if self.fields:
            return [str(name) for name in self.fields]
        return [field.name for field in _columns(self.model) if field.name not in self.hidden]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All that is shown."""
        return self.get_fields(request, obj)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, with its search form and its sentence."""
        form = self.search_form(request)
        searched = form is not None and any(request.GET.get(name) for name in form.fields)
        extra = {
            "search_form": form,
            "lead": self.lead,
            "title": self._title(),
            "empty": "" if searched else self.empty,
        }
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One row, under a name for people."""
        title = self.one or str(self.opts.verbose_name)
        extra = {"title": title[:1].upper() + title[1:], **(extra_context or {})}
        return super().change_view(request, object_id, form_url, extra)

    def page_context(self, request: HttpRequest, **context: Any) -> dict[str, Any]:
        """What the templates of a page of its own need."""
        return {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, **context}

    def require_view(self, request: HttpRequest) -> None:
        """Lets only those pass who may look, and only look. Raises PermissionDenied."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied

    def _title(self) -> str:
        words = self.title or str(self.opts.verbose_name_plural)
        return words[:1].upper() + words[1:]


def _columns(model: type[Model]) -> list[Field[Any, Any]]:
    return [field for field in model._meta.get_fields() if isinstance(field, Field)]  # noqa: SLF001 - Django's public API
