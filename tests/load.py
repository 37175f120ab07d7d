"""A load of clients on a running Daybook, over HTTP, each remembering what it was told.

Invariant: no outcome stays unknown. A request whose answer was lost, or was an error of the server, is repeated under
the same Idempotency-Key until there is an answer, so that what the clients were told is what the store must hold.
Imported by the fault tests and the soak.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from random import Random
from typing import Any, Final, Self
from uuid import uuid4

import httpx

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request would drown what matters

API: Final = "/api/v1/"
TIMEOUT_SECONDS: Final = 10.0
PATIENCE_SECONDS: Final = 60.0
"""How long a client goes on asking."""
_PAUSE_SECONDS: Final = 0.1

# What says nothing about whether the request was done: ask again.
_UNDECIDED: Final = frozenset({"idempotency_in_progress", "busy", "conflict", "rate_limited"})


class NoAnswer(Exception):
    """A client has asked for a long time and still does not know."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client wants done, once."""

    path: str
    body: dict[str, Any]
    key: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a client was told in the end."""

    request: Request
    status: int
    body: dict[str, Any]
    undecided: tuple[str, ...]  # what came of the tries before the last
    slowest_seconds: float  # of a single try, answered or not


class Client:
    """A program with an API key."""

    def __init__(self, *, url: str, api_key: str) -> None:
        headers = {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(base_url=url + API, headers=headers, timeout=TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, request: Request) -> Told:
        """Asks until there is an answer. Raises `NoAnswer`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        undecided: list[str] = []
        slowest_seconds = 0.0
        while time.monotonic() < deadline:
            began = time.monotonic()
            response = self._try(request)
            slowest_seconds = max(slowest_seconds, time.monotonic() - began)
            if isinstance(response, httpx.Response) and _is_decided(response):
                return Told(
                    request=request,
                    status=response.status_code,
                    body=response.json(),
                    undecided=tuple(undecided),
                    slowest_seconds=slowest_seconds,
                )
            undecided.append(_describe(response))
            time.sleep(_PAUSE_SECONDS)
        raise NoAnswer(f"{request.path}: no answer after {undecided}")

    def do(self, path: str, **body: Any) -> dict[str, Any]:
        """Has something done that must succeed; answers with the body."""
        told = self.ask(Request(path=path, body=body))
        assert told.status < 300, told
        return told.body

    def get(self, path: str) -> dict[str, Any]:
        """Reads."""
        response = self._http.get(path)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body

    def _try(self, request: Request) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.post(request.path, json=request.body, headers={"Idempotency-Key": request.key})
        except httpx.TransportError as error:
            return error


def _describe(outcome: httpx.Response | httpx.TransportError) -> str:
    return f"{outcome.status_code} {outcome.text[:200]}" if isinstance(outcome, httpx.Response) else repr(outcome)


def _is_decided(response: httpx.Response) -> bool:
    return response.status_code < 500 and not (
        response.status_code in (409, 429) and response.json().get("code") in _UNDECIDED
    )


class Load:
    """Several clients work off the same requests, each in a thread; `with` waits for them."""

    def __init__(self, requests: Sequence[Request], *, url: str, api_key: str, clients: int) -> None:
        self.told: list[Told] = []
        self.errors: list[Exception] = []
        self.total = len(requests)
        self._queue: SimpleQueue[Request] = SimpleQueue()
        for request in requests:
            self._queue.put(request)
        self._url, self._api_key = url, api_key
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.wait()

    def wait(self) -> None:
        """Waits until every request is answered. Raises what a client ran into."""
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    @property
    def answered(self) -> int:
        """How many requests have their answer."""
        return len(self.told)

    @property
    def is_running(self) -> bool:
        """Whether a client still asks."""
        return any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        try:
            with Client(url=self._url, api_key=self._api_key) as client:
                while True:
                    self.told.append(client.ask(self._queue.get_nowait()))
        except Empty:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread that waits must hear of it
            self.errors.append(error)


@dataclass(frozen=True, kw_only=True)
class Town:
    """Accounts to move money between: some plain, one frozen and one closed."""

    accounts: list[str]
    cash_minor: int  # minor units that were paid in when they were opened

    @staticmethod
    def settle(client: Client, *, accounts: int = 10, balance_minor: int = 1_000_00) -> Town:
        """Opens the accounts, in EUR; the client may freeze and close."""
        customer_id = client.do("customers", name="Alice")["customer_id"]

        def opened(balance: int) -> str:
            body = {"customer_id": customer_id, "title": "Household", "currency": "EUR"}
            account_id: str = client.do("accounts", **body, initial_balance=_euros(balance))["account_id"]
            return account_id

        plain = [opened(balance_minor) for _ in range(accounts)]
        frozen, closed = opened(balance_minor), opened(0)
        client.do(f"accounts/{frozen}/freeze", reason="Court order")
        client.do(f"accounts/{closed}/close", reason="Moved away")
        return Town(accounts=[*plain, frozen, closed], cash_minor=balance_minor * (accounts + 1))

    def requests(self, *, transfers: int, deposits: int, seed: int) -> list[Request]:
        """Transfers of all kinds, some that must fail, with deposits between them, in random order."""
        random = Random(seed)
        asked = [self._transfer(random) for _ in range(transfers)] + [self._deposit(random) for _ in range(deposits)]
        random.shuffle(asked)
        return asked

    def _transfer(self, random: Random) -> Request:
        payer, payee = random.sample(self.accounts, 2)
        small, large = random.randint(1, 50_00), random.randint(2_000_00, 5_000_00)
        amount = _euros(random.choice([1, 99, small, small, small, large]))
        return Request(path="transfers", body={"from_account_id": payer, "to_account_id": payee, "amount": amount})

    def _deposit(self, random: Random) -> Request:
        account = random.choice(self.accounts[:-2])
        return Request(path=f"accounts/{account}/deposits", body={"amount": _euros(random.randint(1, 100_00))})


def _euros(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"
