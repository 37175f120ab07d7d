"""From a form to a command and back to a page that shows what it did.

Invariant: a form carries an idempotency key from the moment it is shown, so that a second click, a reload or a broken
connection does nothing twice; and whoever gave a command is shown its effect, or that it is still being posted. Forms
call one service each, through here, and nothing deeper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar, cast
from uuid import UUID

import structlog
from django import forms
from django.http import Http404, HttpRequest, QueryDict
from msgspec import Struct

from eventstore.appending import StreamBusy, StreamConflict
from eventstore.context import CommandContext
from eventstore.idempotency import Claim, IdempotencyInProgress, IdempotencyKeyReused, fingerprint_of
from eventstore.ids import new_id
from eventstore.metadata import Metadata, actor_of
from eventstore.refusals import InvalidValue, Refusal
from eventstore.rest.correlation import correlation_id_of, parse_uuid
from eventstore.rest.freshness import NotYetVisible
from eventstore.store import Answered, StreamNotFound, VersionMismatch
from views_readmodel import queries

A = TypeVar("A", bound=Struct)

VISIBLE_SECONDS: Final = 2.0
"""How long an answer is held back until the page can show its effect; after that the page says "posting"."""

_KEY: Final = "key"
_ORIGIN: Final = "web"
_NOT_ASKED: Final = frozenset({_KEY, "csrfmiddlewaretoken"})  # no part of what a form asks for

USED_ALREADY: Final = (
    "This form was already used for something else, and that was done. Close it and look at the account before you"
    " begin again."
)
USED_ALREADY_CODE: Final = "used_already"
IN_PROGRESS: Final = (
    "The same request is still being worked on. Wait a moment, then send it again: nothing is done twice."
)
CHANGED_MEANWHILE: Final = "Somebody else is changing this at the same moment. Nothing was done; send it again."
CHANGED_SINCE: Final = (
    "Somebody else has changed this since you opened the form. Nothing was done; look at what stands there now, and"
    " open the form again."
)


class KeyField(forms.UUIDField):
    """The key of a form as the form was given it, and in no other spelling: drafts are found by it."""

    def to_python(self, value: Any) -> Any:
        """The key."""
        if value and not isinstance(value, UUID) and parse_uuid(str(value)) is None:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class CommandForm(forms.Form):
    """A form that becomes one command."""

    key = KeyField(widget=forms.HiddenInput)
    """Made when the form is shown, kept while it is corrected."""

    # Where a refusal belongs when it is about one field.
    refused_fields: ClassVar[dict[str, str]] = {}

    def __init__(self, data: QueryDict | None = None, *, initial: dict[str, Any] | None = None) -> None:
        # Ids of their own: a form may stand in a dialog over a page with another one.
        super().__init__(data, initial={_KEY: new_id()} | (initial or {}), auto_id="command_%s")
        self.label_suffix = ""
        for field in self.fields.values():
            field.widget.attrs.setdefault("class", "input")
            field.error_messages["required"] = f"{field.label} is missing."

    def clean(self) -> dict[str, Any]:
        """Refuses a field that was sent twice: which would count?"""
        sent = cast("QueryDict", self.data)
        for name in self.fields:
            if len(sent.getlist(name)) > 1:
                self.add_error(name, "This was sent twice. Send it once.")
        return self.cleaned_data

    def is_damaged(self) -> bool:
        """Whether something is wrong with what nobody types."""
        return any(field.errors for field in self.hidden_fields())

    def wrong_field(self) -> str:
        """The first field that something is wrong with; "" when none is."""
        return next((field.name for field in self.visible_fields() if field.errors), "")

    def point_at(self, name: str) -> None:
        """Has the page open with the focus in a field."""
        self.fields[name].widget.attrs["autofocus"] = True

    def refuse(self, refusal: Refusal) -> None:
        """Shows a refusal beside the field that it is about, or above the form."""
        field = refusal.field if isinstance(refusal, InvalidValue) else self.refused_fields.get(refusal.code, "")
        self.add_error(field if field in self.fields else None, str(refusal))


def carry_out(request: HttpRequest, form: CommandForm, call: Callable[[CommandContext], Answered[A]]) -> A | None:
    """Gives the command; None when it was refused, and the form says why.

    Raises Http404 when what it was for does not exist.
    """
    try:
        return call(_context(request, form)).value
    except Refusal as refusal:
        form.refuse(refusal)
    except StreamNotFound as error:
        raise Http404 from error
    except IdempotencyKeyReused:
        form.add_error(None, forms.ValidationError(USED_ALREADY, code=USED_ALREADY_CODE))
    except IdempotencyInProgress:
        form.add_error(None, IN_PROGRESS)
    except (StreamConflict, StreamBusy):
        form.add_error(None, CHANGED_MEANWHILE)
    except VersionMismatch:
        form.add_error(None, CHANGED_SINCE)
    return None


def shown(*, subject: queries.Subject, id: UUID, version: int) -> str:
    """Waits until the pages show a version: "", or what to add to the address of a page that is to wait itself."""
    try:
        queries.wait_for_version(subject=subject, id=id, version=version, seconds=VISIBLE_SECONDS)
    except NotYetVisible:
        return f"?posting={version}"
    return ""


def posting(request: HttpRequest) -> int:
    """The version that a page was asked to wait for, 0 when none was."""
    text = request.GET.get("posting", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _context(request: HttpRequest, form: CommandForm) -> CommandContext:
    actor = actor_of(request.user)
    request_id = parse_uuid(str(structlog.contextvars.get_contextvars().get("request_id", "")))
    asked = sorted((name, form.data.get(name)) for name in form.data if name not in _NOT_ASKED)
    return CommandContext(
        metadata=Metadata(
            actor=actor, correlation_id=correlation_id_of(request), causation_id=request_id, origin=_ORIGIN
        ),
        claim=Claim(
            principal=actor,
            key=str(form.cleaned_data[_KEY]),
            fingerprint=fingerprint_of(request.path.encode(), repr(asked).encode()),
        ),
    )
