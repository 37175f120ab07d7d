"""The OpenAPI schema: complete, valid, and shown without a script or style of anybody else."""

from __future__ import annotations

import json
import re
from contextlib import closing
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from config.api import _rendered_schema
from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import Counter, dispatch


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    answered = Client().get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert answered.status_code == 200
    found: dict[str, Any] = json.loads(answered.content)
    return found


def _operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation) for path, methods in schema["paths"].items() for method, operation in methods.items()
    ]


def _parameters(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {parameter["name"]: parameter for parameter in operation["parameters"]}


def test_the_schema_is_valid_and_made_without_a_warning() -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")


def test_the_schema_is_written_once_for_each_format_and_then_told_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    class Counted(SchemaGenerator):
        def get_schema(self, *args: Any, **kwargs: Any) -> Any:
            written.append(1)
            return super().get_schema(*args, **kwargs)  # type: ignore[no-untyped-call]

    monkeypatch.setattr("config.api.SchemaGenerator", Counted)
    _rendered_schema.cache_clear()
    tags = set()
    for _ in range(3):
        for accept in ("application/vnd.oai.openapi+json", "application/vnd.oai.openapi"):
            for query in ("", "?version=2", "?lang=de"):
                answered = Client().get(f"/api/v1/schema{query}", headers={"Accept": accept})
                assert answered.status_code == 200
                assert answered.headers["Content-Type"].startswith(accept)
                tags.add(answered.headers["ETag"])
    assert len(written) == len(tags) == 2
    for tag in tags:
        for accept in ("application/vnd.oai.openapi+json", "application/vnd.oai.openapi"):
            again = Client().get("/api/v1/schema", headers={"Accept": accept, "If-None-Match": tag})
            assert (again.status_code, again.content) in {(304, b""), (200, again.content)}
            assert (again.status_code == 304) == (again.headers["ETag"] == tag)


def test_the_schema_is_openapi_3_1_with_both_ways_to_sign_in(schema: dict[str, Any]) -> None:
    assert schema["openapi"] == "3.1.0"
    schemes = schema["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert set(schemes) == {"bearer", "cookieAuth"}


def test_every_operation_has_a_summary_a_permission_and_its_problems(schema: dict[str, Any]) -> None:
    for path, method, operation in _operations(schema):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["x-required-permission"], where
        assert "X-Correlation-ID" in _parameters(operation), where
        assert operation["responses"]["500"]["content"]["application/problem+json"], where
        good = [code for code in operation["responses"] if code.startswith("2")]
        assert good, where
        if "{" in path:
            assert "404" in operation["responses"], where


def test_every_post_outside_auth_needs_an_idempotency_key(schema: dict[str, Any]) -> None:
    for path, method, operation in _operations(schema):
        key = _parameters(operation).get("Idempotency-Key")
        if method == "post" and "/auth/" not in path:
            assert key is not None
            assert key["required"], path
            assert {"409", "422"} <= set(operation["responses"])
        else:
            assert key is None, path


def test_every_operation_that_takes_if_match_may_answer_that_it_has_changed(schema: dict[str, Any]) -> None:
    taking = set()
    for _, _, operation in _operations(schema):
        takes = "If-Match" in _parameters(operation)
        assert takes == ("412" in operation["responses"]), operation["operationId"]
        if takes:
            taking.add(operation["operationId"])
    cash = {"deposit", "withdraw"}
    assert taking == {"change_customer", "freeze_account", "unfreeze_account", "close_account"} | cash


def test_every_request_body_is_closed_and_has_an_example(schema: dict[str, Any]) -> None:
    for path, _, operation in _operations(schema):
        if "requestBody" not in operation:
            continue
        content = operation["requestBody"]["content"]["application/json"]
        assert content["examples"], path
        name = content["schema"]["$ref"].rpartition("/")[2]
        assert schema["components"]["schemas"][name]["additionalProperties"] is False


def _validator(schema: dict[str, Any], name: str) -> Draft202012Validator:
    resource = Resource.from_contents(schema, default_specification=DRAFT202012)
    registry: Any = Registry().with_resource("urn:api", resource)
    return Draft202012Validator({"$ref": f"urn:api#/components/schemas/{name}"}, registry=registry)


def test_what_is_answered_is_what_the_schema_says(committed_db: Database, schema: dict[str, Any]) -> None:
    teller = Counter(Role.TELLER)
    payer, payee = teller.account("5.00"), teller.account()
    transfer_id = teller.transfer(payer, payee, "1.00")
    dispatch()
    answers = {
        "AccountDocument": teller.get(f"accounts/{payer}", include="changes,transfers"),
        "AccountPage": teller.get("accounts", limit=2),
        "CustomerPage": teller.get("customers", limit=2),
        "EntryPage": teller.get(f"accounts/{payer}/entries"),
        "TransferDocument": teller.get(f"transfers/{transfer_id}"),
        "TransferPage": teller.get("transfers", limit=2),
        "CashEntry": teller.post(f"accounts/{payer}/deposits", {"amount": "1.00"}),
        "Problem": teller.post(f"accounts/{payer}/deposits", {"amount": 1}),
    }
    for name, answered in answers.items():
        _validator(schema, name).validate(answered.json())
        described = schema["components"]["schemas"][name]["properties"]
        assert set(answered.json()) <= set(described), name


def test_the_page_of_the_schema_needs_nobody_else(committed_db: Database) -> None:
    page = Client().get("/api/v1/docs")
    html = page.content.decode()
    assert page.status_code == 200
    assert "'unsafe-inline'" not in page.headers["Content-Security-Policy"]
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\bon[a-z]+\s*=|style\s*=", html)
    for address in re.findall(r'(?:src|href)="([^"]+)"', html):
        assert address.startswith("/"), address
        with closing(Client().get(address)) as answered:
            assert answered.status_code == 200, address
    (script,) = re.findall(r'src="(/api[^"]+)"', html)
    answered = Client().get(script)
    assert answered.headers["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in answered.content
