"""Checks that the database still defends history as the migrations made it do, whoever writes, and by whose right.

What a later migration may add (a column, a constraint) is left alone; a trigger or a rule is not, for either can change
what is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from eventstore.verification.defences import APPEND_ONLY, CONSTRAINTS, FUNCTION, REQUIRED, TRIGGERS, UNIQUE_COLUMNS
from eventstore.verification.findings import MISSING, PRESENT, Difference, Scope, StoreCheck, shown
from eventstore.verification.reading import one_moment

_ALWAYS: Final = "A"  # fires whoever writes, replication too (pg_trigger.tgenabled)

# The tables of these names, as unqualified names mean them, and what would make of one something else.
_SELECT_TABLES = """
SELECT t.relname,
    ARRAY_REMOVE(ARRAY[
        CASE WHEN t.relkind <> 'r' THEN 'no plain table' END,
        CASE WHEN t.relpersistence <> 'p' THEN 'a table that a crash empties' END,
        CASE WHEN t.relrowsecurity THEN 'a table with row security' END,
        CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE t.oid IN (i.inhrelid, i.inhparent))
            THEN 'a table that shares rows with another' END
    ], NULL),
    ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = t.oid AND a.attnum > 0 AND a.attnotnull AND NOT a.attisdropped),
    ARRAY(SELECT replace(pg_get_constraintdef(c.oid), quote_ident(n.nspname) || '.', '')
        FROM pg_catalog.pg_constraint c WHERE c.conrelid = t.oid AND c.contype IN ('c', 'f')),
    ARRAY(SELECT r.rulename::text FROM pg_catalog.pg_rewrite r WHERE r.ev_class = t.oid ORDER BY r.rulename),
    EXISTS (SELECT FROM pg_catalog.pg_trigger g
        WHERE g.tgrelid = t.oid AND g.tgisinternal AND g.tgenabled NOT IN ('O', 'A'))
FROM pg_catalog.pg_class t JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
WHERE t.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name))
"""

# The unique columns of each table, where a valid index sees to it.
_SELECT_UNIQUE = """
SELECT t.relname, ARRAY(
    SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, ordinal)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum
    ORDER BY k.ordinal
)
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE t.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name))
    AND i.indisunique AND i.indisvalid AND i.indisready AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
"""

# Their triggers, word for word, and what each calls: a function that does what it says and no more.
_SELECT_TRIGGERS = """
SELECT t.relname, g.tgname, replace(pg_get_triggerdef(g.oid), quote_ident(n.nspname) || '.', ''), g.tgenabled,
    CASE WHEN l.lanname = 'plpgsql' AND NOT p.prosecdef AND p.proconfig IS NULL THEN p.prosrc END
FROM pg_catalog.pg_trigger g
JOIN pg_catalog.pg_class t ON t.oid = g.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE t.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name)) AND NOT g.tgisinternal
ORDER BY t.relname, g.tgname
"""

# Whose each table is, and whether the app role may act for the owner; what the app role may do beside reading and
# adding; and what anybody else may do beside reading.
_SELECT_RIGHTS = """
SELECT t.relname, owner.rolname, COALESCE(pg_has_role(app.oid, t.relowner, 'MEMBER'), false),
    ARRAY(
        SELECT name FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'REFERENCES']) AS name
        WHERE has_table_privilege(app.oid, t.oid, name)
            OR (name = 'UPDATE' AND has_any_column_privilege(app.oid, t.oid, name))
    ),
    ARRAY(
        SELECT DISTINCT granted.privilege_type || ' to ' || COALESCE(quote_ident(other.rolname), 'everybody')
        FROM aclexplode(COALESCE(t.relacl, acldefault('r', t.relowner))) AS granted
        LEFT JOIN pg_catalog.pg_roles other ON other.oid = granted.grantee
        WHERE granted.grantee NOT IN (t.relowner, COALESCE(app.oid, 0::oid))
            AND (granted.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
                OR (granted.privilege_type = 'INSERT' AND app.oid IS NOT NULL))
        ORDER BY 1
    )
FROM pg_catalog.pg_class t
JOIN pg_catalog.pg_roles owner ON owner.oid = t.relowner
LEFT JOIN pg_catalog.pg_roles app ON app.rolname = %s
WHERE t.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) AS wanted (name))
ORDER BY t.relname
"""


class _Rights(NamedTuple):
    table: str
    owner: str
    app_may_own: bool
    beyond: list[str]  # what the app role may do beside reading and adding
    others: list[str]  # what others may do beside reading


class GuardsCheck(StoreCheck):
    """Reads the database's own catalogue.

    `app_role` is the role that runs the program, where another one owns the tables; None where it owns them itself.
    """

    name = "guards"
    unit = "indexes, triggers, constraints and rights"
    proves = (
        "The database itself still refuses to rewrite history and to store an event, a version or a position twice,"
        " in the words of the migrations; nothing else stands between a writer and the tables; and the role that runs"
        " the program has no right to change that."
    )

    def __init__(self, *, app_role: str | None = None) -> None:
        super().__init__()
        self._app_role = app_role

    def differences(self, scope: Scope) -> Iterator[Difference]:
        """Everything that differs."""
        names = list(UNIQUE_COLUMNS)
        with one_moment(using=scope.using) as cursor:
            cursor.execute(_SELECT_TABLES, [names])
            tables = {table: rest for table, *rest in cursor.fetchall()}
            cursor.execute(_SELECT_UNIQUE, [names])
            unique = {(table, tuple(columns)) for table, columns in cursor.fetchall()}
            cursor.execute(_SELECT_TRIGGERS, [names])
            triggers = {(table, name): rest for table, name, *rest in cursor.fetchall()}
            cursor.execute(_SELECT_RIGHTS, [self._app_role, list(APPEND_ONLY)])
            rights = cursor.fetchall()
        yield from self._unique_differences(unique)
        for table in names:
            yield from self._table_differences(table, tables.get(table))
        yield from self._trigger_differences(triggers)
        for row in rights:
            yield from self._right_differences(_Rights(*row))

    def _unique_differences(self, unique: set[tuple[str, tuple[str, ...]]]) -> Iterator[Difference]:
        for table, keys in UNIQUE_COLUMNS.items():
            for columns in keys:
                self.examined += 1
                if (table, columns) not in unique:
                    yield _missing(f"unique index on {table} ({', '.join(columns)})")

    def _table_differences(self, table: str, found: Any) -> Iterator[Difference]:
        if found is None:
            yield _missing(f"table {table}")
            return
        oddities, required, constraints, rules, disabled = found
        for oddity in oddities:
            yield Difference(field=f"table {table}", expected="a plain table", actual=oddity)
        for column in REQUIRED[table].split():
            self.examined += 1
            if column not in required:
                yield _missing(f"NOT NULL on {table}.{column}")
        for constraint in CONSTRAINTS.get(table, ()):
            self.examined += 1
            if constraint not in constraints:
                yield _missing(f"constraint on {table}: {constraint}")
        for rule in rules:
            yield Difference(field=f"rule {rule} on {table}", expected=MISSING, actual=PRESENT)
        if disabled:
            yield Difference(field=f"triggers of the foreign keys of {table}", expected="enabled", actual="disabled")

    def _trigger_differences(self, triggers: Mapping[tuple[str, str], Any]) -> Iterator[Difference]:
        mine = {(table, f"{table}_append_only"): table for table in APPEND_ONLY}
        functions: set[str | None] = set()
        for key, table in mine.items():
            self.examined += 1
            field = f"trigger that keeps {table} append-only"
            if key not in triggers:
                yield _missing(field)
                continue
            definition, enabled, function = triggers[key]
            functions.add(function)
            if (definition, enabled) != (TRIGGERS[table], _ALWAYS):
                expected = f"{TRIGGERS[table]}, whoever writes"
                yield Difference(field=field, expected=expected, actual=f"{definition}, enabled: {enabled}")
        for function in functions - {FUNCTION}:
            field = "function that refuses to rewrite history"
            yield Difference(field=field, expected=shown(FUNCTION.strip()), actual=shown(function))
        for table, name in triggers.keys() - mine.keys():
            yield Difference(field=f"trigger {name} on {table}", expected=MISSING, actual=PRESENT)

    def _right_differences(self, found: _Rights) -> Iterator[Difference]:
        self.examined += 1
        if self._app_role is None:
            self.counts["tables of history that are the app role's own"] += 1
        elif found.app_may_own:
            expected = f"a role that {self._app_role} cannot act for"
            yield Difference(field=f"owner of {found.table}", expected=expected, actual=found.owner)
        elif found.beyond:
            field = f"rights of {self._app_role} on {found.table}"
            yield Difference(field=field, expected="SELECT, INSERT", actual=f"{', '.join(found.beyond)} too")
        if found.others:
            field = f"rights of others on {found.table}"
            yield Difference(field=field, expected="SELECT at most", actual=shown(", ".join(found.others)))


def _missing(field: str) -> Difference:
    return Difference(field=field, expected=PRESENT, actual=MISSING)
