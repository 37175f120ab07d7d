-- One row a customer, personal fields in plain text: an erased person's row is rebuilt without them.
CREATE TABLE customer (
    customer_id uuid PRIMARY KEY,
    name text NOT NULL,
    email text,
    phone text,
    reference text,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    version integer NOT NULL,
    -- The words of what people look for: without accents, so that either way of writing is found, and without
    -- punctuation, so that a word is a word for the query too.
    search tsvector NOT NULL GENERATED ALWAYS AS (
        to_tsvector(
            'simple',
            regexp_replace(
                replace(
                    normalize(
                        regexp_replace(
                            normalize(name || ' ' || coalesce(reference, ''), NFKD), '[\u0300-\u036f]', '', 'g'
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
        )
    ) STORED
);
CREATE INDEX customer_newest ON customer (created_at, customer_id);
CREATE INDEX customer_search ON customer USING gin (search);
