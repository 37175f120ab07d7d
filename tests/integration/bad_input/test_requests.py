"""Every parameter, header, address and method of the API, with every class of bad value."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.test import Client

from config.staff.roles import Role
from eventstore.rest.commands import MAX_KEY_LENGTH
from eventstore.rest.correlation import parse_uuid
from eventstore.rest.cursors import MAX_LIMIT
from eventstore.rest.requests import MAX_VERSION
from tests.integration.bad_input import values
from tests.integration.bad_input.api import Asked, Bank, Operation, document, operations
from tests.integration.bad_input.written import nothing_is_written
from tests.integration.counter import API, problem

READS = [operation for operation in operations() if operation.method == "GET"]
QUERIES = [(operation, name) for operation in READS for name in operation.parameters_in("query")]
HEADERS = [(operation, name) for operation in operations() for name in operation.parameters_in("header")]


def _ids(found: Any) -> str:
    return found.id if isinstance(found, Operation) else str(found)


def _get(bank: Bank, good: Asked, query: str) -> Any:
    """With a query of just these characters."""
    return bank.send(good, path=f"{good.path}?{query}")


def _bad_queries(name: str, schema: dict[str, Any]) -> list[str]:
    if schema.get("format") == "uuid":
        return list(values.NO_ID)
    if schema.get("format") == "date-time":
        return list(values.NO_MOMENT)
    if schema["type"] == "integer":
        return [*values.NO_WHOLE_NUMBER, str(schema["minimum"] - 1), str(schema["maximum"] + 1)]
    if name == "cursor":
        return list(values.NO_CURSOR)
    if "enum" in schema:
        return ["", " ", "x", *(found.swapcase() for found in schema["enum"]), schema["enum"][0] + " ", "\x00"]
    if name == "include":
        return ["", " ", "x", ",", "changes,", ",changes", "changes, transfers", "Changes", "changes;transfers", "\x00"]
    if name == "currency":
        return ["\x00", *(code for code in values.NO_CURRENCY if not re.fullmatch("[A-Z]{3}", code))]
    if schema["type"] == "string" and "maxLength" in schema:
        return ["x" * (schema["maxLength"] + 1), "\U0001f600" * 5_000, "\x00", "a\x00b"]
    raise AssertionError(f"{name} is of a new kind: say what bad values of it are: {schema}")


@pytest.mark.parametrize(("operation", "name"), QUERIES, ids=_ids)
def test_a_bad_parameter_is_refused_by_name_and_writes_nothing(bank: Bank, operation: Operation, name: str) -> None:
    good = bank.good(operation)
    bad = [f"{name}={quote(value)}" for value in _bad_queries(name, operation.parameters["query", name])]
    bad += [f"{name}=1&{name}=1", f"{name}=%00", f"{name}[]=1", f"{name}[$ne]=1", f"{name.upper()}=1", f"{name}%00=1"]
    wrong = []
    with nothing_is_written():
        for query in bad:
            answered = _get(bank, good, query)
            named = [error["field"] for error in problem(answered, 400, "validation_error")["errors"]]
            if not all(field and field.lower().startswith(name) for field in named):
                wrong.append((query[:80], named))
        for broken in ("%ff", "%c0%80", "%ed%a0%80", "%f4%90%80%80"):
            problem(_get(bank, good, f"{name}={broken}"), 400, "validation_error")
        assert not wrong


def test_the_edges_of_parameters_succeed(bank: Bank) -> None:
    teller = bank.counters[Role.TELLER]
    for moment in values.EDGE_MOMENTS:
        assert teller.get("transfers", created_from=moment).status_code == 200
        assert teller.get("transfers", created_to=moment).status_code == 200
        answered = teller.get(f"accounts/{bank.payer}", as_of=moment)
        assert answered.status_code in {200, 404}, answered.content
        if moment.startswith("0001"):
            problem(answered, 404, "not_found")
        if moment.startswith("9999"):
            assert answered.json()["account_id"] == bank.payer
    for limit in (1, MAX_LIMIT):
        assert teller.get("accounts", limit=limit).status_code == 200
    assert teller.get(f"accounts/{bank.payer}", at_version=1).json()["balance"] == "500.00"
    problem(teller.get(f"accounts/{bank.payer}", at_version=MAX_VERSION), 404, "not_found")
    assert teller.get(f"accounts/{bank.payer}", include="changes,transfers").status_code == 200
    for search in (
        "'",
        "\\",
        "%",
        "_",
        "a:*",
        "& | ! ( )",
        "<->",
        "''''",
        "*",
        ":",
        "\u202e",
        "\U0001f600" * 100,
        "-",
        "\t",
    ):
        for path in ("accounts", "customers"):
            assert teller.get(path, search=search).status_code == 200, search


def test_a_cursor_goes_on_in_the_list_that_it_came_from_and_in_no_other(bank: Bank) -> None:
    teller = bank.counters[Role.TELLER]
    lists: dict[str, list[dict[str, Any]]] = {
        "customers": [{}, {"search": "Alice"}],
        "accounts": [
            {},
            {"currency": "EUR"},
            {"state": "OPEN"},
            {"state": "OPEN", "created_from": "2020-01-01T00:00:00Z"},
        ],
        f"accounts/{bank.payer}/entries": [{}, {"created_to": "2999-01-01T00:00:00Z"}],
    }
    asked = [(path, filters) for path, variants in lists.items() for filters in variants]
    cursors = [teller.get(path, limit=1, **filters).json()["next_cursor"] for path, filters in asked]
    assert all(cursors)
    for path, filters in asked:
        for (other_path, other_filters), cursor in zip(asked, cursors, strict=True):
            answered = teller.get(path, limit=7, cursor=cursor, **filters)
            if (path, filters) == (other_path, other_filters):
                assert answered.status_code == 200
            else:
                assert problem(answered, 400, "validation_error")["errors"][0]["field"] == "cursor"


def test_a_cursor_that_was_tampered_with_is_refused(bank: Bank) -> None:
    teller = bank.counters[Role.TELLER]
    cursor = teller.get("accounts", limit=1).json()["next_cursor"]
    for position in range(0, len(cursor), 5):
        other = "A" if cursor[position] != "A" else "B"
        answered = teller.get("accounts", cursor=cursor[:position] + other + cursor[position + 1 :])
        assert problem(answered, 400, "validation_error")["errors"][0]["field"] == "cursor"
    for tampered in (
        cursor[:-1],
        cursor + "A",
        cursor + "=",
        cursor.swapcase(),
        cursor[::-1],
        f" {cursor}",
        f"{cursor}\n",
    ):
        problem(teller.get("accounts", cursor=tampered), 400, "validation_error")


@pytest.mark.parametrize("operation", operations(), ids=_ids)
def test_an_unknown_parameter_is_refused_by_name(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    with nothing_is_written():
        for name in ("nothing", "format", "page", "Limit", "_method", "access_token", "\u202e", "a" * 5_000, ""):
            if name in operation.parameters_in("query"):
                continue
            found = problem(_get(bank, good, f"{quote(name)}=1"), 400, "validation_error")
            assert [(error["field"] or "", error["code"]) for error in found["errors"]] == [
                (name[:50], "unknown_field")
            ]
        for query in ("x%ff=1", "%ed%a0%80=1", "&".join(f"f{number}=1" for number in range(999))):
            problem(_get(bank, good, query), 400, "validation_error")
        problem(_get(bank, good, "&".join(f"f{number}=1" for number in range(5_000))), 400, "validation_error")


@pytest.mark.parametrize(("operation", "name"), HEADERS, ids=_ids)
def test_a_bad_header_is_refused_or_has_no_effect(bank: Bank, operation: Operation, name: str) -> None:
    good = bank.good(operation)
    check = {
        "Idempotency-Key": _check_idempotency_key,
        "X-Correlation-ID": _check_correlation_id,
        "If-Match": _check_if_match,
        "If-None-Match": _check_if_none_match,
        "Prefer": _check_prefer,
    }.get(name)
    assert check is not None, f"{name} is new: say what bad values of it are, and what comes of them"
    with nothing_is_written():
        check(bank, good)


def _check_idempotency_key(bank: Bank, good: Asked) -> None:
    problem(bank.send(replace(good, headers={"Idempotency-Key": ""})), 400, "idempotency_key_required")
    without = replace(good.operation, parameters={})
    problem(bank.send(replace(good, operation=without)), 400, "idempotency_key_required")
    for key in (
        " ",
        "a b",
        "\t",
        "k" * (MAX_KEY_LENGTH + 1),
        "k" * 10_000,
        "\xe9",
        "\x7f",
        "\xff",
        "k\x00",
        "\u20ac".encode().decode("latin-1"),
    ):
        found = problem(bank.send(replace(good, headers={"Idempotency-Key": key})), 400, "validation_error")
        assert [error["field"] for error in found["errors"]] == ["Idempotency-Key"]


def _check_correlation_id(bank: Bank, good: Asked) -> None:
    """One that is ill-formed is not taken, and none of its characters come back."""
    refused = replace(good, query={"nothing": "1"})
    for odd in (
        "",
        "x",
        " ",
        "\xff",
        "a" * 10_000,
        str(uuid4()) + "0",
        "{" + str(uuid4()) + "}",
        uuid4().hex,
        "\u0660",
    ):
        answered = bank.send(refused, HTTP_X_CORRELATION_ID=odd.encode().decode("latin-1"))
        taken = problem(answered, 400, "validation_error")["correlation_id"]
        assert parse_uuid(taken)
        assert taken != odd


def _check_if_match(bank: Bank, good: Asked) -> None:
    digest = "0" * 24
    odd = [
        "x",
        "1",
        '"',
        '""',
        '"x"',
        '"1"',
        f'"0-{digest}"',
        f'"-1-{digest}"',
        f'"{MAX_VERSION}-{digest}"',
        "\xff",
        "a" * 10_000,
    ]
    odd += [
        f'"{MAX_VERSION + 1}-{digest}"',
        f'"{"9" * 10}-{digest}"',
        f'"{"9" * 5_000}-{digest}"',
        f'"1-{digest}x"',
        '"\u0661-'.encode().decode("latin-1") + f'{digest}"',
    ]
    for tag in odd:
        problem(bank.send(good, HTTP_IF_MATCH=tag), 412, "version_mismatch")


def _check_if_none_match(bank: Bank, good: Asked) -> None:
    for tag in ("x", '"', '""', "W/", 'W/"x"', "\xff", "a" * 10_000, ", ,", '"0-' + "0" * 24 + '"'):
        assert bank.send(good, HTTP_IF_NONE_MATCH=tag).status_code == 200


_ODD_PREFERENCES = (
    "x", "wait", "wait=", "wait=x", "wait=-1", "wait=1.5", "wait=1e9", "wait=" + "9" * 50, "wait=" + "9" * 5_000,
    "\xff", ",,,", 'wait="', "wait=1" * 900, "respond-async", "wait=\u0661".encode().decode("latin-1"), "wait=1=1",
    "wait 1",
)  # fmt: skip


def _check_prefer(bank: Bank, good: Asked) -> None:
    """A preference may be left unheeded (RFC 7240); beside something that is wrong it does no harm."""
    refused = good.with_field("amount", "0.00")
    for odd in _ODD_PREFERENCES:
        problem(bank.send(refused, HTTP_PREFER=odd), 400, "validation_error")


def test_a_preference_that_cannot_be_read_is_left_unheeded(own_bank: Bank) -> None:
    (operation,) = [found for found in operations() if found.id == "create_transfer"]
    for odd in _ODD_PREFERENCES:
        answered = own_bank.send(own_bank.good(operation), HTTP_PREFER=odd)
        assert answered.status_code == 202, odd[:40]
        assert "Preference-Applied" not in answered.headers, odd[:40]


def test_a_preference_at_its_limits_is_heeded(own_bank: Bank) -> None:
    """Whatever is beside it; a repeat is answered with what was accepted."""
    (operation,) = [found for found in operations() if found.id == "create_transfer"]
    for odd in ("wait=0", "wait=000000", 'wait="0"', "WAIT = 0 ; x", ",,wait=0", "x, wait=0, wait=9", "wait=x, wait=0"):
        asked = replace(own_bank.good(operation), headers={"Idempotency-Key": odd.replace(" ", "")})
        answered = own_bank.send(asked, HTTP_PREFER=odd)
        assert (answered.status_code, answered.headers["Preference-Applied"]) == (202, "wait=0"), odd
        again = own_bank.send(asked, HTTP_PREFER=odd)
        assert (again.status_code, again.content) == (202, answered.content)


def test_the_longest_idempotency_key_is_taken(own_bank: Bank) -> None:
    (operation,) = [found for found in operations() if found.id == "deposit"]
    for key in ("!" * MAX_KEY_LENGTH, "~", '"quoted"', "a,b;c"):
        assert own_bank.send(replace(own_bank.good(operation), headers={"Idempotency-Key": key})).status_code == 201


@pytest.mark.parametrize("operation", operations(), ids=_ids)
def test_an_answer_in_another_format_is_refused_before_anything_is_done(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    with nothing_is_written():
        for accept in (
            "text/html",
            "application/xml",
            "application/jsonx",
            "x",
            "/",
            ";",
            "image/*",
            "\xff",
            "text/csv;q=1" * 500,
            *values.NO_MEDIA_TYPE,
        ):
            problem(bank.send(good, HTTP_ACCEPT=accept), 406, "not_acceptable")


@pytest.mark.parametrize("operation", operations(), ids=_ids)
def test_any_other_method_is_refused_with_those_that_are_allowed(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    known = {found.method for found in operations() if found.path == operation.path}
    known |= {"HEAD"} if "GET" in known else set()
    with nothing_is_written():
        for method in {
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "PROPFIND",
            "X",
        } - known:
            answered = bank.counter(operation).client.generic(method, good.path)
            assert answered.status_code == 405, (method, answered.content)
            assert {word.strip() for word in answered.headers["Allow"].split(",")} == known
            if method != "HEAD":
                problem(answered, 405, "method_not_allowed")
        if "HEAD" in known:
            answered = bank.counter(operation).client.generic("HEAD", good.path)
            assert (answered.status_code, answered.content) == (200, b"")
    for overriding in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        if operation.method == "GET":
            answered = bank.counter(operation).client.get(good.path, headers={overriding: "DELETE"})
            assert answered.status_code == 200


@pytest.mark.parametrize("operation", [found for found in operations() if "{" in found.path], ids=_ids)
def test_the_id_of_nothing_is_not_found_and_what_is_no_id_is_no_address(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    with nothing_is_written():
        for name in good.ids:
            for foreign in (values.FOREIGN_ID, bank.customer, bank.payer, bank.transfer, bank.entry):
                if foreign != good.ids[name] and not (name == "account_id" and foreign == bank.payer):
                    problem(bank.send(replace(good, ids={**good.ids, name: foreign})), 404, "not_found")
            for bad in values.NO_ID:
                answered = bank.send(replace(good, ids={**good.ids, name: quote(bad, safe="")}))
                problem(answered, 404, "not_found")


_TRICKS = (
    "/api/v1/{path}/", "/api/v1//{path}", "//api/v1/{path}", "/api//v1/{path}", "/api/v1/{path}//", "/api/v1/./{path}",
    "/api/v1/x/../{path}", "/api/v1/..%2fv1/{path}", "/api/v1/%2e%2e/v1/{path}", "/api/v1/{path}%00",
    "/api/v1/%00{path}", "/api/v1/{path}%0a",
    "/api/v1/{path}%0d%0aX:%20y", "/api/v1/{path}%20", "/api/v1/{path}.json", "/api/v1/{path};x=y",
    "/api/v1/{path}%3fx", "/api/v1/{path}%ff", "/api/v1/{path}%c0%ae", "/api/v1/{path}%ed%a0%80", "/api/v1\\{path}",
    "/api/v1/{path}%252e", "/API/v1/{path}", "/api/v2/{path}", "/api/v1/{path}%E2%80%AE", "/api/v1/\uff41{path}",
)  # fmt: skip


@pytest.mark.parametrize("operation", operations(), ids=_ids)
def test_no_other_spelling_of_an_address_leads_anywhere(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    below = good.path.removeprefix(f"{API}/")
    with nothing_is_written():
        for trick in _TRICKS:
            answered = bank.send(good, path=trick.format(path=below))
            assert answered.status_code == 404, (trick, answered.status_code)
            problem(answered, 404, "not_found") if trick.startswith("/api") else None


def test_the_addresses_beside_the_operations_take_no_bad_input_either(bank: Bank) -> None:
    """The schema itself, its page, and health: whatever stands in their queries and headers."""
    client = Client(raise_request_exception=False)
    named = {path for path in document()["paths"] if path.startswith("/api/v1/")}
    assert {"/api/v1/schema", "/api/v1/docs"}.isdisjoint(named)
    queries = [
        "",
        "?version=9",
        "?version=%00",
        "?lang=xx",
        "?format=x",
        "?script=%3C/script%3E",
        "?x=%ff",
        "?x=%ed%a0%80",
    ]
    with nothing_is_written():
        for path in ("/api/v1/schema", "/api/v1/docs", "/health/live", "/health/ready"):
            for query in queries:
                assert _told(client.get(path + query)) in {200, 400, 404, 406}, path + query
            for accept in (
                "x",
                "text/html",
                "application/json",
                "\xff",
                "*/*;q=x",
                "application/vnd.oai.openapi;version=x",
                *values.NO_MEDIA_TYPE,
            ):
                assert _told(client.get(path, headers={"Accept": accept})) in {200, 406}, accept
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
                assert _told(client.generic(method, path)) in {401, 405}, (method, path)


def _told(answered: Any) -> int:
    """The status; below the API a refusal is a problem, whatever the address answers otherwise."""
    if answered.status_code >= 400 and answered.request["PATH_INFO"].startswith(API):
        problem(answered, answered.status_code, answered.json()["code"])
    return int(answered.status_code)


@pytest.mark.parametrize("host", ["evil.example", "a b", "127.0.0.1/x", "\xff", "[::1", "", ".", "127.0.0.1\x00"])
def test_another_host_is_refused_as_a_problem(bank: Bank, host: str) -> None:
    answered = bank.counters[Role.TELLER].client.get(f"{API}/accounts", headers={"Host": host})
    problem(answered, 400, "validation_error")


def test_a_log_in_that_cannot_be_is_refused(bank: Bank) -> None:
    """Whatever stands in Authorization is told the same, and asks the database nothing that it could not be asked."""
    for odd in (
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer  x",
        "Bearer " + "0" * 64,
        "Bearer " + "0" * 5_000,
        "bearer x",
        "Bearer \xff",
    ):
        answered = Client(raise_request_exception=False).get(f"{API}/accounts", headers={"Authorization": odd})
        problem(answered, 401, "unauthenticated")
    for cookie in ("sessionid=x", "sessionid=" + "x" * 5_000, "sessionid=\x00", "sessionid=%00", "=", ";;;", "\xff"):
        answered = Client(raise_request_exception=False).get(f"{API}/accounts", headers={"Cookie": cookie})
        problem(answered, 401, "unauthenticated")
