"""Programs that use the API without a pause while parts of Daybook die, and record every answer in the model.

What they ask is random, from a seed. A client that is left without an answer repeats the request under the same key
until it knows; now and then it gives up instead, and the audit asks in its place at the end. Imported by the product
under test, and by tests and benchmarks that ask a running Daybook.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol, Self
from uuid import uuid4

import httpx

from tests.faults.told import REFUSALS, UNDECIDED, Model, Request, Told, amount_text

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request would drown what matters

API: Final = "/api/v1/"
TIMEOUT_SECONDS: Final = 8.0
PATIENCE_SECONDS: Final = 180.0
"""How long a client goes on asking."""
GIVES_UP: Final = 0.2
"""In how many cases a client that has no answer does not ask again."""
_PAUSE_SECONDS: Final = 0.1
_MOST_ACCOUNTS: Final = 60

Outcome = httpx.Response | httpx.TransportError


class NoAnswer(Exception):
    """A client has asked for a long time and still does not know."""


class WrongRefusal(AssertionError):
    """A client was refused what nothing can forbid."""


class Witness(Protocol):
    """Who sees what an account has seen, past the program under test."""

    def version_before(self, account_id: str) -> int:
        """The account's version, or an earlier one; at once."""

    def version_after(self, account_id: str) -> int:
        """The account's version, or a later one by the time of the answer."""


class Client:
    """A program with an API key."""

    def __init__(self, *, url: str, api_key: str) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url + API, headers=headers, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, told: Told, *, gives_up: bool = False) -> Told:
        """Asks until there is an answer, or once if it gives up easily. Raises `NoAnswer`, and `WrongRefusal`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not told.status:
            began = time.monotonic()
            outcome = self.try_once(told.request)
            told.slowest_seconds = max(told.slowest_seconds, time.monotonic() - began)
            if isinstance(outcome, httpx.Response) and is_decided(outcome):
                told.status, told.body = outcome.status_code, outcome.json()
                if told.late:
                    told.known_before_late = outcome.headers.get("Idempotent-Replayed") == "true"
                if told.is_refused and told.code not in REFUSALS[told.request.what]:
                    raise WrongRefusal(f"{told.request}: {told.status} {told.body}")
                break
            told.undecided.append(describe(outcome))
            if gives_up:
                break
            if time.monotonic() > deadline:
                raise NoAnswer(f"{told.request}: no answer after {told.undecided[-5:]}")
            time.sleep(_PAUSE_SECONDS)
        return told

    def do(self, what: str, path: str, **body: Any) -> Told:
        """Has something done that must succeed."""
        told = self.ask(Told(request=Request(what=what, path=path, body=body)))
        assert told.is_acknowledged, told
        return told

    def try_once(self, request: Request) -> Outcome:
        """One try."""
        try:
            return self._http.post(request.path, json=request.body, headers=request.headers())
        except httpx.TransportError as error:
            return error

    def get(self, path: str) -> dict[str, Any]:
        """Reads; patient with a server that is away. Raises `NoAnswer`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                response = self._http.get(path)
                if response.status_code < 500:
                    response.raise_for_status()
                    body: dict[str, Any] = response.json()
                    return body
                last = str(response.status_code)
            except httpx.TransportError as error:
                last = repr(error)
            if time.monotonic() > deadline:
                raise NoAnswer(f"GET {path}: {last}")
            time.sleep(_PAUSE_SECONDS)


def describe(outcome: Outcome) -> str:
    """Why a try decided nothing, in a word or two."""
    if isinstance(outcome, httpx.TransportError):
        return type(outcome).__name__
    try:
        return f"{outcome.status_code} {outcome.json()['code']}"
    except (ValueError, KeyError):
        return str(outcome.status_code)


def is_decided(response: httpx.Response) -> bool:
    """Whether the answer says if the request was done. An error of the server never does."""
    if response.status_code >= 500:
        return False
    return response.status_code < 300 or response.json().get("code") not in UNDECIDED


@dataclass(kw_only=True)
class Town:
    """Accounts to move money between. Clients add to it as they open accounts."""

    customer_id: str
    by_currency: dict[str, list[str]] = field(default_factory=dict)
    freezable: list[str] = field(default_factory=list)

    def open(self, client: Client, model: Model, *, currency: str, minor: int) -> str:
        """Opens an account, and waits for the answer."""
        told = client.ask(Told(request=self.opening(currency=currency, minor=minor)))
        assert told.is_acknowledged, told
        model.add(told)
        return self.note(told)

    def opening(self, *, currency: str, minor: int) -> Request:
        """The request for an account."""
        body = {"customer_id": self.customer_id, "title": "Household", "currency": currency}
        if minor:
            body["initial_balance"] = amount_text(minor, currency)
        return Request(what="open", path="accounts", body=body, minor=minor)

    def note(self, told: Told) -> str:
        """From now on that account has its part in what is asked."""
        account_id: str = told.body["account_id"]
        self.by_currency.setdefault(told.request.body["currency"], []).append(account_id)
        return account_id

    @staticmethod
    def settle(client: Client, model: Model, *, euro: int = 8, others: int = 3) -> Town:
        """Opens the first accounts: some in each currency, two of those in euro to be frozen now and then."""
        customer = client.ask(Told(request=Request(what="customer", path="customers", body={"name": "Alice"})))
        model.add(customer)
        town = Town(customer_id=customer.body["customer_id"])
        for currency, count, minor in (("EUR", euro, 5_000_00), ("JPY", others, 900_000), ("KWD", others, 700_000)):
            for _ in range(count):
                town.open(client, model, currency=currency, minor=minor)
        town.freezable = town.by_currency["EUR"][-2:]
        return town


class Asker:
    """Makes up what one client asks."""

    def __init__(self, *, town: Town, random: Random) -> None:
        self._town = town
        self._random = random
        self._entries: list[tuple[str, str, int]] = []  # account, entry, minor: cash that may be reversed
        self._to_close: list[str] = []
        self._chances = {
            self._transfer: 50,
            self._waiting_transfer: 8,
            self._deposit: 16,
            self._withdrawal: 12,
            self._freeze: 2,
            self._unfreeze: 4,
            self._reversal: 3,
            self._opening: 2,
            self._closing: 2,
            self._customer: 1,
        }

    def next(self, *, waits: bool = True) -> Request:
        """What to ask now. Unless it `waits`, no request takes longer than its own commit."""
        (chosen,) = self._random.choices(list(self._chances), list(self._chances.values()))
        return self._transfer() if chosen == self._waiting_transfer and not waits else chosen()

    def learn(self, told: Told) -> None:
        """What an answer makes possible."""
        if not told.is_acknowledged:
            return
        request = told.request
        if request.what in ("deposit", "withdrawal"):
            self._entries.append((request.account_id, told.body["entry_id"], request.minor))
        elif request.what == "open":
            account_id = self._town.note(told)
            if not request.minor:
                self._to_close.append(account_id)

    def _currency(self) -> str:
        return self._random.choice(["EUR", "EUR", "EUR", "JPY", "KWD"])

    def _minor(self) -> int:
        """Mostly small, sometimes more than anybody has."""
        return self._random.choice([1, 99, *(self._random.randint(1, 50_00) for _ in range(6)), 90_000_000])

    def _transfer(self, wait_seconds: int | None = None) -> Request:
        currency = self._currency()
        accounts = self._town.by_currency[currency]
        payer, payee = self._random.sample(accounts, 2)
        hot = accounts[0]
        if payer != hot and payee != hot and self._random.random() < 0.3:  # one account is busier than all others
            payee = hot
        amount = amount_text(self._minor(), currency)
        body = {"from_account_id": payer, "to_account_id": payee, "amount": amount}
        return Request(what="transfer", path="transfers", body=body, account_id=payer, wait_seconds=wait_seconds)

    def _waiting_transfer(self) -> Request:
        return self._transfer(wait_seconds=4)

    def _cash(self, what: str, sign: int) -> Request:
        currency = self._currency()
        account_id = self._random.choice(self._town.by_currency[currency])
        minor = self._minor() if sign < 0 else self._random.randint(1, 30_00)
        path = f"accounts/{account_id}/{what}s"
        body = {"amount": amount_text(minor, currency)}
        return Request(what=what, path=path, body=body, account_id=account_id, minor=sign * minor)

    def _deposit(self) -> Request:
        return self._cash("deposit", 1)

    def _withdrawal(self) -> Request:
        return self._cash("withdrawal", -1)

    def _standing(self, what: str, account_id: str) -> Request:
        path = f"accounts/{account_id}/{what}"
        return Request(what=what, path=path, body={"reason": "Court order"}, account_id=account_id)

    def _freeze(self) -> Request:
        return self._standing("freeze", self._random.choice(self._town.freezable))

    def _unfreeze(self) -> Request:
        return self._standing("unfreeze", self._random.choice(self._town.freezable))

    def _closing(self) -> Request:
        return self._standing("close", self._to_close.pop()) if self._to_close else self._opening()

    def _reversal(self) -> Request:
        if not self._entries:
            return self._deposit()
        account_id, entry_id, minor = self._entries.pop(self._random.randrange(len(self._entries)))
        path = f"accounts/{account_id}/entries/{entry_id}/reverse"
        return Request(what="reversal", path=path, body={"reason": "Typing error"}, account_id=account_id, minor=-minor)

    def _opening(self) -> Request:
        if sum(map(len, self._town.by_currency.values())) >= _MOST_ACCOUNTS:
            return self._transfer()
        minor = self._random.choice([0, 0, 10_000])
        return self._town.opening(currency=self._currency(), minor=minor)

    def _customer(self) -> Request:
        return Request(what="customer", path="customers", body={"name": f"Bob {uuid4()}"})


class Load:
    """Clients that ask without end, each in a thread, until they are told to stop."""

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        model: Model,
        town: Town,
        seed: int,
        clients: int = 6,
        witness: Witness | None = None,
    ) -> None:
        self.errors: list[BaseException] = []
        self._witness = witness
        self.pause_seconds = 0.02
        self._url, self._api_key, self._model, self._town = url, api_key, model, town
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=[Random(f"{seed}/{number}")], daemon=True, name=f"client {number}")
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if error is None:
            self.wait()

    def wait(self) -> None:
        """Has every client end once it knows the outcome of its last request. Raises what a client ran into."""
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS + TIMEOUT_SECONDS)
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        self.check()
        assert not stuck, f"clients that did not end: {stuck}"

    def check(self) -> None:
        """Raises what a client ran into."""
        if self.errors:
            raise self.errors[0]

    def _work(self, random: Random) -> None:
        asker = Asker(town=self._town, random=random)
        try:
            with Client(url=self._url, api_key=self._api_key) as client:
                while not self._over.is_set():
                    told = Told(request=asker.next())
                    if self._witness and told.request.account_id:
                        told.version_before = self._witness.version_before(told.request.account_id)
                    client.ask(told, gives_up=random.random() < GIVES_UP)
                    if self._witness and told.is_refused:
                        told.version_after = self._witness.version_after(told.request.account_id)
                    self._model.add(told)
                    asker.learn(told)
                    self._over.wait(random.uniform(0, 2 * self.pause_seconds))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the thread that waits must hear of it
            self.errors.append(error)
