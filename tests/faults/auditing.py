"""Holds what is stored, and what the API shows, against what the clients were told. Equality, never a lower bound.

Reads the store over a connection past the program under test, and the API as a client does. `Audit.settle` first
resolves every outcome that is still unknown and waits until all is final and shown. Imported by tests and the
soak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any, Final

import httpx
import psycopg

from tests.faults.clients import Client
from tests.faults.product import Product
from tests.faults.tail import ENDS
from tests.faults.told import REFUSALS, Told, minor_units

SETTLED_SECONDS: Final = 180.0
REPEATED: Final = 150
"""How many acknowledged requests an audit repeats, under the same key, and with another body."""
_STREAMS: Final = {  # by kind of request: the event that it leads to, and the answer's name for what it made
    "transfer": ("MoneyTransferCreated", "transfer_id"),
    "deposit": ("CashDeposited", "entry_id"),
    "withdrawal": ("CashWithdrawn", "entry_id"),
    "reversal": ("CashEntryReversed", "entry_id"),
    "open": ("AccountOpened", "account_id"),
    "customer": ("CustomerRegistered", "customer_id"),
    "freeze": ("AccountFrozen", ""),
    "unfreeze": ("AccountUnfrozen", ""),
    "close": ("AccountClosed", ""),
}

# The events of one type: what each is known by.
_SELECT_EVENTS = """
SELECT event_id::text, stream_id::text, version FROM eventstore_event WHERE event_type = %s
"""

# Events that are in the store, and in neither or both of log and outbox.
_SELECT_MISPLACED = """
SELECT count(*) FROM eventstore_event e
LEFT JOIN eventstore_log l ON l.event_id = e.id LEFT JOIN eventstore_outbox o ON o.event_id = e.id
WHERE (l.event_id IS NULL) = (o.event_id IS NULL)
"""

# Steps of one transfer that were done twice.
_SELECT_DOUBLED = """
SELECT data ->> 'transfer_id', event_type FROM eventstore_event
WHERE event_type IN ('AccountDebited', 'AccountCredited', 'AccountDebitRefunded')
GROUP BY 1, 2 HAVING count(*) > 1
"""

_COUNT_EVENTS = "SELECT count(*) FROM eventstore_event"
_COUNT_RECORDS = "SELECT count(*) FROM eventstore_idempotency_record WHERE key = ANY(%s)"
_SELECT_PARKED = "SELECT subscription, key::text, attempts, error FROM eventstore_parked_key"
WAITED: Final = "transfers that were waited for, told how they ended"


class Audit:
    """One audit of everything so far. Nobody asks anything meanwhile."""

    def __init__(self, *, product: Product, seed: int) -> None:
        self._product = product
        self._model = product.model
        self._random = Random(seed)
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Everything. Raises AssertionError with what is lost, doubled, stuck or different."""
        self.check_store()
        self.check_money()
        self.check_repeats()
        report = self._product.verify()
        assert report["clean"], report
        self.counts["verified"] += 1

    def check_store(self) -> None:
        """What takes no time: that each request and each step is in the store as often as it should be."""
        self.settle()
        self.check_requests()
        self.check_refusals()
        self.check_log()
        expected, folded = self.expected_balances(), self._product.tail.balances
        assert expected == folded, _differing("what clients were told", expected, "the events", folded)

    def settle(self) -> None:
        """Makes every outcome known, and waits until all is final, handled and shown."""
        with self._product.client() as client:
            for told in self._model.unknown():
                told.late = True
                if told.request.account_id:  # a refusal keeps no record: only this try can be refused
                    told.version_before = self._product.version_before(told.request.account_id)
                client.ask(told)
        late = [told for told in self._model.all() if told.late and told.is_acknowledged]
        self.counts["unknown at the end, found done"] = sum(told.known_before_late is True for told in late)
        self.counts["unknown at the end, found not done"] = sum(told.known_before_late is False for told in late)
        self._product.wait_until_settled(seconds=SETTLED_SECONDS)

    def check_requests(self) -> None:
        """What was acknowledged is stored once; nothing else is."""
        for what, (event_type, name) in _STREAMS.items():
            told = self._model.acknowledged(what)
            stored = self._product.rows(_SELECT_EVENTS, [event_type])
            if not name:
                expected = Counter((answer.request.account_id, answer.body["version"]) for answer in told)
                actual = Counter((stream_id, version) for _, stream_id, version in stored)
            elif name == "entry_id":
                expected = Counter((answer.body["entry_id"], answer.body["version"]) for answer in told)
                actual = Counter((event_id, version) for event_id, _, version in stored)
            else:
                expected = Counter((answer.body[name], 1) for answer in told)
                actual = Counter((stream_id, version) for _, stream_id, version in stored)
            lost, unasked = expected - actual, actual - expected
            assert not lost, f"{what}: acknowledged, and not in the store: {list(lost)[:5]} ({len(lost)})"
            assert not unasked, f"{what}: in the store, and nobody was told: {list(unasked)[:5]} ({len(unasked)})"
            self.counts[f"{what}s in the store once"] = len(told)
        self._check_waited()
        self._check_records()

    def _check_waited(self) -> None:
        """Whoever waited until a transfer was final was told how it ended."""
        waited = [told for told in self._model.acknowledged("transfer") if told.status == httpx.codes.OK]
        wrong = [told for told in waited if told.body["state"] != self._product.tail.states[told.body["transfer_id"]]]
        assert not wrong, f"told of another end than there was: {wrong[:3]} ({len(wrong)})"
        self.counts[WAITED] = len(waited)

    def _check_records(self) -> None:
        """A key is kept for what was done, and for nothing that was refused."""
        done = [told.request.key for told in self._model.all() if told.is_acknowledged]
        refused = [told.request.key for told in self._model.all() if not told.is_acknowledged]
        assert self._product.rows(_COUNT_RECORDS, [done])[0][0] == len(done)
        assert self._product.rows(_COUNT_RECORDS, [refused])[0][0] == 0

    def check_refusals(self) -> None:
        """What was refused was refused with reason: by a state that the account was in while the client waited."""
        refused = self._model.refused()
        for told in refused:
            assert told.code in REFUSALS[told.request.what], told
            account_id = told.request.account_id
            if told.version_after is None:
                told.version_after = self._product.version_after(account_id)
            standings = list(self._product.tail.standings(account_id, told.version_before, told.version_after))
            assert any(standing.forbids(told.request, told.code) for standing in standings), (
                f"{told.request} was refused as {told.code}, and there was no reason: between versions"
                f" {told.version_before} and {told.version_after} the account was {standings[:10]}"
            )
        self.counts["refusals with a reason"] = len(refused)

    def check_log(self) -> None:
        """Every event stands in the log once; no step was done twice; every transfer has ended."""
        self._product.tail.check()
        assert self._product.rows(_SELECT_MISPLACED)[0][0] == 0
        doubled = self._product.rows(_SELECT_DOUBLED)
        assert not doubled, f"steps that were done twice: {doubled[:5]}"
        assert not self._product.tail.open, f"not final: {list(self._product.tail.open)[:5]}"
        self.counts["events read from the log, each once"] = self._product.tail.position

    def expected_balances(self) -> dict[str, int]:
        """What each account must hold, from what the clients were told and how their transfers ended."""
        balances: Counter[str] = Counter()
        for told in self._model.all():
            if not told.is_acknowledged:
                continue
            request = told.request
            if request.what == "open":
                balances[told.body["account_id"]] += request.minor
            elif request.what == "transfer":
                if self._product.tail.states[told.body["transfer_id"]] == "COMPLETED":
                    minor = minor_units(request.body["amount"])
                    balances[request.body["from_account_id"]] -= minor
                    balances[request.body["to_account_id"]] += minor
            else:
                balances[request.account_id] += request.minor
        balances.pop("", None)
        return {account_id: balances[account_id] for account_id in self._product.tail.balances}

    def check_money(self) -> None:
        """Model = fold of the events = API = statement, per account; and per currency nothing came or went unasked."""
        expected, folded = self.expected_balances(), self._product.tail.balances
        with self._product.client() as client:
            shown = {row["account_id"]: minor_units(row["balance"]) for row in pages(client, "accounts")}
            assert shown == folded, _differing("the API", shown, "the events", folded)
            for account_id, balance in folded.items():
                self._check_statement(client, account_id, balance)
            states = {row["transfer_id"]: row["state"] for row in pages(client, "transfers")}
        assert states == self._product.tail.states, "transfers are shown in another state than they have"
        for currency in set(self._product.tail.currencies.values()):
            self._check_conservation(currency, expected)

    def _check_statement(self, client: Client, account_id: str, balance: int) -> None:
        entries = list(pages(client, f"accounts/{account_id}/entries"))
        assert sum(minor_units(entry["amount"]) for entry in entries) == balance, account_id
        assert not entries or minor_units(entries[0]["balance_after"]) == balance, account_id
        ids = Counter(entry["entry_id"] for entry in entries)
        assert not [id for id, times in ids.items() if times > 1], account_id
        self.counts["entries on statements"] += len(entries)

    def _check_conservation(self, currency: str, balances: dict[str, int]) -> None:
        currencies = self._product.tail.currencies
        held = sum(balance for id, balance in self._product.tail.balances.items() if currencies[id] == currency)
        cash = 0
        for told in self._model.acknowledged("open", "deposit", "withdrawal", "reversal"):
            account_id = told.body["account_id"] if told.request.what == "open" else told.request.account_id
            if currencies[account_id] == currency:
                cash += told.request.minor
        assert held == cash, f"accounts hold {held} {currency}, and {cash} was paid in"
        self.counts[f"{currency} held, in minor units"] = held

    def check_repeats(self) -> None:
        """The same key again gives the same answer; with an altered body it is refused; and neither does anything."""
        done = [told for told in self._model.all() if told.is_acknowledged]
        before = self._product.rows(_COUNT_EVENTS)[0][0]
        with self._product.client() as client:
            for told in self._random.sample(done, min(REPEATED, len(done))):
                again = client.try_once(told.request)
                assert isinstance(again, httpx.Response), again
                assert again.headers.get("Idempotent-Replayed") == "true", (told, again.text)
                if told.request.wait_seconds is None:
                    assert (again.status_code, again.json()) == (told.status, told.body), (told, again.text)
                else:  # it tells where the transfer stands now
                    assert again.json()["transfer_id"] == told.body["transfer_id"]
                self._check_altered(client, told)
                self.counts["repeated: answered alike, and refused when altered"] += 1
        assert self._product.rows(_COUNT_EVENTS)[0][0] == before, "repeats recorded events"

    def _check_altered(self, client: Client, told: Told) -> None:
        body = dict(told.request.body)
        name = next(name for name in ("amount", "reason", "title", "name") if name in body)
        body[name] = _altered(name, body[name])
        altered = client.try_once(
            type(told.request)(what=told.request.what, path=told.request.path, body=body, key=told.request.key)
        )
        assert isinstance(altered, httpx.Response), altered
        assert (altered.status_code, altered.json()["code"]) == (422, "idempotency_key_reused"), altered.text


def _altered(name: str, text: str) -> str:
    if name != "amount":
        return f"{text}!"
    return f"1{text}"


def pages(client: Client, path: str) -> Iterator[dict[str, Any]]:
    """Every row of a list."""
    cursor = ""
    while True:
        page = client.get(f"{path}?limit=200{cursor}")
        yield from page["data"]
        if not page["next_cursor"]:
            return
        cursor = f"&cursor={page['next_cursor']}"


def _differing(one: str, ones: dict[str, int], other: str, others: dict[str, int]) -> str:
    differing = {
        id: (ones.get(id), others.get(id)) for id in ones.keys() | others.keys() if ones.get(id) != others.get(id)
    }
    return f"{one} and {other} differ: {dict(list(differing.items())[:5])} ({len(differing)})"


def final_states(product: Product) -> dict[str, int]:
    """How many transfers ended how."""
    states = Counter(product.tail.states.values())
    return {state: states[state] for state in ENDS.values()}


def parked(product: Product) -> list[Any]:
    """What is parked now."""
    with suppress(psycopg.OperationalError):
        return product.rows(_SELECT_PARKED)
    return []
