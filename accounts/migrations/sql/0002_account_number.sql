-- What account numbers are made from, before their check digit. Frozen once released: later changes are later files.
-- A gap is fine, a repeat never: a rolled-back opening uses its number up.
CREATE SEQUENCE accounts_account_number START WITH 1000000 NO CYCLE;
