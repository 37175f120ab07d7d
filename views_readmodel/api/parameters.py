"""What may stand behind the question mark of a read: filters, freshness, time travel."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from accounts.published.events import AccountStatus
from accounts.published.money import CURRENCY_PATTERN
from eventstore.rest.cursors import ListQuery
from eventstore.rest.requests import CodeField, IdField, MomentField, QuerySerializer, TextField, VersionField
from transfers.published.events import TransferStatus
from views_readmodel.projections.accounts import EntryKind

MAX_SEARCH_LENGTH = 100
INCLUDABLE = ("changes", "transfers")
FORMATS = ("json", "csv")


class MinVersionQuery(QuerySerializer):
    """How fresh the answer must be."""

    min_version = VersionField(
        required=False, help_text="Waits, at most 5 s, until this version of the stream can be seen."
    )


class MadeBetween(ListQuery):
    """A list of things by when they were made."""

    created_from = MomentField(required=False, help_text="Made at this time or later.")
    created_to = MomentField(required=False, help_text="Made before this time.")


class CustomersQuery(MadeBetween):
    """Which customers."""

    search = TextField(
        required=False,
        max_length=MAX_SEARCH_LENGTH,
        help_text="Each word begins a word of the name or the reference; accents make no difference.",
    )


class AccountsQuery(MadeBetween):
    """Which accounts."""

    search = TextField(
        required=False,
        max_length=MAX_SEARCH_LENGTH,
        help_text="Each word begins a word of the number, the title or the reference; accents make no difference.",
    )
    customer_id = IdField(required=False)
    state = serializers.ChoiceField(required=False, choices=[status.value for status in AccountStatus])
    currency = CodeField(required=False, pattern=CURRENCY_PATTERN)


class EntriesQuery(MadeBetween, MinVersionQuery):
    """Which lines of the statement."""

    kind = serializers.ChoiceField(required=False, choices=[kind.value for kind in EntryKind])
    format = serializers.ChoiceField(
        required=False,
        choices=FORMATS,
        help_text="In the place of what `Accept` says. `csv` has every line, and takes no `cursor` and no `limit`.",
    )


class TransfersQuery(MadeBetween):
    """Which transfers."""

    account_id = IdField(required=False, help_text="Either of the two accounts.")
    state = serializers.ChoiceField(required=False, choices=[status.value for status in TransferStatus])
    reference = TextField(
        required=False, allow_blank=False, max_length=MAX_SEARCH_LENGTH, help_text="Exactly this one."
    )


@extend_schema_field({"type": "string", "pattern": f"^({'|'.join(INCLUDABLE)})(,({'|'.join(INCLUDABLE)}))*$"})
class IncludeField(TextField):
    """What to add to a document, separated by commas."""

    default_error_messages = {"include": f"This takes {' and '.join(INCLUDABLE)}, separated by a comma."}

    def to_internal_value(self, data: Any) -> Any:
        """The names, each once."""
        names = frozenset(super().to_internal_value(data).split(","))
        if not names <= set(INCLUDABLE):
            self.fail("include")
        return names


class AccountQuery(MinVersionQuery):
    """How the account is to be shown."""

    include = IncludeField(
        required=False, allow_blank=False, help_text="`changes`, `transfers` or both: adds the newest of each."
    )
    as_of = MomentField(required=False, help_text="As it was at this time.")
    at_version = VersionField(required=False, help_text="As it was at this version.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuses what cannot go together."""
        past = [name for name in ("as_of", "at_version") if name in attrs]
        others = [name for name in ("include", "min_version") if name in attrs]
        if len(past) == 2 or (past and others):
            detail = ErrorDetail(f"This does not go together with {(past + others)[1]}.", code="exclusive")
            raise ValidationError({past[0]: [detail]})
        return attrs
