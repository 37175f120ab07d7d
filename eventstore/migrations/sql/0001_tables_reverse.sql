-- Takes the event store out of the database, history included.
DROP TABLE eventstore_idempotency_record, eventstore_subject_key, eventstore_snapshot, eventstore_operation,
    eventstore_parked_event, eventstore_parked_key, eventstore_checkpoint, eventstore_sequencer, eventstore_log,
    eventstore_outbox, eventstore_event;
DROP FUNCTION eventstore_refuse_rewriting();
