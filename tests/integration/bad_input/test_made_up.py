"""Requests made up from the OpenAPI schema, good ones and bad ones, as each role: the answer is as described.

Schemathesis makes them up and checks the answers: never a 500, only documented statuses, types, headers and bodies, no
bad data taken, no good data refused, no answer without a log-in; one by one, and in stories. In `make test` the same
few each time; `MADE_UP_REQUESTS` says how many of each kind there are to be of each operation instead, at random.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.bad_input.api import Bank, operations
from tests.integration.counter import Counter

EACH = int(os.environ.get("MADE_UP_REQUESTS", "0"))
_NOBODY = "nobody"
_PEOPLE = [*(role.value for role in Role), _NOBODY]

# What is refused although the schema allows it: it depends on the account, or no pattern says it.
_BEYOND_THE_SCHEMA = {
    "amount_not_positive", "exclusive", "invalid", "invalid_amount", "invalid_email", "invalid_metadata",
    "invalid_phone", "invalid_text", "nothing_to_change", "null_characters_not_allowed", "required", "text_too_long",
    "unknown_currency",
}  # fmt: skip


@pytest.fixture(scope="module")
def schema(django_db_setup: None) -> Any:
    return schemathesis.openapi.from_wsgi(
        "/api/v1/schema", get_wsgi_application(), headers={"Accept": "application/vnd.oai.openapi+json"}
    )


@pytest.fixture
def log_in(committed_db: Database, bank: Bank) -> dict[str, str]:
    """What each is known by."""
    return {role.value: Counter(role).token for role in Role}


@schemathesis.check
def good_data_is_taken(ctx: Any, response: Any, case: Any) -> None:
    """Good data is refused for what the schema cannot say, if at all."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE or response.status_code != 400:
        return
    found = response.json()
    unexpected = {error["code"] for error in found.get("errors", [])} - _BEYOND_THE_SCHEMA
    if unexpected or not found.get("errors"):
        raise AssertionError(f"good data was refused: {found}")


def _checks(response: Any) -> list[Any]:
    """All that there are; ours in the place of the one that knows no rules of a business.

    A 503 that says when to come again is no failure: a version was waited for that is not there yet.
    """
    left_out = {"positive_data_acceptance"}
    if response.status_code == 503 and "Retry-After" in response.headers:
        left_out.add("not_a_server_error")
    return [check for check in CHECKS.get_all() if check.__name__ not in left_out]


def _operation_named(schema: Any, id: str) -> Any:
    return (
        schema.find_operation_by_id(id)
        if hasattr(schema, "find_operation_by_id")
        else next(
            found.ok() for found in schema.get_all_operations() if found.ok().definition.raw.get("operationId") == id
        )
    )


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("id", [operation.id for operation in operations()])
def test_what_is_made_up_is_answered_as_the_schema_says(
    schema: Any, log_in: dict[str, str], id: str, mode: GenerationMode
) -> None:
    operation = _operation_named(schema, id)
    everybody = _in_turn()

    @settings(
        max_examples=EACH or 6,
        derandomize=not EACH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answered_well(case: Any) -> None:
        name = next(everybody)
        headers = {"Authorization": f"Bearer {log_in[name]}"} if name in log_in else {}
        response = case.call(headers=headers)
        case.validate_response(response, checks=_checks(response), headers=headers)

    answered_well()


def _in_turn() -> Iterator[str]:
    while True:
        yield from _PEOPLE


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.value)
def test_what_follows_from_an_answer_is_answered_as_the_schema_says(
    schema: Any, log_in: dict[str, str], role: Role
) -> None:
    """Stories: what one answer names is asked for, changed and paid from by the next request."""
    asked: set[str] = set()
    headers = {"Authorization": f"Bearer {log_in[role.value]}"}

    class Story(schema.exclude(operation_id="log_out").as_state_machine()):  # type: ignore[misc]  # made at run time
        def get_call_kwargs(self, _case: Any) -> dict[str, Any]:
            return {"headers": headers}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            asked.add(case.operation.label)
            case.validate_response(response, checks=_checks(response), headers=headers)

    Story.run(
        settings=settings(
            max_examples=EACH or 5,
            stateful_step_count=10,
            derandomize=not EACH,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )
    )
    assert len(asked) > 3
