"""Every field of every body of the API, with every class of bad value."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from accounts.published.money import DECIMALS, MAX_AMOUNT_MINOR, format_amount
from config.staff.roles import Role
from eventstore.rest.parsing import MAX_BODY_BYTES
from tests.integration.bad_input import values
from tests.integration.bad_input.api import Bank, Operation, operations
from tests.integration.bad_input.written import nothing_is_written
from tests.integration.counter import problem

WITH_BODY = [operation for operation in operations() if operation.has_body]
FIELDS = [(operation, name) for operation in WITH_BODY for name in operation.fields]

# What is refused although its form is right: the sentence of the schema cannot say it.
_BUSINESS = {"limit_exceeded", "currency_mismatch", "account_not_found", "customer_not_found"}

# Fields whose texts have a form of their own: the longest that there is of each.
_LONGEST = {
    "email": lambda length: "a" * (length - 12) + "@example.com",
    "phone": lambda length: "+" + "1" * (length - 1),
}


def _ids(found: Any) -> str:
    return found.id if isinstance(found, Operation) else str(found)


def _kind(name: str, schema: dict[str, Any]) -> str:
    if schema.get("component") == "DecimalText":
        return "amount"
    if schema.get("format") == "uuid":
        return "id"
    if schema.get("format") == "date-time":
        return "moment"
    if name == "currency":
        return "currency"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        return "map"
    if schema.get("type") == "string" and "maxLength" in schema:
        return "text"
    raise AssertionError(f"{name} is of a new kind: say what bad values of it are: {schema}")


def _bad(operation: Operation, name: str) -> list[bytes]:
    schema = operation.fields[name]
    kind, required = _kind(name, schema), name in operation.required
    types = ["object" if kind == "map" else "string"] + (["null"] if schema.get("nullable") else [])
    texts: list[str] = []
    if kind == "amount":
        texts = [*values.NO_AMOUNT, *([] if name == "initial_balance" else [values.ZERO_AMOUNT])]
    elif kind == "id":
        texts = list(values.NO_ID)
    elif kind == "currency":
        texts = list(values.NO_CURRENCY)
    elif kind == "moment":
        texts = list(values.NO_MOMENT)
    elif kind == "text":
        texts = [*([] if operation.id == "log_in" else values.UNPRINTABLE), "x" * (schema["maxLength"] + 1)]
        texts += ["\U0001f600" * (schema["maxLength"] + 1), "x" * 100_000]
        texts += ([""] if operation.id == "log_in" else values.BLANK) if required else []
    return [*values.of_other_types(*types), *map(values.token, texts), *(_bad_maps() if kind == "map" else [])]


def _bad_maps() -> list[bytes]:
    inner = [b'{"a": ' + value + b"}" for value in values.of_other_types("string")]
    maps: list[dict[str, str]] = [{str(n): "x" for n in range(21)}, {"": "x"}, {" ": "x"}, {"k" * 10_000: "x"}]
    maps += [
        {"a": "x" * 10_000},
        *({"a": text} for text in values.UNPRINTABLE),
        *({text: "x"} for text in values.UNPRINTABLE),
    ]
    return [*inner, *map(values.token, maps)]


@pytest.mark.parametrize(("operation", "name"), FIELDS, ids=_ids)
def test_a_bad_value_is_refused_with_the_name_of_its_field_and_writes_nothing(
    bank: Bank, operation: Operation, name: str
) -> None:
    good = bank.good(operation)
    assert name in (good.body or {}), "the good request has every field"
    wrong = []
    with nothing_is_written():
        for value in _bad(operation, name):
            answered = bank.send(good, raw=good.with_raw(name, value))
            if not _names(answered, name):
                wrong.append((value[:80], answered.status_code, answered.content[:300]))
        assert not wrong


@pytest.mark.parametrize(("operation", "name"), FIELDS, ids=_ids)
def test_what_is_no_json_is_refused_wherever_it_stands_and_writes_nothing(
    bank: Bank, operation: Operation, name: str
) -> None:
    good = bank.good(operation)
    with nothing_is_written():
        for value in values.NO_JSON:
            problem(bank.send(good, raw=good.with_raw(name, value)), 400, "validation_error")


@pytest.mark.parametrize("operation", WITH_BODY, ids=_ids)
def test_a_body_that_is_no_object_is_refused_and_writes_nothing(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    whole = json.dumps(good.body).encode()
    bad = [b"", b" ", b"\n", b"{", b"}", b"[]", b"[" + whole + b"]", b"null", b"true", b"0", b'""', b'"{}"', whole[:-1]]
    bad += [whole + whole, whole + b"x", whole + b"\x00", b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16")]
    bad += [whole.decode().encode("utf-32"), b"\x1f\x8b" + whole, b"a=b", b"<a/>", b"--x\r\n\r\n--x--"]
    with nothing_is_written():
        for raw in bad:
            problem(bank.send(good, raw=raw, content_type="application/json"), 400, "validation_error")
        for raw in (b'{"a": "' + b"x" * 10_000_000 + b'"}', b" " * (MAX_BODY_BYTES + 1), b"[" * 10_000_000):
            problem(bank.send(good, raw=raw), 413, "request_too_large")


@pytest.mark.parametrize("operation", WITH_BODY, ids=_ids)
def test_fields_that_are_unknown_missing_or_given_twice_are_refused_by_name(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    body = good.body or {}
    with nothing_is_written():
        for unknown in ("nothing", "__proto__", "id", "Amount", "amount ", "\u0430mount", "self", "version", "state"):
            assert unknown not in body
            answered = bank.send(replace(good, body={**body, unknown: "x"}))
            assert _names(answered, unknown), answered.content
        for name in operation.required:
            left = {other: value for other, value in body.items() if other != name}
            assert _names(bank.send(replace(good, body=left)), name)
        for name in body:
            twice = json.dumps(body)[:-1] + f", {json.dumps(name)}: {json.dumps(body[name])}}}"
            problem(bank.send(good, raw=twice.encode()), 400, "validation_error")
        many = {f"f{number}": 1 for number in range(50_000)}
        assert len(problem(bank.send(replace(good, body=many)), 400, "validation_error")["errors"]) < 50


@pytest.mark.parametrize("operation", WITH_BODY, ids=_ids)
def test_a_body_of_another_type_charset_or_coding_is_refused_and_writes_nothing(
    bank: Bank, operation: Operation
) -> None:
    good = bank.good(operation)
    whole = json.dumps(good.body).encode()
    types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
    ]
    types += [
        "application/jsonx",
        "application/merge-patch+json",
        "application/json-patch+json",
        "application/*",
        "*/*",
    ]
    types += ["", "x", ";", "/", "application", "text/html", "application/xml", "application/problem+json", "\x00"]
    charsets = ["latin-1", "iso-8859-1", "utf-16", "utf-7", "utf-32", "base64", "zlib", "idna", "rot13", "nonsense", ""]
    types += [f"application/json; charset={charset}" for charset in charsets]
    with nothing_is_written():
        for content_type in types:
            answered = bank.send(good, raw=whole, content_type=content_type)
            problem(answered, 415, "unsupported_media_type")
        for coding in ("gzip", "br", "deflate", "compress", "zstd", "nonsense", "gzip, identity", "utf-8", "\xff"):
            answered = bank.send(good, raw=whole, HTTP_CONTENT_ENCODING=coding)
            problem(answered, 415, "unsupported_media_type")


def test_the_ways_to_say_utf_8_are_taken(bank: Bank) -> None:
    (operation,) = [found for found in operations() if found.id == "register_customer"]
    good = bank.good(operation)
    whole = json.dumps(good.body).encode()
    for charset in (
        "application/json",
        "application/json; charset=utf-8",
        'application/json; charset="UTF-8"',
        "Application/JSON",
    ):
        assert bank.send(good, raw=whole, content_type=charset).status_code == 201
    assert bank.send(good, raw=whole, HTTP_CONTENT_ENCODING="identity").status_code == 201


@pytest.mark.parametrize("operation", [found for found in operations() if not found.has_body], ids=_ids)
def test_a_body_where_none_belongs_is_refused_and_writes_nothing(bank: Bank, operation: Operation) -> None:
    good = bank.good(operation)
    with nothing_is_written():
        for raw in (b"x", b"null", b"[]", b'{"a": 1}', b"\x00", b"[" * 10_000, b"x" * 2_000_000):
            answered = bank.send(good, raw=raw)
            assert answered.status_code in {400, 413}, answered.content
            problem(
                answered,
                answered.status_code,
                "validation_error" if answered.status_code == 400 else "request_too_large",
            )


@pytest.mark.parametrize("operation", [found for found in WITH_BODY if found.id != "log_in"], ids=_ids)
def test_the_longest_and_the_oddest_good_values_succeed(own_bank: Bank, operation: Operation) -> None:
    good = own_bank.good(operation)
    for name, schema in operation.fields.items():
        if _kind(name, schema) != "text" or operation.path.endswith(("reverse", "freeze", "close")):
            continue
        longest = _LONGEST.get(name, lambda length: "\U0001f600" * length)(schema["maxLength"])
        for text in (
            longest,
            *([] if name in _LONGEST else ["'); DROP TABLE --", "<script>", "=1+1", "\u0627\u200d\u0628", "%s{}"]),
        ):
            answered = own_bank.send(good.with_field(name, text))
            assert answered.status_code < 300, answered.content


@pytest.mark.parametrize("operation", [found for found in WITH_BODY if "reason" in found.fields], ids=_ids)
def test_the_longest_reason_succeeds(own_bank: Bank, operation: Operation) -> None:
    length = operation.fields["reason"]["maxLength"]
    assert own_bank.send(own_bank.good(operation).with_field("reason", "\U0001f600" * length)).status_code < 300


@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD", "CLF"])
def test_every_edge_of_an_amount_in_each_number_of_decimals(bank: Bank, currency: str) -> None:
    decimals = DECIMALS[currency]
    teller = bank.counters[Role.TELLER]
    account = teller.account(format_amount(0, currency), currency=currency)
    path = f"accounts/{account}/deposits"
    for edge in (1, 10**decimals, MAX_AMOUNT_MINOR):
        assert teller.post(path, {"amount": format_amount(edge, currency)}).status_code == 201
    with nothing_is_written():
        problem(teller.post(path, {"amount": format_amount(MAX_AMOUNT_MINOR + 1, currency)}), 422, "limit_exceeded")
        problem(teller.post(path, {"amount": format_amount(10**30, currency)}), 422, "limit_exceeded")
        for bad in {"1", "1.0", "1.00", "1.000", "1.0000", "1.00000"} - {format_amount(10**decimals, currency)}:
            assert _names(teller.post(path, {"amount": bad}), "amount")
        assert _names(teller.post(path, {"amount": format_amount(0, currency)}), "amount")


@pytest.mark.parametrize(("operation", "name"), FIELDS, ids=_ids)
def test_the_id_of_nothing_or_of_something_else_is_refused_and_writes_nothing(
    bank: Bank, operation: Operation, name: str
) -> None:
    if _kind(name, operation.fields[name]) != "id":
        return
    good = bank.good(operation)
    others = {bank.customer, bank.payer, bank.transfer, bank.entry} - {good.body[name]}  # type: ignore[index]
    others -= {bank.payee} if "account" in name else set()
    wanted = name.removesuffix("_id").rpartition("_")[2]
    of_that_kind = {"account": {bank.payer, bank.payee}, "customer": {bank.customer}}[wanted]
    with nothing_is_written():
        for foreign in (values.FOREIGN_ID, *(others - of_that_kind)):
            problem(bank.send(good.with_field(name, foreign)), 422, f"{wanted}_not_found")


def _names(answered: Any, name: str) -> bool:
    """Whether the answer refuses, and says that it is about the field."""
    if answered.headers.get("Content-Type") != "application/problem+json":
        return False
    found = answered.json()
    if answered.status_code == 422:
        return found["code"] in _BUSINESS
    named = [error["field"] or "" for error in found.get("errors", [])]
    return answered.status_code == 400 and any(field == name or field.startswith(f"{name}.") for field in named)
