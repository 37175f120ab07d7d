"""How the migrations leave the store's tables: what the database itself refuses, word for word. Pure.

Written down a second time, so that a guard that was weakened in place shows. The words are those of PostgreSQL's own
`pg_get_constraintdef` and `pg_get_triggerdef` without the schema; they are the same on 15 to 18. Only `guards` imports
this, and a test compares it with a fresh database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

UNIQUE_COLUMNS: Final = {
    "eventstore_event": (("id",), ("event_id",), ("stream_id", "version")),
    "eventstore_outbox": (("event_id",),),
    "eventstore_log": (("position",), ("event_id",)),
    "eventstore_sequencer": (("id",),),
    "eventstore_seal": (("last_position",), ("previous_hash",)),
    "eventstore_checkpoint": (("id",), ("subscription", "bucket_low")),
    "eventstore_parked_key": (("id",), ("subscription", "key")),
    "eventstore_parked_event": (("id",), ("subscription", "position")),
    "eventstore_snapshot": (("id",), ("stream_id", "version", "state_version")),
    "eventstore_subject_key": (("subject_id",),),
    "eventstore_operation": (("id",),),
    "eventstore_idempotency_record": (("id",), ("principal", "key")),
}
"""What no two rows of a table may share: every table of the store is here."""

APPEND_ONLY: Final = ("eventstore_event", "eventstore_log", "eventstore_operation", "eventstore_seal")
"""Tables whose rows are never changed or removed."""

TRIGGERS: Final[Mapping[str, str]] = {
    table: (
        f"CREATE TRIGGER {table}_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION eventstore_refuse_rewriting()"
    )
    for table in APPEND_ONLY
}
"""The one trigger of each of these; the other tables have none."""

FUNCTION: Final = """
BEGIN
    RAISE EXCEPTION '% on % is refused: history is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END;
"""
"""The body of the triggers' function."""

CONSTRAINTS: Final[Mapping[str, Sequence[str]]] = {
    "eventstore_event": ("CHECK ((version >= 1))", "CHECK ((schema_version >= 1))"),
    "eventstore_outbox": (
        "CHECK (((stream_bucket >= 0) AND (stream_bucket <= 255)))",
        "CHECK (((route_bucket >= 0) AND (route_bucket <= 255)))",
    ),
    "eventstore_log": ('CHECK (("position" >= 1))',),
    "eventstore_sequencer": ("CHECK ((id = 1))", 'CHECK (("position" >= 0))'),
    "eventstore_seal": (
        "CHECK (((first_position >= 1) AND (first_position <= last_position)))",
        "CHECK ((format = 1))",
        "CHECK ((octet_length(leaves) = (8 * ((last_position - first_position) + 1))))",
        "CHECK ((octet_length(previous_hash) = 32))",
        "CHECK ((octet_length(hash) = 32))",
    ),
    "eventstore_checkpoint": (
        "CHECK ((follows = ANY (ARRAY['stream'::text, 'route'::text])))",
        "CHECK ((bucket_low >= 0))",
        "CHECK ((bucket_high <= 255))",
        "CHECK ((bucket_low <= bucket_high))",
        'CHECK (("position" >= 0))',
        "CHECK ((status = ANY (ARRAY['running'::text, 'paused'::text, 'replaying'::text])))",
    ),
    "eventstore_parked_event": ("FOREIGN KEY (parked_key_id) REFERENCES eventstore_parked_key(id)",),
}
"""What each row must be, beside being unique."""

REQUIRED: Final[Mapping[str, str]] = {
    "eventstore_event": (
        "id event_id stream_type stream_id version event_type schema_version data metadata recorded_at"
    ),
    "eventstore_outbox": "event_id stream_bucket",
    "eventstore_log": "position event_id stream_bucket sequenced_at",
    "eventstore_sequencer": "id log_id position sequenced_at heartbeat_at",
    "eventstore_seal": "last_position first_position format leaves previous_hash hash sealed_at",
    "eventstore_checkpoint": (
        "id subscription follows bucket_low bucket_high position status paused_by paused_reason attempts held_reason"
    ),
    "eventstore_parked_key": "id subscription key attempts next_attempt_at parked_at error",
    "eventstore_parked_event": "id parked_key_id subscription position parked_at",
    "eventstore_snapshot": "id stream_type stream_id version state_version state created_at updated_at",
    "eventstore_subject_key": "subject_id wrapped_key created_at",
    "eventstore_operation": "id at actor action subscription detail",
    "eventstore_idempotency_record": "id principal key fingerprint answer created_at",
}
"""The columns that no row may leave empty."""
