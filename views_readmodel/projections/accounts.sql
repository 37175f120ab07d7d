-- One row an account. No other stream writes it: names of customers are joined when it is read.
CREATE TABLE account (
    account_id uuid PRIMARY KEY,
    number text NOT NULL,
    title text NOT NULL,
    customer_id uuid NOT NULL,
    currency text NOT NULL,
    balance bigint NOT NULL,
    state text NOT NULL,
    reference text,
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    version integer NOT NULL,
    -- The words of what people look for, without accents and punctuation; the number also in one piece.
    search tsvector NOT NULL GENERATED ALWAYS AS (
        to_tsvector(
            'simple',
            regexp_replace(
                replace(
                    normalize(
                        regexp_replace(
                            normalize(number || ' ' || title || ' ' || coalesce(reference, ''), NFKD),
                            '[\u0300-\u036f]',
                            '',
                            'g'
                        ),
                        NFKC
                    ),
                    'ß',
                    'ss'
                ),
                '[^[:alnum:]]+',
                ' ',
                'g'
            )
            || ' ' || regexp_replace(number, '[^[:alnum:]]+', '', 'g')
        )
    ) STORED
) WITH (fillfactor = 85);  -- balances change most, and are in no index: the new row fits beside the old
CREATE INDEX account_newest ON account (opened_at, account_id);
CREATE INDEX account_of_customer ON account (customer_id, opened_at, account_id);
CREATE INDEX account_in_state ON account (state, opened_at, account_id);
CREATE INDEX account_in_currency ON account (currency, opened_at, account_id);
CREATE INDEX account_search ON account USING gin (search);

-- One row for each event that moved money: the lines of the statements. Rows are only ever added.
CREATE TABLE entry (
    account_id uuid NOT NULL,
    version integer NOT NULL,
    entry_id uuid NOT NULL,
    kind text NOT NULL,
    amount bigint NOT NULL,
    balance_after bigint NOT NULL,
    transfer_id uuid,
    counterparty_account_id uuid,
    reverses uuid,
    description text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, version)
);
CREATE INDEX entry_at ON entry (account_id, recorded_at, version);
CREATE INDEX entry_of_transfer ON entry (transfer_id) WHERE transfer_id IS NOT NULL;
CREATE INDEX entry_reversing ON entry (account_id, reverses) WHERE reverses IS NOT NULL;
