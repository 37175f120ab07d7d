"""A small bank with something of everything in it, and requests that would do something if they were let in."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID, uuid4

from django.apps import apps
from django.db import connection
from knox.models import AuthToken

from config.staff.admin import mark_of
from config.staff.roles import Role
from eventstore.models import Event
from tests.integration.counter import Counter, dispatch, member_of
from tests.integration.pages.desk import Desk, Form
from tests.integration.security.addresses import path_of

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

# What each write of the API is sent; the others are sent an empty object.
_BODIES: Final[dict[str, Any]] = {
    "api/v1/auth/login": {"username": "nobody", "password": "wrong"},
    "api/v1/customers": {"name": "Mallory"},
    "api/v1/customers/<id:customer_id>": {"name": "Mallory"},
    "api/v1/accounts/<id:account_id>/deposits": {"amount": "1.00"},
    "api/v1/accounts/<id:account_id>/withdrawals": {"amount": "1.00"},
    "api/v1/accounts/<id:account_id>/entries/<id:entry_id>/reverse": {"reason": "Mallory"},
    "api/v1/accounts/<id:account_id>/freeze": {"reason": "Mallory"},
    "api/v1/accounts/<id:account_id>/unfreeze": {"reason": "Mallory"},
    "api/v1/accounts/<id:account_id>/close": {"reason": "Mallory"},
}
# What every form of the pages and the admin is sent beside its own fields: whichever it has is filled in.
_FILLED_IN: Final = {
    "name": "Mallory",
    "amount": "1.00",
    "reason": "Mallory",
    "title": "Mallory",
    "currency": "EUR",
    "description": "Mallory",
    "username": "mallory",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
    "index": "0",
    "select_across": "0",
}
_ACTIONS: Final = {  # of the admin's lists
    "admin/staff/staffmember/": "let_in_again",
    "admin/axes/accessattempt/": "forget_selected",
    "admin/knox/authtoken/": "revoke_selected",
    "admin/eventstore/parkedkey/": "retry_selected",
}

# Everything that a request could have changed, as one text. Left out is what signing in writes.
_TABLES: Final = """
SELECT schemaname, tablename FROM pg_catalog.pg_tables
WHERE schemaname IN ('public', 'readmodel') AND tablename NOT IN ('django_session', 'axes_accesslog')
ORDER BY 1, 2
"""
_CONTENT: Final = "SELECT coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {} t"


def everything() -> dict[str, str]:
    """What every table holds, as a hash of each."""
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        names = [f"{schema}.{table}" for schema, table in cursor.fetchall()]
        found = {}
        for name in names:
            cursor.execute(_CONTENT.format(name))
            found[name] = cursor.fetchone()[0]
    return found


class Bank:
    """Accounts to try things on, and where everything is."""

    def __init__(self) -> None:
        self.supervisor = Counter(Role.SUPERVISOR, name="sven-the-supervisor")
        self.desk = Desk(Role.SUPERVISOR)
        self.operator = Desk(Role.OPERATOR)
        self.somebody = member_of(Role.TELLER, name="somebody-else")
        self.payee = self.supervisor.account("100.00")
        self.things: dict[str, UUID | int | str] = {}
        self._shown: dict[str, dict[str, str]] = {}  # the fields of forms, by their address, as things stand
        self.renew()

    def renew(self) -> None:
        """A new account, with a deposit on it and a transfer from it."""
        self._shown.clear()
        account = self.supervisor.account("500.00")
        deposit = self.supervisor.post(f"accounts/{account}/deposits", {"amount": "5.00"}).json()
        transfer = self.supervisor.transfer(account, self.payee, "1.00")
        dispatch()
        correlation = Event.objects.filter(stream_id=transfer).order_by("id").first()
        assert correlation is not None
        self.things = {
            "customer_id": self.supervisor.get(f"accounts/{account}").json()["customer_id"],
            "account_id": account,
            "entry_id": deposit["entry_id"],
            "version": deposit["version"],
            "transfer_id": transfer,
            "key": uuid4(),
            "stream_type": "account",
            "stream_id": account,
            "correlation_id": correlation.metadata["correlation_id"],
            "position": 1,
            "deed": "pause",
            "subscription": "accounts.saga",
            "app_label": "eventstore",
            "id": self.somebody.pk,
            **rows(),
        }

    def prepare(self, route: str) -> None:
        """Brings the account into the state in which the request makes sense."""
        self._shown.clear()
        account = self.things["account_id"]
        if route.endswith("/unfreeze"):
            self.supervisor.post(f"accounts/{account}/freeze", {"reason": "first"})
        if route.endswith("/close"):
            balance = self.supervisor.balance(UUID(str(account)))
            self.supervisor.post(f"accounts/{account}/withdrawals", {"amount": balance})
        dispatch()

    def request(self, route: str, method: str) -> tuple[str, bytes, str]:
        """Address, body and content type of a request that would do something, if whoever sends it may."""
        path = path_of(route, self.things)
        if method in ("GET", "HEAD", "OPTIONS") or route == "api/v1/auth/logout":
            return path, b"", ""
        if route.startswith("api/"):
            return path, json.dumps(self._body(route)).encode(), JSON
        return path, urlencode(self._fields(route, path)).encode(), FORM

    def _body(self, route: str) -> Any:
        if route == "api/v1/accounts":
            return {"customer_id": str(self.things["customer_id"]), "title": "Mallory", "currency": "EUR"}
        if route == "api/v1/transfers":
            payer = str(self.things["account_id"])
            return {"from_account_id": payer, "to_account_id": str(self.payee), "amount": "1.00"}
        return _BODIES.get(route, {})

    def _fields(self, route: str, path: str) -> dict[str, str]:
        """The fields of the form that is there, as one who may see it sees it, filled in."""
        if route in _ACTIONS:
            row = str(self.things[".".join(route.split("/")[1:3])])
            return {"action": _ACTIONS[route], "_selected_action": row, "reason": "Mallory", "post": "yes"}
        desk = self.operator if route.startswith("admin/") else self.desk
        found: dict[str, str] = {}
        if route not in ("log-out", "admin/logout/"):
            if path not in self._shown:
                self._shown[path] = self._look(desk, route, path)
            found = self._shown[path]
        return found | _FILLED_IN

    def _look(self, desk: Desk, route: str, path: str) -> dict[str, str]:
        shown = desk.client.get(path)
        is_form = route.startswith(("accounts/", "customers/"))
        assert not (is_form and shown.status_code == 302), f"{path} is shown to nobody"
        if shown.status_code != 200 or shown.streaming:  # a download holds no form
            return {}
        return Form(shown.content.decode(errors="replace"), action=path).fields


def rows() -> dict[str, str]:
    """By the name of each model: the key of one of its rows, as pages show it."""
    found = {}
    for model in apps.get_models():
        if model._meta.app_label in ("eventstore", "staff", "auth", "knox", "axes"):
            row = model._default_manager.order_by("pk").first()
            key = mark_of(row) if isinstance(row, AuthToken) else row and row.pk
            found[f"{model._meta.app_label}.{model._meta.model_name}"] = str(key or 1)
    return found
