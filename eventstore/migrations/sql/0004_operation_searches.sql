-- What people look operations up by, newest first: who did it, what it was, to whom, and behind which key.
CREATE INDEX eventstore_operation_actor ON eventstore_operation (actor, id);
CREATE INDEX eventstore_operation_action ON eventstore_operation (action, id);
CREATE INDEX eventstore_operation_to
    ON eventstore_operation ((COALESCE(NULLIF(subscription, ''), detail ->> 'member')), id);
CREATE INDEX eventstore_operation_key ON eventstore_operation ((detail ->> 'key'), id);
