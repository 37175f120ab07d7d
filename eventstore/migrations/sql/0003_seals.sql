-- Tamper evidence: a chain of hashes over consecutive ranges of the log (docs/adr/0018-seals.md).
CREATE TABLE eventstore_seal (
    last_position bigint PRIMARY KEY,
    first_position bigint NOT NULL CHECK (first_position BETWEEN 1 AND last_position),
    format smallint NOT NULL CHECK (format = 1),
    leaves bytea NOT NULL CHECK (octet_length(leaves) = 8 * (last_position - first_position + 1)),
    previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    sealed_at timestamptz NOT NULL,
    CONSTRAINT eventstore_seal_previous_hash_unique UNIQUE (previous_hash)
);
-- Hashes cannot be compressed: trying would only take time.
ALTER TABLE eventstore_seal ALTER COLUMN leaves SET STORAGE EXTERNAL;

CREATE TRIGGER eventstore_seal_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON eventstore_seal
    FOR EACH STATEMENT EXECUTE FUNCTION eventstore_refuse_rewriting();
ALTER TABLE eventstore_seal ENABLE ALWAYS TRIGGER eventstore_seal_append_only;
