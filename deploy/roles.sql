-- Daybook's database and its two roles, on a PostgreSQL server (15 to 18) of your own. Run once, by a superuser:
--
--     psql -d postgres -v owner_password=… -v app_password=… -f deploy/roles.sql
--
-- The owner migrates (DATABASE_OWNER_URL). The app role runs Daybook (DATABASE_URL); what it may do in detail, every
-- migration grants anew: on history it may read and add, nothing else. Searching takes names apart at what is no letter,
-- so the server's locale must be a UTF-8 one.

\set ON_ERROR_STOP on

CREATE ROLE daybook_app LOGIN PASSWORD :'app_password';
CREATE ROLE daybook_owner LOGIN PASSWORD :'owner_password';

-- The schemas of the read models belong to the app role; only a member of it may make them for it.
GRANT daybook_app TO daybook_owner;

-- A session that was left in the middle of a transaction must not keep its locks: others wait for them.
ALTER ROLE daybook_app SET idle_in_transaction_session_timeout = '30s';

-- Nor a transaction that never ends. The longest of Daybook's own is some seconds. (Older servers cannot bound it.)
SELECT current_setting('server_version_num')::int >= 170000 AS bounds_transactions \gset
\if :bounds_transactions
ALTER ROLE daybook_app SET transaction_timeout = '2min';
\endif

CREATE DATABASE daybook OWNER daybook_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE daybook FROM PUBLIC;
GRANT CONNECT ON DATABASE daybook TO daybook_app;
