"""Daybook's admin site: for operators and auditors, behind the staff pages' own log-in.

Invariant: who may not look at events sees nothing of it, whatever the flags on the log-in say; and where the database
refuses to rewrite history, the page says so. `config.staff.admin_app` makes it the default site.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any, Final

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from eventstore.admin.operations import done_to
from eventstore.failures import is_refused_rewriting
from eventstore.metadata import actor_of
from eventstore.models import Operation

ENTRY: Final = "eventstore.view_event"
"""The permission without which there is no admin."""

MAY_SEE_OPERATIONS: Final = "eventstore.view_operation"
DID_SHOWN: Final = 10

# Django's own, to which nothing here leads: one's own password has a page for all staff (`config.staff.passwords`), and
# what else there is breaks on an address or a query that nobody has written for it.
_LEFT_OUT: Final = frozenset({"password_change", "password_change_done", "autocomplete", "view_on_site"})

# What stands where on the first page and beside every other, in the words of the staff. What is not named here stands
# below, as Django would have it.
SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "What happened": {
        "eventstore.Event": "Events",
        "eventstore.Operation": "Operations",
        "eventstore.Snapshot": "Snapshots",
        "eventstore.Seal": "Seals",
    },
    "What runs": {
        "eventstore.Checkpoint": "Subscriptions",
        "eventstore.ParkedKey": "Parked",
        "eventstore.OutboxEntry": "Backlog",
        "eventstore.Sequencer": "Log",
    },
    "Who": {
        "staff.StaffMember": "Staff",
        "auth.Group": "Roles",
        "knox.AuthToken": "API keys and log-ins",
        "axes.AccessAttempt": "Failed log-ins",
        "eventstore.SubjectKey": "Keys of persons",
        "eventstore.IdempotencyRecord": "Answered requests",
    },
}


class DaybookAdminSite(AdminSite):
    """The admin of the bank's operators and auditors."""

    site_header = "Daybook"
    site_title = "Daybook admin"
    index_title = "Admin"
    site_url = "/"
    empty_value_display = "–"  # noqa: RUF001 - an en dash is meant

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether the person may see any of it."""
        user = request.user
        return user.is_active and not getattr(user, "is_service", False) and user.has_perm(ENTRY)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """What the person may see, in sections of the bank's own; or of one application, as Django has it."""
        found: list[Any] = super().get_app_list(request, app_label)
        return found if app_label else _in_sections(found)

    def index(self, request: HttpRequest, extra_context: Any = None) -> TemplateResponse:
        """The first page, with what the person did last."""
        return super().index(request, {"did": _did(request), **(extra_context or {})})

    def app_index(self, request: HttpRequest, app_label: str, extra_context: Any = None) -> TemplateResponse:
        """The first page, which names all there is: an application has no page of its own."""
        if not self.get_app_list(request, app_label):
            raise Http404("nothing of it is yours to see")
        return self.index(request, extra_context)

    def get_urls(self) -> list[Any]:
        """Django's, without those that nothing here leads to."""
        return [one for one in super().get_urls() if getattr(one, "name", None) not in _LEFT_OUT]

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The staff pages' log-in; who is signed in and may not come in is told so."""
        asked = request.GET.get(REDIRECT_FIELD_NAME, "")
        ours = url_has_allowed_host_and_scheme(asked, allowed_hosts={request.get_host()})
        destination = asked if ours else reverse("admin:index", current_app=self.name)
        if self.has_permission(request):
            return HttpResponseRedirect(destination)
        if request.user.is_authenticated:
            raise PermissionDenied
        return redirect_to_login(destination, resolve_url(settings.LOGIN_URL))

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's own signature
        """Every view of the admin; a refusal of the database becomes a page that tells it."""

        @require_http_methods(["GET", "HEAD", "POST"])
        @wraps(view)
        def telling(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            try:
                return view(request, *args, **kwargs)
            except DatabaseError as error:
                if not is_refused_rewriting(error):
                    raise
                context = {**self.each_context(request), "title": "History is never rewritten"}
                return TemplateResponse(request, "admin/refused.html", context, status=403)

        return super().admin_view(telling, cacheable)


def _did(request: HttpRequest) -> list[tuple[Operation, str]] | None:
    """The newest operations of the person, each with what it was done to; None for who may not look at operations."""
    if not request.user.has_perm(MAY_SEE_OPERATIONS):
        return None
    own = Operation.objects.filter(actor=actor_of(request.user)).order_by("-id")[:DID_SHOWN]
    return [(one, done_to(one)) for one in own]


def _in_sections(applications: list[Any]) -> list[Any]:
    """Django's list of applications, sorted into `SECTIONS`."""
    models = {model["model"]._meta.label: model for application in applications for model in application["models"]}  # noqa: SLF001 - Django's public API
    sections = []
    for title, names in SECTIONS.items():
        shown = [{**models.pop(label), "name": name} for label, name in names.items() if label in models]
        if shown:
            sections.append(_section(title, shown))
    return sections + ([_section("More", list(models.values()))] if models else [])


def _section(title: str, models: list[Any]) -> dict[str, Any]:
    # The label only names a style, and the address is the first page: a section has none of its own.
    return {
        "name": title,
        "app_label": title.lower().replace(" ", "-"),
        "app_url": reverse("admin:index"),
        "has_module_perms": True,
        "models": models,
    }
