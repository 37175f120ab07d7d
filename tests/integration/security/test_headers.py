"""The headers of every answer, whoever gives it."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from unittest.mock import patch

import pytest
from django.test import Client

from config.asgi import application
from config.headers import security_headers
from config.staff.roles import Role
from eventstore.rest.parsing import MAX_BODY_BYTES
from tests.conftest import Database
from tests.integration.security.addresses import path_of, routes
from tests.integration.security.bank import Bank
from tests.integration.security.people import NOBODY, Visitor
from views_readmodel.live.stream import PATH

EXPECTED: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY: Final = {
    "default-src 'self'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}
KEPT: Final = ("/static/",)
"""What a browser may keep: it tells of nobody."""


def _check(headers: Any, address: str) -> None:
    for name, value in EXPECTED.items():
        assert headers.get(name) == value, f"{address}: {name}"
    assert set(headers["Content-Security-Policy"].split("; ")) == POLICY, address
    assert "camera=()" in headers["Permissions-Policy"], address
    if not address.startswith(KEPT):
        kept = headers["Cache-Control"]
        # The API's documents carry a tag: a program may keep its own, and must ask each time.
        assert "no-store" in kept or (address.startswith("/api/") and kept == "private, no-cache"), f"{address}: {kept}"


@pytest.mark.parametrize("who", [NOBODY, Role.SUPERVISOR.value, Role.OPERATOR.value])
def test_every_address_answers_with_every_header(committed_db: Database, who: str) -> None:
    bank, visitor = Bank(), Visitor(who)
    for route in routes():
        address = path_of(route, bank.things)
        for method in ("GET", "POST", "DELETE"):
            _check(visitor.ask(method, address).headers, address)


@pytest.mark.parametrize(
    "address", ["/static/daybook/css/base.css", "/static/nowhere.css", "/nowhere", "/api/v1/nowhere"]
)
def test_files_and_refusals_have_them_too(committed_db: Database, address: str) -> None:
    answered = Client().get(address)
    _check(answered.headers, address)
    answered.close()


def test_files_are_for_our_own_pages_alone(committed_db: Database) -> None:
    address = "/static/daybook/css/base.css"
    answered = Client().get(address)
    assert answered.status_code == 200
    assert "Access-Control-Allow-Origin" not in answered.headers
    answered.close()
    refused = Client().get(address, headers={"Host": "evil.example"})
    assert refused.status_code == 400
    _check(refused.headers, "/refused")


def test_failures_of_ours_and_refused_hosts_have_them_too(committed_db: Database) -> None:
    client = Client(raise_request_exception=False)
    with patch("config.health.JsonResponse", side_effect=RuntimeError):
        broken = client.get("/health/live")
    assert broken.status_code == 500
    _check(broken.headers, "/health/live")
    refused = client.get("/", headers={"Host": "evil.example"})
    assert refused.status_code == 400
    assert b"evil.example" not in refused.content
    _check(refused.headers, "/")


def _asgi(method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    """What the ASGI server would be told to answer."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    names = {name.lower(): name for name in security_headers()}
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], {names.get(name, name): value for name, value in headers.items()}


def test_the_live_stream_and_what_is_too_large_have_them_too(committed_db: Database) -> None:
    for method, path, body, status in (
        ("GET", PATH, b"", 401),
        ("POST", PATH, b"", 405),
        ("POST", "/api/v1/customers", b" " * (MAX_BODY_BYTES + 1), 413),
    ):
        answered, headers = _asgi(method, path, body)
        assert answered == status
        _check(headers, path)
