"""The guards: what each is, where it stands, what the code is without it, and the tests that miss it then."""

from __future__ import annotations

from typing import Final, NamedTuple

STORE: Final = "tests/integration/test_eventstore_"
TABLES: Final = "eventstore/migrations/sql/0001_tables.sql"
COMMANDS: Final = "tests/integration/test_commands_eventstore.py"
SEALS: Final = "eventstore/migrations/sql/0003_seals.sql"
ASSERTION: Final = "AssertionError"
HANGS: Final = "no end"
"""What a test fails at that never ends."""


class Guard(NamedTuple):
    """A guard, and how to take it out."""

    name: str  # in the words of docs/concepts.md
    file: str
    code: str  # what stands there, once
    without: str  # the same with the guard taken out
    tests: tuple[str, ...]  # what is run, and must fail
    fails: str = ASSERTION  # at what: the name of the exception


GUARDS: Final = (
    # --- Appending ----------------------------------------------------------------------------------------------
    Guard(
        "an event whose outbox row was not written is not written either",
        "eventstore/appending.py",
        "FROM written JOIN published ON published.event_id = written.id\n",
        "FROM written\n",
        (f"{STORE}append.py::test_an_outbox_row_that_was_not_written_takes_the_event_back",),
    ),
    Guard(
        "the statement writes all that it was given, or nothing is",
        "eventstore/appending.py",
        "    if len(written) != len(new):\n",
        "    if False:\n",
        (f"{STORE}append.py::test_a_row_that_was_not_written_takes_the_others_back",),
        fails="KeyError",
    ),
    Guard(
        "a version is written only behind its predecessor",
        "eventstore/appending.py",
        "    WHERE new.base_version = 0 OR previous.recorded_at IS NOT NULL\n",
        "",
        (f"{STORE}append.py::test_a_version_gap_is_refused_and_takes_the_whole_batch_back",),
    ),
    Guard(
        "a stream's version is unique",
        TABLES,
        "    CONSTRAINT eventstore_event_event_id_unique UNIQUE (event_id),\n"
        "    CONSTRAINT eventstore_event_stream_version_unique UNIQUE (stream_id, version)\n",
        "    CONSTRAINT eventstore_event_event_id_unique UNIQUE (event_id)\n",
        (f"{STORE}append.py::test_a_version_that_is_there_is_a_conflict",),
    ),
    Guard(
        "an event's id is unique",
        TABLES,
        "    CONSTRAINT eventstore_event_event_id_unique UNIQUE (event_id),\n",
        "",
        (f"{STORE}append.py::test_an_event_id_that_is_there_was_recorded_already",),
    ),
    Guard(
        "a unique violation is a conflict",
        "eventstore/appending.py",
        '            case "eventstore_event_stream_version_unique":\n',
        '            case "nothing":\n',
        (f"{STORE}append.py::test_a_version_that_is_there_is_a_conflict",),
        fails="IntegrityError",
    ),
    Guard(
        "an event that is in the store already is told apart from a conflict",
        "eventstore/appending.py",
        '            case "eventstore_event_event_id_unique":\n',
        '            case "nothing":\n',
        (f"{STORE}append.py::test_an_event_id_that_is_there_was_recorded_already",),
        fails="IntegrityError",
    ),
    Guard(
        "a lost race is run again from its start",
        "eventstore/store.py",
        "                if attempt == attempts:\n                    raise StreamConflict",
        "                if True:\n                    raise StreamConflict",
        (f"{STORE}append.py::test_it_decides_anew_when_another_writer_was_faster",),
        fails="StreamConflict",
    ),
    Guard(
        "and a bounded number of times",
        "eventstore/store.py",
        "                if attempt == attempts:\n                    raise StreamConflict",
        "                if False:\n                    raise StreamConflict",
        (f"{STORE}append.py::test_it_gives_up_after_a_bounded_number_of_lost_races",),
    ),
    Guard(
        "a rollback takes doubtful states out of the cache",
        "eventstore/store.py",
        "                cache.evict(error.keys)\n",
        "",
        (f"{STORE}loading.py::test_a_state_that_is_remembered_wrongly_is_forgotten_when_it_does_not_fit",),
        fails="StreamConflict",
    ),
    Guard(
        "the cache is fed only after the commit",
        "eventstore/store.py",
        "        transaction.on_commit(partial(cache.feed, fed), using=using, robust=True)\n",
        "        cache.feed(fed)\n",
        (f"{STORE}loading.py::test_a_state_is_remembered_only_once_it_is_committed",),
    ),
    Guard(
        "every writer locks its streams before it loads them",
        "eventstore/store.py",
        "        lock_streams(wanted, using=self._store.using, timeout_ms=lock_timeout_ms)\n",
        "",
        (f"{STORE}append.py::test_the_wait_for_another_writer_is_bounded",),
    ),
    Guard(
        "and loads them after it has the locks",
        "eventstore/store.py",
        "        lock_streams(wanted, using=self._store.using, timeout_ms=lock_timeout_ms)\n"
        "        before = self._store.load_many(wanted)\n",
        "        before = self._store.load_many(wanted)\n"
        "        lock_streams(wanted, using=self._store.using, timeout_ms=lock_timeout_ms)\n",
        (f"{STORE}append.py::test_a_writer_waits_for_the_one_before_it_and_then_decides_once",),
    ),
    Guard(
        "one that names the version locks too",
        "eventstore/store.py",
        "        lock_streams([stream_id], using=self._store.using)\n",
        "",
        (f"{STORE}append.py::test_the_wait_for_another_writer_is_bounded",),
    ),
    Guard(
        "streams are locked in one order",
        "eventstore/appending.py",
        "    keys = sorted({lock_key(stream_id) for stream_id in stream_ids})\n",
        "    keys = list({lock_key(stream_id): None for stream_id in stream_ids})\n",
        (f"{STORE}append.py::test_batches_over_the_same_streams_in_any_order_never_wait_for_each_other_in_a_circle",),
        fails="OperationalError",
    ),
    Guard(
        "waiting for a stream is bounded",
        "eventstore/appending.py",
        '            cursor.execute(_LOCK_STREAMS, [f"{timeout_ms or store_settings().LOCK_TIMEOUT_MS}ms", keys])\n',
        '            cursor.execute(_LOCK_STREAMS, ["20s", keys])\n',
        (f"{STORE}append.py::test_the_wait_for_another_writer_is_bounded",),
    ),
    Guard(
        "a lock lasts as long as its transaction, for a pooler may stand between",
        "eventstore/appending.py",
        "SELECT pg_advisory_xact_lock(wanted.key) FROM bound",
        "SELECT pg_advisory_lock(wanted.key) FROM bound",
        (f"{STORE}append.py::test_a_writer_waits_for_the_one_before_it_and_then_decides_once",),
        fails="StreamBusy",
    ),
    Guard(
        "times within a stream never run backwards",
        "eventstore/appending.py",
        "GREATEST(clock.now, previous.recorded_at)",
        "clock.now",
        (f"{STORE}append.py::test_times_never_run_backwards_within_a_stream",),
    ),
    Guard(
        "a request's answer is recorded in the transaction of its effect",
        "eventstore/store.py",
        "            record_answer(claim, msgspec.json.encode(value).decode(), using=self.using)\n",
        "            told = msgspec.json.encode(value).decode()\n"
        "            record = partial(record_answer, claim, told, using=self.using)\n"
        "            transaction.on_commit(lambda: self.run(lambda _: record()))\n",
        (f"{STORE}idempotency.py::test_the_effect_goes_when_its_key_does",),
    ),
    Guard(
        "a repeated request is answered as it was",
        "eventstore/store.py",
        "            if answer is not None:\n                return Answered",
        "            if False:\n                return Answered",
        (f"{STORE}idempotency.py::test_a_repeat_is_answered_as_the_first_was_and_changes_nothing",),
        fails="IntegrityError",
    ),
    Guard(
        "another request with the key of an earlier one is refused",
        "eventstore/idempotency.py",
        "    if bytes(fingerprint) != claim.fingerprint:\n",
        "    if False:\n",
        (f"{STORE}idempotency.py::test_a_key_that_is_used_for_something_else_is_refused",),
    ),
    Guard(
        "two requests with one key are done one after the other",
        "eventstore/idempotency.py",
        '            cursor.execute(_LOCK_CLAIM, [f"{WAIT_SECONDS}s", claim.lock_key()])\n',
        "            pass\n",
        (f"{STORE}idempotency.py::test_two_at_once_have_one_effect_and_one_answer",),
        fails="IntegrityError",
    ),
    # --- History ------------------------------------------------------------------------------------------------
    Guard(
        "an event is not changed",
        TABLES,
        "    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_event\n",
        "    BEFORE DELETE OR TRUNCATE ON eventstore_event\n",
        (f"{STORE}history.py::test_the_owner_is_refused_too",),
    ),
    Guard(
        "nor removed",
        TABLES,
        "    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_event\n",
        "    BEFORE UPDATE OR TRUNCATE ON eventstore_event\n",
        (f"{STORE}history.py::test_the_owner_is_refused_too",),
    ),
    Guard(
        "nor emptied out with all others",
        TABLES,
        "    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_event\n",
        "    BEFORE UPDATE OR DELETE ON eventstore_event\n",
        (f"{STORE}history.py::test_the_owner_is_refused_too",),
    ),
    Guard(
        "whatever role the session plays",
        TABLES,
        "ALTER TABLE eventstore_event ENABLE ALWAYS TRIGGER eventstore_event_append_only;\n",
        "",
        (f"{STORE}history.py::test_a_superuser_in_a_replica_s_session_is_refused_too",),
    ),
    Guard(
        "the log, too, whatever role the session plays",
        TABLES,
        "ALTER TABLE eventstore_log ENABLE ALWAYS TRIGGER eventstore_log_append_only;\n",
        "",
        (f"{STORE}history.py::test_a_superuser_in_a_replica_s_session_is_refused_too",),
    ),
    Guard(
        "what operators did, too, whatever role the session plays",
        TABLES,
        "ALTER TABLE eventstore_operation ENABLE ALWAYS TRIGGER eventstore_operation_append_only;\n",
        "",
        (f"{STORE}history.py::test_a_superuser_in_a_replica_s_session_is_refused_too",),
    ),
    Guard(
        "seals are append-only",
        SEALS,
        "    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_seal\n",
        "    BEFORE TRUNCATE ON eventstore_seal\n",
        (f"{STORE}history.py::test_the_owner_is_refused_too",),
    ),
    Guard(
        "seals, too, whatever role the session plays",
        SEALS,
        "ALTER TABLE eventstore_seal ENABLE ALWAYS TRIGGER eventstore_seal_append_only;\n",
        "",
        (f"{STORE}history.py::test_a_superuser_in_a_replica_s_session_is_refused_too",),
    ),
    Guard(
        "the log is append-only",
        TABLES,
        "    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_log\n",
        "    BEFORE TRUNCATE ON eventstore_log\n",
        (f"{STORE}history.py::test_the_owner_is_refused_too",),
    ),
    Guard(
        "what operators did is append-only",
        TABLES,
        "    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_operation\n",
        "    BEFORE TRUNCATE ON eventstore_operation\n",
        (f"{STORE}history.py::test_the_owner_is_refused_too",),
    ),
    Guard(
        "insertion ids are taken one by one",
        TABLES,
        "GENERATED ALWAYS AS IDENTITY (CACHE 1) PRIMARY KEY,\n    event_id uuid",
        "GENERATED ALWAYS AS IDENTITY (CACHE 50) PRIMARY KEY,\n    event_id uuid",
        (
            f"{STORE}sequencer.py::test_an_event_with_a_low_id_that_commits_late_is_neither_skipped_nor_put_before_others",
        ),
    ),
    Guard(
        "the app's role may not change an event",
        "config/database_roles.py",
        "    **dict.fromkeys(APPEND_ONLY_TABLES, ADD),\n",
        "    **dict.fromkeys(APPEND_ONLY_TABLES, ADD_AND_CHANGE),\n",
        ("tests/integration/test_database_roles.py::test_it_reads_history_and_adds_to_it_alone",),
    ),
    # --- Identity -----------------------------------------------------------------------------------------------
    Guard(
        "what a handler causes has an id that follows from its cause",
        "eventstore/store.py",
        "            event_id=new_id() if cause is None else cause.event_id(ordinal),\n",
        "            event_id=new_id(),\n",
        (f"{STORE}subscriptions.py::TestExactlyOnce::test_every_event_delivered_twice_changes_nothing",),
    ),
    # --- The sequencer ------------------------------------------------------------------------------------------
    Guard(
        "the sequencer runs at READ COMMITTED whatever the server's default is",
        "eventstore/sequencer.py",
        "        cursor.execute(_READ_COMMITTED)\n",
        "",
        (f"{STORE}sequencer.py::test_it_runs_at_read_committed_whatever_the_server_s_default_is",),
    ),
    Guard(
        "one sequencer at a time",
        "eventstore/sequencer.py",
        'WHERE id = 1 FOR UPDATE SKIP LOCKED"',
        'WHERE id = 1"',
        (f"{STORE}sequencer.py::test_four_sequencers_and_readers_under_concurrent_commits_miss_and_double_nothing",),
        fails="IntegrityError",
    ),
    Guard(
        "another one does not wait",
        "eventstore/sequencer.py",
        'WHERE id = 1 FOR UPDATE SKIP LOCKED"',
        'WHERE id = 1 FOR UPDATE"',
        (f"{STORE}sequencer.py::test_one_that_is_at_work_makes_another_busy_rather_than_wait_or_find_nothing",),
        fails="OperationalError",
    ),
    Guard(
        "the outbox is read after the lock, not with it",
        "eventstore/sequencer.py",
        "        cursor.execute(_LOCK_HEAD)\n"
        "        head = cursor.fetchone()\n"
        "        if head is None:\n"
        "            return Outcome.BUSY\n"
        "        cursor.execute(_READ_OUTBOX, [limit])\n"
        "        waiting = [_Waiting(*row) for row in cursor]\n",
        "        cursor.execute(_READ_OUTBOX, [limit])\n"
        "        waiting = [_Waiting(*row) for row in cursor]\n"
        "        cursor.execute(_LOCK_HEAD)\n"
        "        head = cursor.fetchone()\n"
        "        if head is None:\n"
        "            return Outcome.BUSY\n",
        (f"{STORE}sequencer.py::test_four_sequencers_and_readers_under_concurrent_commits_miss_and_double_nothing",),
        fails="IntegrityError",
    ),
    Guard(
        "it begins at the lowest id, always",
        "eventstore/sequencer.py",
        "FROM eventstore_outbox ORDER BY event_id LIMIT %s",
        "FROM eventstore_outbox WHERE event_id > (SELECT coalesce(max(event_id), 0) FROM eventstore_log)"
        " ORDER BY event_id LIMIT %s",
        (
            f"{STORE}sequencer.py::test_an_event_with_a_low_id_that_commits_late_is_neither_skipped_nor_put_before_others",
        ),
    ),
    Guard(
        "and goes in the order of ids",
        "eventstore/sequencer.py",
        "FROM eventstore_outbox ORDER BY event_id LIMIT %s",
        "FROM eventstore_outbox ORDER BY event_id DESC LIMIT %s",
        (f"{STORE}sequencer.py::test_four_sequencers_and_readers_under_concurrent_commits_miss_and_double_nothing",),
    ),
    Guard(
        "read, logged and deleted is the same set",
        "eventstore/sequencer.py",
        "    if not len(waiting) == logged == removed:\n",
        "    if False:\n",
        (f"{STORE}sequencer.py::test_it_writes_nothing_when_it_cannot_delete_what_it_read",),
    ),
    Guard(
        "deleted is what was read, one by one, not all up to there",
        "eventstore/sequencer.py",
        "    DELETE FROM eventstore_outbox WHERE event_id = ANY(%s) RETURNING 1\n",
        "    DELETE FROM eventstore_outbox WHERE event_id <= (SELECT max(id) FROM unnest(%s::bigint[]) AS read (id))"
        " RETURNING 1\n",
        (f"{STORE}sequencer.py::test_an_event_that_commits_while_it_is_at_work_is_left_for_its_next_run",),
        fails="SequencerInconsistent",
    ),
    Guard(
        "an event has one position",
        TABLES,
        "    sequenced_at timestamptz NOT NULL,\n    CONSTRAINT eventstore_log_event_id_unique UNIQUE (event_id)\n",
        "    sequenced_at timestamptz NOT NULL\n",
        (f"{STORE}sequencer.py::test_the_database_refuses_an_event_a_second_position",),
    ),
    Guard(
        "times in the log never run backwards",
        "eventstore/sequencer.py",
        "GREATEST(clock_timestamp(), %s::timestamptz)",
        "GREATEST(clock_timestamp(), LEAST(%s::timestamptz, clock_timestamp()))",
        (f"{STORE}sequencer.py::test_its_times_never_decrease_though_the_clock_is_set_back",),
    ),
    # --- Subscriptions ------------------------------------------------------------------------------------------
    Guard(
        "a checkpoint's lock is the right to advance it",
        "eventstore/subscriptions/checkpoints.py",
        'WHERE id = %s AND status = \'running\' FOR UPDATE SKIP LOCKED\n"""\n\n# All up to',
        'WHERE id = %s AND status = \'running\'\n"""\n\n# All up to',
        (
            f"{STORE}subscriptions.py::TestExactlyOnce::test_nobody_else_has_the_right_to_advance_while_a_batch_is_handled",
        ),
    ),
    Guard(
        "the checkpoint moves with its effects",
        "eventstore/subscriptions/runner.py",
        "        checkpoints.move(cursor, checkpoint, window.until)\n    metrics.HANDLED",
        "    with transaction.atomic(using=store.using), connections[store.using].cursor() as cursor:\n"
        "        checkpoints.move(cursor, checkpoint, window.until)\n    metrics.HANDLED",
        (f"{STORE}subscriptions.py::TestExactlyOnce::test_a_batch_and_its_checkpoint_are_one_transaction",),
    ),
    Guard(
        "ranges are split only where they stand at one position",
        "eventstore/operations.py",
        "        if cursor.fetchone()[0]:\n            raise RangesApart",
        "        if False:\n            raise RangesApart",
        (
            "tests/integration/test_commands_eventstore.py::TestSubscriptions::test_ranges_that_stand_apart_are_not_split",
        ),
    ),
    Guard(
        "what an earlier handling has recorded is not done twice",
        "eventstore/subscriptions/handling.py",
        "    return [execution for event_id, execution in first_ids.items() if event_id not in known]",
        "    return list(first_ids.values())",
        (f"{STORE}subscriptions.py::TestExactlyOnce::test_every_event_delivered_twice_changes_nothing",),
    ),
    Guard(
        "an attempt is stamped before it is made",
        "eventstore/subscriptions/checkpoints.py",
        "SET attempts = LEAST(attempts + 1, 100), attempted_at = clock_timestamp()\n",
        "SET attempts = LEAST(attempts, 100), attempted_at = clock_timestamp()\n",
        (f"{STORE}attempts.py::test_an_attempt_is_counted_before_it_is_made_and_forgotten_with_its_success",),
    ),
    Guard(
        "what kills its process is gone through in parts, and one by one",
        "eventstore/subscriptions/runner.py",
        "    if stamp.attempts > attempts:\n",
        "    if False:\n",
        (f"{STORE}attempts.py::test_what_killed_its_process_three_times_alone_is_parked_and_everything_else_goes_on",),
    ),
    Guard(
        "in parts first, so that a large batch is not gone through one by one",
        "eventstore/subscriptions/runner.py",
        "max(1, window.entries // PARTS)",
        "1",
        (
            f"{STORE}attempts.py::test_a_large_batch_is_gone_through_in_parts_and_only_the_part_that_dies_one_at_a_time",
            f"{STORE}deadlines.py::test_a_large_batch_is_gone_through_in_parts_and_only_the_part_that_hangs_one_at_a_time",
        ),
    ),
    Guard(
        "and parked when it has died alone",
        "eventstore/subscriptions/runner.py",
        "        if stamp.attempts > ALONE_ATTEMPTS:\n",
        "        if False:\n",
        (f"{STORE}attempts.py::test_what_killed_its_process_three_times_alone_is_parked_and_everything_else_goes_on",),
    ),
    Guard(
        "a type that no code knows holds the subscription",
        "eventstore/subscriptions/reading.py",
        "            if index == 0:\n                raise\n",
        "            if index == 0:\n                return Window(window.rows[1:], window.until, window.entries)\n",
        (f"{STORE}subscriptions.py::TestHolding::test_an_unknown_event_holds_what_follows_it_and_is_named",),
    ),
    Guard(
        "what passes by itself holds the subscription and parks nothing",
        "eventstore/subscriptions/runner.py",
        "    return isinstance(error, StreamBusy) or is_passing(error) or _must_be_mended(error)\n",
        "    return isinstance(error, StreamBusy) or _must_be_mended(error)\n",
        (f"{STORE}subscriptions.py::TestHolding::test_what_passes_holds_and_never_parks",),
    ),
    Guard(
        "a failure splits the batch until the culprit stands alone",
        "eventstore/subscriptions/runner.py",
        "        if failed.entries <= 1:\n",
        "        if True:\n",
        (f"{STORE}subscriptions.py::TestCulprits::test_a_batch_is_split_until_the_culprit_stands_alone",),
    ),
    Guard(
        "a full batch ends at its last entry",
        "eventstore/subscriptions/reading.py",
        "    return Window(rows, found[-1][0] if len(found) == limit else end, len(found))\n",
        "    return Window(rows, end, len(found))\n",
        (f"{STORE}subscriptions.py::TestExactlyOnce::test_a_batch_and_its_checkpoint_are_one_transaction",),
    ),
    Guard(
        "reading stops at the head of the log",
        "eventstore/subscriptions/reading.py",
        "    end = min(end, after + max(2 * expected, LEAST_SPAN))\n",
        "    end = after + max(2 * expected, LEAST_SPAN)\n",
        (f"{STORE}subscriptions.py::TestExactlyOnce::test_it_handles_each_event_once_and_in_order",),
    ),
    Guard(
        "at the one that was committed before it began to read",
        "eventstore/subscriptions/reading.py",
        "    return Window(rows, found[-1][0] if len(found) == limit else end, len(found))\n",
        "    end = max(end, head_position(cursor))\n"
        "    return Window(rows, found[-1][0] if len(found) == limit else end, len(found))\n",
        (f"{STORE}subscriptions.py::TestDue::test_what_gets_its_position_while_a_batch_is_read_is_read_next_time",),
    ),
    Guard(
        "streams are locked after the keys that are parked",
        "eventstore/subscriptions/runner.py",
        "            free = parking.set_aside(cursor, subscription, events) if events else []\n",
        "            handle(subscription, events, store=store, cursor=cursor, skip_known=True)\n"
        "            free = parking.set_aside(cursor, subscription, events) if events else []\n",
        (
            "tests/integration/test_eventstore_locks.py::test_live_handling_locks_its_checkpoint_then_parked_keys_then_streams",
        ),
    ),
    Guard(
        "and keys that are parked after the checkpoint",
        "eventstore/subscriptions/runner.py",
        "        checkpoint = _lock(cursor, checkpoint_id, subscription)\n"
        "        if checkpoint is None:\n"
        "            return Progress.BUSY\n"
        "        window = _read(cursor, checkpoint, subscription, store, limit)\n"
        "        try:\n",
        "        cursor.execute(parking._LOCK_KEYS, [subscription.id, []])\n"
        "        checkpoint = _lock(cursor, checkpoint_id, subscription)\n"
        "        if checkpoint is None:\n"
        "            return Progress.BUSY\n"
        "        window = _read(cursor, checkpoint, subscription, store, limit)\n"
        "        try:\n",
        (
            "tests/integration/test_eventstore_locks.py::test_live_handling_locks_its_checkpoint_then_parked_keys_then_streams",
        ),
    ),
    Guard(
        "a drain comes to an end though there is always more",
        "eventstore/dispatch.py",
        "        while time.monotonic() < deadline:\n",
        "        while True:\n",
        (f"{STORE}subscriptions.py::TestDue::test_it_ends_in_time_though_there_is_always_more",),
    ),
    Guard(
        "after twenty seconds",
        "eventstore/dispatch.py",
        "BUDGET_SECONDS: Final = 20.0\n",
        "BUDGET_SECONDS: Final = 50.0\n",
        (f"{STORE}subscriptions.py::TestDue::test_it_ends_in_time_though_there_is_always_more",),
    ),
    Guard(
        "a deadlock holds and does not park",
        "eventstore/failures.py",
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})',
        '_PASSING_CLASSES: Final = frozenset({"08", "53", "55", "57", "58"})',
        (f"{STORE}subscriptions.py::TestHolding::test_what_passes_holds_and_never_parks",),
    ),
    Guard(
        "nor does a full disk",
        "eventstore/failures.py",
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})',
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "55", "57", "58"})',
        (f"{STORE}subscriptions.py::TestHolding::test_what_passes_holds_and_never_parks",),
    ),
    Guard(
        "nor a lock that was not had in time",
        "eventstore/failures.py",
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})',
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})',
        (f"{STORE}subscriptions.py::TestHolding::test_what_passes_holds_and_never_parks",),
    ),
    Guard(
        "nor a statement that ran out of time",
        "eventstore/failures.py",
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "55", "57", "58"})',
        '_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "55", "58"})',
        (f"{STORE}subscriptions.py::TestHolding::test_what_passes_holds_and_never_parks",),
    ),
    Guard(
        "nor a lost connection",
        "eventstore/failures.py",
        "        return isinstance(error, OperationalError | psycopg.OperationalError)\n",
        "        return False\n",
        (f"{STORE}subscriptions.py::TestHolding::test_what_passes_holds_and_never_parks",),
    ),
    Guard(
        "the stamp of an attempt commits on its own",
        "eventstore/subscriptions/checkpoints.py",
        "        return None if found is None else Stamp(*found)\n",
        "        transaction.set_rollback(True, using=using)\n"
        "        return None if found is None else Stamp(*found)\n",
        (f"{STORE}attempts.py::test_what_killed_its_process_three_times_alone_is_parked_and_everything_else_goes_on",),
    ),
    # --- Parking ------------------------------------------------------------------------------------------------
    Guard(
        "followers of a parked event wait behind it",
        "eventstore/subscriptions/parking.py",
        "    if not parked:\n        return list(events)\n",
        "    if parked or not parked:\n        return list(events)\n",
        (f"{STORE}parking.py::test_the_followers_of_a_parked_event_wait_behind_it_and_the_others_go_on",),
    ),
    Guard(
        "what is behind a key is handled in the log's order",
        "eventstore/subscriptions/parking.py",
        "WHERE parked_key_id = %s ORDER BY position LIMIT %s",
        "WHERE parked_key_id = %s ORDER BY position DESC LIMIT %s",
        (f"{STORE}parking.py::test_a_retry_goes_as_far_as_it_can_and_keeps_the_order",),
    ),
    Guard(
        "an event leaves its key with its effects",
        "eventstore/subscriptions/parking.py",
        "        handle(subscription, events, store=store, cursor=cursor, skip_known=True)\n        return Retry.FREED",
        "        handle(subscription, events, store=store, cursor=cursor, skip_known=True)\n"
        "    with transaction.atomic(using=store.using, durable=True), connections[store.using].cursor() as cursor:\n"
        "        return Retry.FREED",
        (f"{STORE}parking.py::test_what_a_retry_does_and_that_it_is_done_are_one_transaction",),
    ),
    Guard(
        "a retry locks its key before streams",
        "eventstore/subscriptions/parking.py",
        "        found = _lock_next(cursor, parked_key_id, limit)\n"
        "        if found is None:\n"
        "            return Retry.BUSY\n"
        "        _, positions = found\n",
        "        cursor.execute(_SELECT_NEXT, [parked_key_id, limit])\n"
        "        first = read_at(cursor, [position for (position,) in cursor.fetchall()])\n"
        "        events = decode_rows(first, registry=store.registry, using=store.using)\n"
        "        handle(subscription, events, store=store, cursor=cursor, skip_known=True)\n"
        "        found = _lock_next(cursor, parked_key_id, limit)\n"
        "        if found is None:\n"
        "            return Retry.BUSY\n"
        "        _, positions = found\n",
        ("tests/integration/test_eventstore_locks.py::test_a_retry_locks_its_key_before_streams",),
    ),
    Guard(
        "parked keys are locked in one order",
        "eventstore/subscriptions/parking.py",
        "subscription = %s AND key = ANY(%s) ORDER BY key FOR UPDATE\n",
        "subscription = %s AND key = ANY(%s) FOR UPDATE\n",
        ("tests/integration/test_eventstore_locks.py::test_parked_keys_are_locked_sorted",),
    ),
    Guard(
        "and are locked before anything is put behind them",
        "eventstore/subscriptions/parking.py",
        "subscription = %s AND key = ANY(%s) ORDER BY key FOR UPDATE\n",
        "subscription = %s AND key = ANY(%s) ORDER BY key\n",
        (f"{STORE}parking.py::test_an_event_that_comes_during_a_retry_waits_and_is_handled_after_it",),
    ),
    Guard(
        "a retry is counted before it is made",
        "eventstore/subscriptions/parking.py",
        "SET attempts = attempts + 1,\n    next_attempt_at = clock_timestamp() + make_interval(secs => LEAST(power(2,"
        " LEAST(attempts + 1, 20)), %s))\nWHERE id = (SELECT",
        "SET attempts = attempts,\n    next_attempt_at = clock_timestamp() + make_interval(secs => LEAST(power(2,"
        " LEAST(attempts + 1, 20)), %s))\nWHERE id = (SELECT",
        (f"{STORE}parking.py::test_a_retry_that_kills_its_process_counts_and_comes_later_next_time",),
    ),
    Guard(
        "and that commits on its own",
        "eventstore/subscriptions/parking.py",
        "        return None if found is None else int(found[0])\n",
        "        transaction.set_rollback(True, using=using)\n"
        "        return None if found is None else int(found[0])\n",
        (f"{STORE}parking.py::test_a_retry_that_kills_its_process_counts_and_comes_later_next_time",),
    ),
    Guard(
        "nothing is retried for a subscription that is paused",
        "eventstore/subscriptions/parking.py",
        "            AND (c.status = 'paused' OR c.projection_version <> wanted.projection_version)\n",
        "            AND (c.projection_version <> wanted.projection_version)\n",
        (f"{STORE}parking.py::test_nothing_of_a_paused_subscription_is_retried",),
    ),
    Guard(
        "nor is anything that waits for a stream",
        "eventstore/subscriptions/parking.py",
        "WHERE c.subscription = k.subscription AND c.status = 'paused'\n",
        "WHERE c.subscription = k.subscription AND false\n",
        (f"{STORE}waiting.py::test_nothing_that_waits_is_tried_while_its_subscription_is_paused",),
    ),
    Guard(
        "what comes later under a key that waits is handled after it",
        "eventstore/subscriptions/handling.py",
        "        if key in waiting or any(",
        "        if any(",
        (f"{STORE}waiting.py::test_what_comes_later_under_a_key_that_waits_is_handled_after_it",),
    ),
    Guard(
        "what has no end in time is parked, and its batch not halved",
        "eventstore/subscriptions/runner.py",
        "        if is_slow and failed.entries > 1:",
        "        if False and failed.entries > 1:",
        (f"{STORE}deadlines.py::test_a_batch_of_slow_ones_is_gone_through_one_by_one",),
    ),
    Guard(
        "a transaction that took too long counts as an attempt",
        "eventstore/subscriptions/runner.py",
        "        forget = not took_too_long(error)\n",
        "        forget = True\n",
        (f"{STORE}deadlines.py::test_what_the_server_ended_for_taking_too_long_counts_as_an_attempt",),
    ),
    Guard(
        "and so does a retry that took too long",
        "eventstore/subscriptions/parking.py",
        "(is_passing(error) and not took_too_long(error))",
        "is_passing(error)",
        (f"{STORE}deadlines.py::test_what_the_server_ended_for_taking_too_long_counts_as_an_attempt",),
    ),
    Guard(
        "a statement under way is not interrupted",
        "eventstore/subscriptions/deadline.py",
        "        if not self._over and not _in_statement(self._connection):\n",
        "        if not self._over:\n",
        (f"{STORE}deadlines.py::test_a_slow_statement_is_the_servers_affair",),
    ),
    Guard(
        "retries alternate with what is not parked",
        "eventstore/dispatch.py",
        "        if tried and seconds < 0:\n            return True\n",
        "",
        (f"{STORE}deadlines.py::test_between_retries_that_hang_what_is_not_parked_has_its_turn",),
    ),
    Guard(
        "what the log has lost is not taken for handled",
        "eventstore/subscriptions/reading.py",
        "    if len(found) != len(positions):",
        "    if False:",
        (f"{STORE}deadlines.py::test_an_event_that_the_log_has_lost_is_not_taken_for_handled",),
    ),
    Guard(
        "delays grow",
        "eventstore/subscriptions/parking.py",
        "make_interval(secs => LEAST(power(2, LEAST(attempts + 1, 20)), %s))\nWHERE id = (SELECT",
        "make_interval(secs => LEAST(2, %s))\nWHERE id = (SELECT",
        (f"{STORE}parking.py::test_a_retry_comes_by_itself_and_the_delay_grows_up_to_an_hour",),
    ),
    Guard(
        "one at a time retries a key",
        "eventstore/subscriptions/parking.py",
        'FROM eventstore_parked_key WHERE id = %s FOR UPDATE SKIP LOCKED"',
        'FROM eventstore_parked_key WHERE id = %s"',
        (f"{STORE}parking.py::test_a_retry_beside_one_that_is_under_way_does_nothing",),
    ),
    Guard(
        "nothing is discarded that would leave a story without an end",
        "eventstore/subscriptions/parking.py",
        '            raise NotDiscardable(f"no sound end is known for {recorded.name} in {subscription.id}")\n'
        "        Unit(store)",
        "            pass\n        else:\n            Unit(store)",
        (f"{STORE}parking.py::test_what_has_no_sound_ending_is_not_discarded",),
    ),
    Guard(
        "a discarded event's story is ended",
        "eventstore/subscriptions/parking.py",
        "        Unit(store).execute_many(executions_of(subscription, recorded, ending(recorded), actor=actor))\n",
        "",
        (f"{STORE}parking.py::test_a_discarded_event_ends_its_story_by_a_command_and_is_recorded",),
    ),
    Guard(
        "and discarding is recorded",
        "eventstore/subscriptions/parking.py",
        '        cursor.execute(_RECORD_OPERATION, [actor, "discard", subscription.id, str(key), position, reason,'
        " os_user])\n",
        "",
        (f"{STORE}parking.py::test_a_discarded_event_ends_its_story_by_a_command_and_is_recorded",),
    ),
    Guard(
        "an operator's bulk retry is bounded",
        "eventstore/operations.py",
        "        if time.monotonic() >= deadline:\n",
        "        if False:\n",
        (
            "tests/integration/test_transfers_parked.py::test_retrying_many_stops_when_its_time_is_up_and_says_what_is_left",
        ),
    ),
    # --- Projections and replay ---------------------------------------------------------------------------------
    Guard(
        "a row is harmless twice",
        "eventstore/tables.py",
        " WHERE present.{version} < excluded.{version}",
        "",
        ("tests/integration/test_projections.py::test_it_never_replaces_a_newer_row_by_an_older_one",),
    ),
    Guard(
        "a swap stops the live projection first",
        "eventstore/replay.py",
        "WHERE subscription = %s ORDER BY bucket_low FOR UPDATE\n",
        "WHERE subscription = %s ORDER BY bucket_low\n",
        ("tests/integration/test_replay.py::test_nobody_advances_the_live_projection_while_its_tables_are_swapped",),
    ),
    Guard(
        "a swap locks checkpoints before what is parked",
        "eventstore/replay.py",
        "        cursor.execute(_LOCK_LIVE, [projection.id])\n",
        "        cursor.execute(_LOCK_LIVE_PARKED, [projection.id])\n"
        "        cursor.execute(_LOCK_LIVE, [projection.id])\n",
        ("tests/integration/test_eventstore_locks.py::test_a_swap_locks_the_live_checkpoints_before_what_is_parked",),
    ),
    Guard(
        "sagas are never replayed",
        "eventstore/replay.py",
        "    known = {projection.id: projection for projection in store.subscriptions.projections()}\n",
        "    known = {projection.id: projection for projection in store.subscriptions.all()}\n",
        ("tests/integration/test_replay.py::test_only_projections_are_replayed",),
    ),
    Guard(
        "a swap catches up before it moves the tables",
        "eventstore/replay.py",
        "        window = builder.step(cursor, limit=LAST_BATCH)\n        if window.entries == LAST_BATCH:\n",
        "        window = Window([], shadow.lock(cursor), 0)\n        if window.entries == LAST_BATCH:\n",
        ("tests/integration/test_replay.py::test_a_swap_shows_nothing_older_than_what_it_replaces",),
    ),
    Guard(
        "readers of the live tables are not kept waiting",
        "eventstore/replay.py",
        '        cursor.execute(_SET_LOCK_TIMEOUT, [f"{READERS_WAIT_MS}ms"])\n',
        '        cursor.execute(_SET_LOCK_TIMEOUT, ["60s"])\n',
        ("tests/integration/test_replay.py::test_a_reader_that_holds_on_delays_the_swap_and_is_not_disturbed",),
    ),
    Guard(
        "live tables go on from where the new ones stand",
        "eventstore/replay.py",
        "        cursor.execute(_MOVE_LIVE, [window.until, projection.version, projection.id])\n",
        "",
        (
            "tests/integration/test_replay.py::test_a_changed_projection_is_rebuilt_beside_the_old_one_which_stands_still_meanwhile",
        ),
    ),
    Guard(
        "replays and migrations exclude each other",
        "eventstore/shadow.py",
        "            hold_off_migrations(cursor)\n",
        "",
        ("tests/integration/test_replay_command.py::test_no_replay_begins_or_goes_on_while_a_migration_runs",),
    ),
    Guard(
        "an interrupted replay goes on where it stood",
        "eventstore/shadow.py",
        "        position = 0 if restart or not can_be_resumed(cursor, self.projection) else found.position\n",
        "        position = 0\n",
        ("tests/integration/test_replay.py::test_it_goes_on_where_it_was_interrupted",),
    ),
    Guard(
        "a projection is replayed by one process",
        "eventstore/shadow.py",
        "        if found.holder != self._holder:\n",
        "        if False:\n",
        ("tests/integration/test_replay.py::test_who_was_taken_for_dead_builds_no_further_beside_the_other",),
    ),
    # --- People -------------------------------------------------------------------------------------------------
    Guard(
        "personal fields are ciphertext",
        "eventstore/appending.py",
        "keys[event.stream_id].seal if known.sealed else None",
        "(lambda text, *_: text) if known.sealed else None",
        (f"{STORE}sealing.py::test_a_sealed_field_rests_as_ciphertext_and_reads_as_it_was",),
    ),
    # --- Seals --------------------------------------------------------------------------------------------------
    Guard(
        "a seal hashes the one before it",
        "eventstore/seals/hashing.py",
        "    digest.update(previous_hash + sealed_at)\n",
        "    digest.update(sealed_at)\n",
        (f"{STORE}seals.py::test_a_seal_is_what_the_format_says_computed_apart_from_the_database",),
    ),
    Guard(
        "and each field with its length",
        "eventstore/seals/hashing.py",
        "    || int4send(octet_length(e.stream_type)) || convert_to(e.stream_type, 'UTF8')\n"
        "    || int4send(octet_length(e.event_type)) || convert_to(e.event_type, 'UTF8')\n",
        "    || convert_to(e.stream_type, 'UTF8') || convert_to(e.event_type, 'UTF8')\n",
        (f"{STORE}seals.py::test_a_seal_is_what_the_format_says_computed_apart_from_the_database",),
    ),
    Guard(
        "a sealer sees what the one before it has sealed",
        "eventstore/seals/sealer.py",
        "        cursor.execute(_READ_COMMITTED)\n",
        "",
        (f"{STORE}seals.py::test_it_seals_at_read_committed_whatever_the_server_s_default_is",),
    ),
    Guard(
        "one sealer at a time",
        "eventstore/seals/sealer.py",
        "        if not cursor.fetchone()[0]:\n",
        "        if False:\n",
        (f"{STORE}seals.py::test_a_sealer_meets_another_and_leaves_it_alone",),
    ),
    Guard(
        "a seal beyond the end of the log stops no sealing",
        "eventstore/seals/sealer.py",
        "    SELECT last_position, hash FROM eventstore_seal WHERE last_position <= head.position\n",
        "    SELECT last_position, hash FROM eventstore_seal\n",
        (f"{STORE}seals.py::test_a_seal_beyond_the_end_of_the_log_stops_no_sealing_and_is_named",),
    ),
    Guard(
        "nor is it exported",
        "eventstore/seals/heads.py",
        "    SELECT last_position, hash, sealed_at FROM eventstore_seal WHERE last_position <= head.position\n",
        "    SELECT last_position, hash, sealed_at FROM eventstore_seal\n",
        (f"{STORE}seals.py::test_a_seal_beyond_the_end_of_the_log_stops_no_sealing_and_is_named",),
    ),
    Guard(
        "and it is named, whether it was planted or the log cut off",
        "eventstore/verification/seals.py",
        "        yield from _beyond(scope)\n",
        "",
        (f"{STORE}seals.py::test_every_seal_beyond_the_end_is_named_however_many_there_are",),
    ),
    Guard(
        "what was sequenced is sealed within seconds",
        "eventstore/seals/sealer.py",
        "AGE_SECONDS: Final = 2.0\n",
        "AGE_SECONDS: Final = 60.0\n",
        (f"{STORE}seals.py::test_who_dispatches_seals_soon",),
    ),
    Guard(
        "by those, too, who always have something else to do",
        "eventstore/dispatch.py",
        "            if pace.is_up() or not (done.moved or done.busy):\n",
        "            if not (done.moved or done.busy):\n",
        (f"{STORE}seals.py::test_who_always_has_something_to_do_seals_all_the_same",),
    ),
    # --- Wake-ups -----------------------------------------------------------------------------------------------
    Guard(
        "the mark is cleared before reading",
        "eventstore/tasks.py",
        "    clear_mark(using)\n    if not _drain(using):\n        wake(using)\n",
        "    left = not _drain(using)\n    clear_mark(using)\n    if left:\n        wake(using)\n",
        ("tests/integration/test_wakeups.py::test_the_mark_is_cleared_before_anything_is_read",),
    ),
    Guard(
        "wake-ups coalesce",
        "eventstore/celery_wakeup.py",
        "    if cache.add(_KEY.format(using), 1, timeout=MARK_SECONDS) or whatever_the_mark:\n",
        "    if True:\n",
        ("tests/integration/test_wakeups.py::test_a_thousand_commits_send_a_few_at_most",),
    ),
    Guard(
        "a wake-up never fails a request",
        "eventstore/celery_wakeup.py",
        "        except Exception as error:  # noqa: BLE001 - whatever the clients raise: it is tried again\n",
        "        except ValueError as error:\n",
        (
            "tests/integration/test_wakeups.py::test_a_commit_does_not_notice_that_redis_is_away_and_wakes_again_afterwards",
        ),
    ),
    Guard(
        "whoever wakes does not wait for a cache that hangs",
        "config/settings.py",
        '        "OPTIONS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.3},  # seconds\n',
        "",
        ("tests/integration/test_wakeups.py::test_a_cache_that_hangs_is_given_up_after_a_moment",),
    ),
    Guard(
        "nor for a broker",
        "config/settings.py",
        '    "socket_timeout": 0.5,\n    "socket_connect_timeout": 0.3,\n    "max_retries": 0,\n',
        '    "max_retries": 0,\n',
        ("tests/integration/test_wakeups.py::test_a_try_at_a_broker_that_hangs_has_an_end",),
    ),
    Guard(
        "a broker that is away is left alone for a while",
        "eventstore/celery_wakeup.py",
        "                time.sleep(self._retry_seconds)\n",
        "                pass\n",
        ("tests/integration/test_wakeups.py::test_a_broker_that_is_away_is_tried_now_and_then_and_not_all_the_time",),
    ),
    Guard(
        "a sweep finds what a lost wake-up left",
        "eventstore/tasks.py",
        ' several are harmless."""\n    _drain(using)\n',
        ' several are harmless."""\n',
        ("tests/integration/test_wakeups.py::test_a_lost_wake_up_is_found_by_the_sweep_and_doubled_ones_are_harmless",),
    ),
    Guard(
        "and is sent every second or two",
        "config/settings.py",
        '"schedule": 1.0, "options"',
        '"schedule": 30.0, "options"',
        ("tests/integration/test_wakeups.py::test_the_clock_has_somebody_sweep_every_second_or_two",),
    ),
    Guard(
        "a lock in other hands is not taken for empty",
        "eventstore/dispatch.py",
        "                return not done.busy\n",
        "                return True\n",
        (f"{STORE}subscriptions.py::TestDue::test_a_lock_that_another_has_is_not_taken_for_empty",),
    ),
    Guard(
        "and is looked at again",
        "eventstore/dispatch.py",
        "            elif not done.busy or pauses >= BUSY_PAUSES:\n",
        "            elif True:\n",
        (f"{STORE}subscriptions.py::TestDue::test_it_looks_again_at_what_another_had",),
    ),
    # --- Operating ----------------------------------------------------------------------------------------------
    Guard(
        "a pause is recorded",
        "eventstore/operations.py",
        '        _record(cursor, actor, "pause", subscription_id, {"reason": why, "checkpoints": len(ids)},',
        '        dict(of=cursor, action="pause", checkpoints=len(ids),',
        (
            f"{COMMANDS}::TestSubscriptions::test_a_paused_subscription_stands_until_it_is_resumed_and_both_are_recorded",
        ),
    ),
    Guard(
        "so is that it goes on again",
        "eventstore/operations.py",
        '        _record(cursor, actor, "resume", subscription_id, {"reason": why, "checkpoints": len(ids)},',
        '        dict(of=cursor, action="resume", checkpoints=len(ids),',
        (
            f"{COMMANDS}::TestSubscriptions::test_a_paused_subscription_stands_until_it_is_resumed_and_both_are_recorded",
        ),
    ),
    Guard(
        "a split",
        "eventstore/operations.py",
        '        _record(cursor, actor, "split", subscription_id, detail, os_user=os_user)\n',
        "",
        (f"{COMMANDS}::TestSubscriptions::test_a_split_subscription_goes_on_where_it_stood",),
    ),
    Guard(
        "and a retry",
        "eventstore/operations.py",
        "    with _operating(store.using) as cursor:\n"
        '        _record(cursor, actor, "retry", subscription_id, {"key": str(key), "reason": why}, os_user=os_user)\n',
        "",
        (f"{COMMANDS}::TestParked::test_one_key_is_retried_and_that_is_recorded",),
    ),
    Guard(
        "and one that dispatchers were asked for",
        "eventstore/operations.py",
        '            _record(cursor, actor, "retry", subscription_id, detail, os_user=os_user)\n',
        "",
        ("tests/integration/test_admin_operations.py::test_it_has_a_parked_key_retried_and_never_retries_it_itself",),
    ),
    # --- What is bounded, and what never changes ----------------------------------------------------------------
    Guard(
        "the states that are remembered are so many at most",
        "eventstore/loading.py",
        "            while len(self._states) > limit:\n",
        "            while False:\n",
        (f"{STORE}loading.py::test_memory_is_bounded_and_keeps_what_was_used_last",),
    ),
    Guard(
        "a task whose time is up sends another",
        "eventstore/tasks.py",
        "    if not _drain(using):\n        wake(using)\n",
        "    _drain(using)\n",
        ("tests/integration/test_wakeups.py::test_a_task_that_did_not_come_to_an_end_sends_another",),
    ),
    Guard(
        "a stream's bucket is the same in every process, for ever",
        "eventstore/buckets.py",
        "    return crc32(stream_id.bytes) & (BUCKETS - 1)\n",
        "    return hash(stream_id) & (BUCKETS - 1)\n",
        ("tests/unit/test_ids.py::test_it_puts_a_stream_into_the_same_bucket_for_ever",),
    ),
)
