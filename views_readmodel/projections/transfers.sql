-- One row a transfer.
CREATE TABLE transfer (
    transfer_id uuid PRIMARY KEY,
    from_account_id uuid NOT NULL,
    to_account_id uuid NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    description text NOT NULL,
    reference text,
    metadata jsonb NOT NULL,
    state text NOT NULL,
    failure_reason text,
    initiated_by text NOT NULL,
    approved_by text,
    reverses uuid,
    reversed_by uuid,
    created_at timestamptz NOT NULL,
    execute_at timestamptz,
    completed_at timestamptz,
    from_account_version integer,
    to_account_version integer,
    correlation_id uuid NOT NULL,
    changed_at timestamptz NOT NULL,
    version integer NOT NULL
) WITH (fillfactor = 85);
CREATE INDEX transfer_newest ON transfer (created_at, transfer_id);
CREATE INDEX transfer_from ON transfer (from_account_id, created_at, transfer_id);
CREATE INDEX transfer_to ON transfer (to_account_id, created_at, transfer_id);
CREATE INDEX transfer_in_state ON transfer (state, created_at, transfer_id);
CREATE INDEX transfer_of_amount ON transfer (currency, amount, state, created_at, transfer_id);
CREATE INDEX transfer_of_reference ON transfer (reference, created_at, transfer_id) WHERE reference IS NOT NULL;

-- One row for each of a transfer's events. Rows are only ever added.
CREATE TABLE transfer_step (
    transfer_id uuid NOT NULL,
    version integer NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    actor text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (transfer_id, version)
);
