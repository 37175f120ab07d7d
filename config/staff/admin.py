"""People, programs, roles and tokens in the admin. Django's autodiscovery alone imports this module.

Invariants: no hash of a password or a token is shown; nobody is deleted, for events name who acted; nobody changes
their own roles, only a superuser changes a superuser, and nobody becomes one here. Whatever is done to a member is an
operation: who did it and what it was stands in a table that nobody can rewrite, for auditors to read.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from axes.models import AccessAttempt
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from knox.models import AuthToken

from config.staff.forms import GivenPasswordForm, MemberForm, NewPersonForm
from config.staff.lockout import forget, let_in, locked_until
from config.staff.members import ADMIN_ROLES, end_access
from config.staff.models import StaffMember
from eventstore import operations
from eventstore.admin import showing
from eventstore.admin.confirming import reason_form
from eventstore.admin.locked import ChosenRows, LockedAdmin
from eventstore.metadata import actor_of

MEMBERS_SHOWN: Final = 200


if TYPE_CHECKING:
    _UserAdmin = UserAdmin[StaffMember]
else:
    _UserAdmin = UserAdmin


class StaffMemberAdmin(ChosenRows, _UserAdmin):
    """Who may sign in, and as what."""

    form = MemberForm
    add_form = NewPersonForm
    add_form_template = None
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("username", "password1", "password2", "groups")}),)
    fieldsets = (
        (None, {"fields": ("username", "kind", "new_password", "is_active", "locked")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Roles", {"fields": ("groups",)}),
        ("Since when", {"fields": ("last_seen", "since")}),
    )
    list_display = ("username", "kind", "roles", "is_active", "last_seen")
    list_filter = ("is_active", "is_service", "groups")
    narrowed_by = ("is_active__exact", "is_service__exact", "groups__id__exact", "groups__isnull")
    filter_horizontal = ()
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("let_in_again",)

    class Media:
        css = {"all": ["eventstore/admin.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, under its name."""
        return super().changelist_view(request, {"title": "Staff", **(extra_context or {})})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One member, under the member's name."""
        member = self.get_object(request, object_id)
        extra: dict[str, Any] = {"show_save_and_add_another": False, "show_save_and_continue": False}
        if member is not None:
            extra |= {"title": member.get_username(), "subtitle": None}
        return super().change_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A new person."""
        extra = {"title": "A new person", "show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**extra, **(extra_context or {})})

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """What was done to a member here."""
        member = self.get_object(request, object_id)
        extra = {} if member is None else {"title": f"What was done to {member.get_username()}"}
        return super().history_view(request, object_id, {**extra, **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[StaffMember]:
        """Everybody, with their roles, and without what their password is checked against."""
        return super().get_queryset(request).prefetch_related("groups").defer("password")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Roles, to tick."""
        return super().formfield_for_manytomany(
            db_field, request, **{**kwargs, "widget": forms.CheckboxSelectMultiple, "label": "Roles", "help_text": ""}
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser changes a superuser: with a new password one could sign in as one."""
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: events name who acted. A member is deactivated."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """A name never changes, for events hold it; and nobody gives themselves another role."""
        fixed = ("kind", "new_password", "locked", "last_seen", "since")
        if obj is None:
            return fixed
        return (*fixed, "username", "is_active", "groups") if obj == request.user else (*fixed, "username")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's own signature
        """The flag that shows the way to the admin follows the roles."""
        member = form.instance
        before = set(member.groups.values_list("name", flat=True))
        super().save_related(request, form, formsets, change)
        roles = set(member.groups.values_list("name", flat=True))
        member.is_staff = member.is_superuser or not ADMIN_ROLES.isdisjoint(roles)
        member.save(update_fields=["is_staff"])
        changed = sorted(name for name in form.changed_data if not name.startswith("password"))
        detail: dict[str, Any] = {"changed": changed} if change else {}
        if before != roles:
            detail |= {"roles": sorted(roles), "roles_before": sorted(before)}
        if "is_active" in changed:
            detail["active"] = member.is_active
        if change and "is_active" in changed and not member.is_active:
            end_access(member)
        _record(request, "change member" if change else "make member", member, detail)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Gives another person a password, which they replace when they sign in; a program has none."""
        member = self.get_object(request, id)
        if member is None or member.is_service or not self.has_change_permission(request, member):
            raise PermissionDenied
        if member == request.user:
            return HttpResponseRedirect(reverse("password"))
        form = GivenPasswordForm(member, request.POST if request.method == "POST" else None)
        if form.is_valid():
            with transaction.atomic():
                form.save()
                end_access(member)
                self.log_change(request, member, "Gave another password.")
                _record(request, "set password", member, {})
            messages.success(request, "Tell them the password. When they sign in they choose one of their own.")
            return HttpResponseRedirect(reverse("admin:staff_staffmember_change", args=[member.pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"Another password for {member.get_username()}",
            "member": member,
            "form": form,
        }
        return TemplateResponse(request, "admin/password.html", context, status=422 if form.is_bound else 200)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Nobody is deleted, so only ours are left."""
        return {name: action for name, action in super().get_actions(request).items() if name in self.actions}

    def has_let_in_permission(self, request: HttpRequest) -> bool:
        """Who may let in who is locked out."""
        return bool(request.user.has_perm("axes.delete_accessattempt"))

    @admin.action(description="Let in again after failed log-ins", permissions=["let_in"])
    def let_in_again(self, request: HttpRequest, queryset: QuerySet[StaffMember]) -> None:
        """Forgets failed log-ins, so that who is locked out need not wait."""
        for member in queryset:
            forgotten = let_in(actor=actor_of(request.user), username=member.get_username())
            self.log_change(request, member, f"Let in again; failed log-ins forgotten: {forgotten}.")
        messages.success(request, "They may try again.")

    @admin.display(description="Locked out")
    def locked(self, member: StaffMember) -> SafeString | str:
        """Until when nobody may try the account's password, from one address at least."""
        until = locked_until(username=member.get_username())
        return showing.moment(until) if until else "no"

    @admin.display(description="Is")
    def kind(self, member: StaffMember) -> str:
        """A person or a program."""
        return "a program" if member.is_service else "a person"

    @admin.display(description="Roles")
    def roles(self, member: StaffMember) -> str:
        """The names of the roles."""
        named = ", ".join(sorted(group.name for group in member.groups.all()))
        return f"{named or 'none'}, superuser" if member.is_superuser else named or "none"

    @admin.display(description="Last log-in")
    def last_seen(self, member: StaffMember) -> SafeString:
        """When they last signed in."""
        return showing.moment(member.last_login)

    @admin.display(description="Here since")
    def since(self, member: StaffMember) -> SafeString:
        """When they were made."""
        return showing.moment(member.date_joined)

    @admin.display(description="Password")
    def new_password(self, member: StaffMember) -> SafeString | str:
        """The way to another one."""
        if member.is_service:
            return "A program has none: it has API keys."
        address = reverse("admin:auth_user_password_change", args=[member.pk])
        return format_html('<a href="{}">Set another password</a>; it ends what they are signed in to', address)


class RoleAdmin(LockedAdmin):
    """The roles, as the program has them: every migration sets them to exactly that again."""

    list_display = ("name",)
    list_display_links = ("name",)
    fields = ("name", "may", "members")
    title = "Roles"
    empty = "There are no roles: manage.py migrate makes them."
    lead = "What a role may do is part of the program (config/staff/roles.py); who has it is set for each person."

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One role, under its name."""
        role = self.get_object(request, object_id)
        extra = {} if role is None else {"title": f"The role {role.name}", "subtitle": None}
        return super().change_view(request, object_id, form_url, {**extra, **(extra_context or {})})

    @admin.display(description="May")
    def may(self, role: Group) -> SafeString:
        """The permissions, in words and by name."""
        found = role.permissions.select_related("content_type").order_by("content_type__app_label", "codename")
        named = ((one.name, f"{one.content_type.app_label}.{one.codename}") for one in found)
        return format_html(
            '<ul class="es-items">{}</ul>',
            format_html_join("", '<li>{} <span class="es-quiet">{}</span></li>', named),
        )

    @admin.display(description="Who has it")
    def members(self, role: Group) -> str:
        """The first of them by name."""
        found = StaffMember.objects.filter(groups=role).order_by("username").values_list("username", flat=True)
        names = list(found[: MEMBERS_SHOWN + 1])
        more = " and others" if len(names) > MEMBERS_SHOWN else ""
        return ", ".join(names[:MEMBERS_SHOWN]) + more or "nobody"


class TokenList(ChangeList):
    """Django's list, with something to do where there is something to do it to."""

    def get_results(self, request: HttpRequest) -> None:
        """The page."""
        super().get_results(request)
        self.show_admin_actions = bool(self.result_count)


class TokenRow(NamedTuple):
    """A token as its row is ticked."""

    pk: str
    words: str

    def __str__(self) -> str:
        return self.words


class TokenAdmin(LockedAdmin):
    """API keys and the log-ins of people by API: to see, and to revoke."""

    list_display = ("holder", "kind", "since", "until")
    list_select_related = ("user",)
    actions = ("revoke_selected",)
    title = "API keys and log-ins"
    empty = "Nobody has a key or is signed in by API."
    lead = (
        "What programs and people send as Authorization: Bearer. Only hashes are stored, and they are not shown. A key"
        " is made with manage.py create_api_key, which shows it once."
    )

    def get_urls(self) -> list[URLPattern]:
        """The list alone."""
        return super().get_urls()[:1]

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first."""
        return ("-created", "pk")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Django's own list: there are few, and a hash is no key to page by."""
        return TokenList

    def action_checkbox(self, obj: AuthToken) -> SafeString:
        """The box to tick, without the hash: that is what a token is stored under, and how it calls itself."""
        words = f"{self.kind(obj)} of {self.holder(obj)}, made {timezone.localtime(obj.created):%Y-%m-%d %H:%M}"
        return super().action_checkbox(TokenRow(mark_of(obj), words))

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *more: Any) -> HttpResponse | None:
        """Does what was chosen, to the tokens that the ticked marks stand for."""
        ticked = set(request.POST.getlist(ACTION_CHECKBOX_NAME))
        sent = request.POST.copy()
        sent.setlist(ACTION_CHECKBOX_NAME, [token.pk for token in queryset if mark_of(token) in ticked])
        request.POST = sent  # type: ignore[assignment]  # as good as what cannot be changed
        return super().response_action(request, queryset, *more)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Who may revoke."""
        return bool(request.user.has_perm("knox.delete_authtoken"))

    @admin.display(description="Of")
    def holder(self, token: AuthToken) -> str:
        """Whose it is."""
        return str(token.user.get_username())

    @admin.display(description="Is")
    def kind(self, token: AuthToken) -> str:
        """What it is for."""
        return "an API key" if token.user.is_service else "a log-in"

    @admin.display(description="Made")
    def since(self, token: AuthToken) -> SafeString:
        """When it was made."""
        return showing.moment(token.created)

    @admin.display(description="Ends")
    def until(self, token: AuthToken) -> SafeString | str:
        """When it stops working by itself."""
        if token.expiry is None:
            return "never"
        return showing.badge("ended", "plain") if token.expiry < timezone.now() else showing.moment(token.expiry)

    @admin.action(description="Revoke …", permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Asks why, and removes them: from then on they open nothing."""
        tokens = list(queryset.select_related("user")[: self.list_per_page])
        form = reason_form(request)
        if form.is_bound and form.is_valid():
            for token in tokens:
                with transaction.atomic():
                    token.delete()
                    _record(request, "revoke", token.user, {"reason": form.cleaned_data["reason"]})
                said = f"Revoked {self.kind(token)} of {token.created:%Y-%m-%d}: {form.cleaned_data['reason']}"
                self.log_change(request, token.user, said)
            messages.success(request, f"Revoked: {len(tokens)}.")
            return None
        context = self.page_context(
            request,
            title=f"Revoke {len(tokens)} {'token' if len(tokens) == 1 else 'tokens'}",
            verb="Revoke",
            consequence="Who sends them is turned away from now on. This cannot be undone; a new key can be made.",
            form=form,
            is_danger=True,
            items=[f"{self.kind(token)} of {token.user.get_username()}" for token in tokens],
            sent=[("action", "revoke_selected"), *((ACTION_CHECKBOX_NAME, mark_of(token)) for token in tokens)],
            back=request.get_full_path(),
        )
        return TemplateResponse(request, "admin/eventstore/confirm.html", context, status=422 if form.is_bound else 200)


class FailedLogInAdmin(LockedAdmin):
    """Failed log-ins that still count, by account and address."""

    list_display = ("whose", "ip_address", "failures", "last")
    actions = ("forget_selected",)
    title = "Failed log-ins"
    lead = (
        "What counts towards a lock-out, and is forgotten by itself. A name that nobody has is not shown: it may be a"
        " password typed into the wrong field."
    )

    def get_urls(self) -> list[URLPattern]:
        """The list alone."""
        return super().get_urls()[:1]

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """Who may let in who is locked out."""
        return bool(request.user.has_perm("axes.delete_accessattempt"))

    @admin.display(description="Account")
    def whose(self, attempt: AccessAttempt) -> str:
        """The account, if there is one of that name."""
        name = attempt.username or ""
        return "an unknown name" if name.startswith("?") else name

    @admin.display(description="Failures")
    def failures(self, attempt: AccessAttempt) -> int:
        """How many in a row."""
        return int(attempt.failures_since_start)

    @admin.display(description="The last")
    def last(self, attempt: AccessAttempt) -> SafeString:
        """When the last one was."""
        return showing.moment(attempt.attempt_time)

    @admin.action(description="Forget, and let in again", permissions=["forget"])
    def forget_selected(self, request: HttpRequest, queryset: QuerySet[AccessAttempt]) -> None:
        """Forgets the failures of one account at one address each."""
        for attempt in queryset:
            forget(attempt, actor=actor_of(request.user))
            said = f"Forgot {attempt.failures_since_start} failed log-ins from {attempt.ip_address}."
            self.log_change(request, attempt, said)
        messages.success(request, "Forgotten. They may try again.")


def mark_of(token: AuthToken) -> str:
    """What stands for a token on a page: nobody gets its hash from that."""
    return salted_hmac("config.staff.admin.token", token.pk, algorithm="sha256").hexdigest()


def _record(request: HttpRequest, action: str, member: StaffMember, detail: Mapping[str, Any]) -> None:
    """Keeps what was done to a member where nobody can rewrite it."""
    operations.record(actor=actor_of(request.user), action=action, detail={"member": member.actor, **detail})


def _replace(model: Any, ours: Any) -> None:
    """Puts ours in the place of what another application has registered."""
    if admin.site.is_registered(model):
        admin.site.unregister(model)
    admin.site.register(model, ours)


# knox registers its own, with the digests; once that is done, ours can take its place. Django's is done above.
import_module("knox.admin")
_replace(AuthToken, TokenAdmin)
_replace(Group, RoleAdmin)
admin.site.register(StaffMember, StaffMemberAdmin)
admin.site.register(AccessAttempt, FailedLogInAdmin)
