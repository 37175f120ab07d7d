"""It finds nothing in a ledger that is right, also under load, and each check finds what it is there for.

The breaking is done behind the bank's back: by the owner of the tables, with the triggers off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any, Final

import psycopg
import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections
from msgspec.structs import replace
from psycopg import sql
from psycopg.types.json import Jsonb
from pytest_django import Settings
from pytest_django.plugin import DjangoDbBlocker

from accounts import services as accounts
from eventstore import loading, operations, sequencer
from eventstore.context import CommandContext
from eventstore.idempotency import Claim
from eventstore.replay import rebuild
from eventstore.sealing import erase
from eventstore.seals import sealer
from eventstore.subscriptions.registry import Projection, Reactor, subscriptions
from eventstore.verification import parked, walking
from eventstore.verification.defences import APPEND_ONLY, CONSTRAINTS, REQUIRED, UNIQUE_COLUMNS
from eventstore.verification.findings import Check, Difference, Finding, Report
from eventstore.verification.guards import GuardsCheck
from eventstore.verification.log import LogCheck
from eventstore.verification.parked import ParkedCheck
from eventstore.verification.reading import one_moment
from eventstore.verification.rows import PERSONAL
from eventstore.verification.running import verify
from eventstore.verification.seals import SealsCheck
from tests.conftest import Database, _default_connection_at, _describe
from tests.daybook_process import ROOT
from tests.integration.broken_ledgers import (
    EVERYTHING_BROKEN,
    FORGED_ENDS,
    NOBODY,
    OVERDUE,
    RIGHT_ANSWERS,
    TOO_MUCH,
    Broken,
)
from tests.integration.counter import meanwhile
from tests.integration.ledgers import CAROL, STORE, Ledger, context
from tests.integration.multiplied import multiply
from tests.servers import CLONE_DATABASE, Servers
from transfers import services as transfers
from transfers.published.events import TransferStatus
from views_readmodel.management.commands.verify_ledger import in_words
from views_readmodel.verification import answers
from views_readmodel.verification.answers import AnswersCheck
from views_readmodel.verification.balances import BalancesCheck
from views_readmodel.verification.checks import AGGREGATES, ledger_checks
from views_readmodel.verification.finality import FinalityCheck
from views_readmodel.verification.read_models import read_model_checks
from views_readmodel.verification.reversals import ReversalsCheck
from views_readmodel.verification.transfers import TransfersCheck

MOVED: Final = 150  # events that a test wants to have been added while it checked
_numbers = count(1)

# The triggers that a vandal who owns the tables can turn off, and is so kind as to turn on again.
_DISARM = """
ALTER TABLE eventstore_event DISABLE TRIGGER eventstore_event_append_only;
ALTER TABLE eventstore_log DISABLE TRIGGER eventstore_log_append_only;
ALTER TABLE eventstore_seal DISABLE TRIGGER eventstore_seal_append_only;
ALTER TABLE eventstore_operation DISABLE TRIGGER eventstore_operation_append_only
"""
_ARM = """
ALTER TABLE eventstore_event ENABLE ALWAYS TRIGGER eventstore_event_append_only;
ALTER TABLE eventstore_log ENABLE ALWAYS TRIGGER eventstore_log_append_only;
ALTER TABLE eventstore_seal ENABLE ALWAYS TRIGGER eventstore_seal_append_only;
ALTER TABLE eventstore_operation ENABLE ALWAYS TRIGGER eventstore_operation_append_only
"""


# --- Ledgers, cheap to break ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A ledger in a database of its own."""

    ledger: Ledger
    database: Database

    def rewrite(self, *statements: str) -> None:
        """Changes history behind the bank's back; `%(name)s` is the ledger's stream of that name."""
        with psycopg.connect(self.database.owner_url) as owner:
            owner.execute(_DISARM)
            for statement in statements:
                owner.execute(statement, vars(self.ledger))
            owner.execute(_ARM)

    def change(self, *statements: str) -> None:
        """Changes what the app role may change."""
        with psycopg.connect(self.database.app_url) as app:
            for statement in statements:
                app.execute(statement, vars(self.ledger))


@pytest.fixture(scope="module")
def healthy(
    django_db_setup: None,
    servers: Servers,
    worker_name: str,
    process_redis: str,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Kept]:
    """A ledger that is right; not to be changed, for the others are cloned from it."""
    name = f"daybook_test_{servers.run}_{worker_name}_ledger"
    servers.clone(name=name)
    with (
        django_db_blocker.unblock(),
        _default_connection_at(servers, name),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sealer, "seal_quietly", lambda **_: False)  # it seals itself, at positions that tests know
        ledger = Ledger()
    yield Kept(ledger=ledger, database=_describe(servers, name, process_redis))
    servers.drop(name=name)


@contextmanager
def _clone_of(healthy: Kept, servers: Servers, blocker: DjangoDbBlocker) -> Iterator[Kept]:
    name = f"{healthy.database.name}_{next(_numbers)}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(healthy.database.name)}
    with servers.maintenance() as connection:
        connection.execute(sql.SQL(CLONE_DATABASE).format(**names))
    loading.cache.clear()  # it may know states of another clone
    with blocker.unblock(), _default_connection_at(servers, name):
        yield Kept(ledger=healthy.ledger, database=_describe(servers, name, healthy.database.redis_url))
    loading.cache.clear()
    servers.drop(name=name)


@pytest.fixture
def kept(healthy: Kept, servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Kept]:
    """A copy of the ledger for one test to break."""
    with _clone_of(healthy, servers, django_db_blocker) as clone:
        yield clone


@pytest.fixture(scope="module")
def mended(healthy: Kept, servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Kept]:
    """A copy for tests that mend what they break."""
    with _clone_of(healthy, servers, django_db_blocker) as clone:
        yield clone


def report_of(checks: Sequence[Check] | None = None, **options: Any) -> Report:
    """What the checks say of the default connection's database; none of them may break off."""
    checks = checks or ledger_checks()
    report = verify(checks, aggregates=AGGREGATES, **options)
    assert not [check.not_compared for check in checks if check.broken_off]
    return report


def found_by(report: Report) -> dict[str, Finding]:
    """What each check that found something found."""
    return {finding.name: finding for finding in report.findings if finding.differences}


# --- A ledger that is right -----------------------------------------------------------------------------------


def test_the_ledger_of_these_tests_has_a_transfer_of_each_kind(kept: Kept) -> None:
    ledger = kept.ledger
    assert {ledger.state_of(id) for id in ledger.transfers} == set(TransferStatus)
    report = {finding.name: finding for finding in report_of().findings}
    assert report["snapshots"].examined == 1
    assert report["reversals"].examined == 2


@pytest.mark.parametrize("chunk_events", [1, 2, 3, 7, 50, 2_000])
def test_it_finds_nothing_in_a_ledger_that_is_right(kept: Kept, chunk_events: int) -> None:
    report = report_of(chunk_events=chunk_events)
    assert not found_by(report)
    whole = report_of()
    examined = {finding.name: (finding.examined, finding.counts) for finding in report.findings}
    assert examined == {finding.name: (finding.examined, finding.counts) for finding in whole.findings}
    assert all(not finding.remarks for finding in report.findings)


def test_it_finds_nothing_in_answers_that_are_right(kept: Kept) -> None:
    kept.rewrite(*RIGHT_ANSWERS)
    (finding,) = report_of([AnswersCheck()]).findings
    assert not finding.named
    assert not finding.not_compared
    assert finding.examined == len(RIGHT_ANSWERS) + 1  # two entries were reversed


def test_it_finds_nothing_in_the_answers_that_the_bank_gives(kept: Kept) -> None:
    """Each service's own answer, so that what they answer and what is checked do not drift apart."""
    ledger, keys = kept.ledger, count(1)

    def claimed() -> CommandContext:
        claim = Claim(principal=CAROL, key=f"key-{next(keys)}", fingerprint=b"x")
        return replace(context(), claim=claim)

    dave = accounts.register_customer(context=claimed(), name="Dave").value.customer_id
    accounts.change_customer(context=claimed(), customer_id=dave, name="David", email="david@example.com")
    opened = accounts.open_account(context=claimed(), customer_id=dave, title="Dave's", currency="EUR")
    daves = opened.value.account_id
    wrong = accounts.deposit(context=claimed(), account_id=daves, amount="5.00").value
    accounts.reverse_entry(context=claimed(), account_id=daves, entry_id=wrong.entry_id, reason="Twice")
    accounts.deposit(context=claimed(), account_id=daves, amount="5.00")
    accounts.withdraw(context=claimed(), account_id=daves, amount="5.00")
    accounts.freeze_account(context=claimed(), account_id=daves, reason="Asked for")
    accounts.unfreeze_account(context=claimed(), account_id=daves, reason="Settled")
    accounts.deposit(context=claimed(), account_id=daves, amount="3.00")
    ledger.transfer(daves, ledger.closed, "3.00")
    ledger.step("accounts.saga")
    accounts.close_account(context=claimed(), account_id=daves, reason="Moved away")
    ledger.dispatch()  # the amount comes back to a closed account
    accounts.pay_out(context=claimed(), account_id=daves, amount="3.00")
    transfers.create_transfer(
        context=claimed(), from_account_id=ledger.household, to_account_id=ledger.shop, amount="1.00"
    )
    (finding,) = report_of([AnswersCheck()]).findings
    assert not finding.named
    assert not finding.not_compared
    assert finding.examined == next(keys) - 1


def test_it_finds_nothing_in_a_copy_that_nobody_dispatches(kept: Kept) -> None:
    """It is older than any seal may take, and stands since shortly after the last entry."""
    kept.rewrite(
        "DELETE FROM eventstore_seal WHERE first_position > 150",
        "UPDATE eventstore_sequencer SET heartbeat_at = sequenced_at + interval '1 s' - interval '1 day'",
        "UPDATE eventstore_sequencer SET sequenced_at = sequenced_at - interval '1 day'",
        "UPDATE eventstore_log SET sequenced_at = sequenced_at - interval '1 day' WHERE position > 150",
    )
    (finding,) = report_of([SealsCheck()]).findings
    assert finding.counts["not sealed yet"] == 30
    assert not finding.named


def _time(sleep: Callable[[float], object]) -> SimpleNamespace:
    """The clock for one module, which sleeps in a way of its own: other threads go on sleeping in theirs."""
    return SimpleNamespace(monotonic=time.monotonic, sleep=sleep)


def test_it_waits_for_the_seals_of_who_begins_to_dispatch_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.rewrite(
        "UPDATE eventstore_sequencer SET heartbeat_at = clock_timestamp() + interval '1 day'",
        "DELETE FROM eventstore_seal WHERE first_position > 150",
    )
    monkeypatch.setattr("eventstore.verification.seals.time", _time(lambda _: kept.ledger.seal()))
    (finding,) = report_of([SealsCheck()]).findings
    assert not finding.named


def test_it_finds_nothing_while_everything_waits(kept: Kept) -> None:
    kept.ledger.transfer(kept.ledger.household, kept.ledger.shop, "1.00")
    accounts.deposit(context=context(), account_id=kept.ledger.shop, amount="1.00")
    report = report_of()
    assert not found_by(report)
    assert {finding.name: finding.counts for finding in report.findings}["sequencing"] == {"waiting in the outbox": 2}
    sequencer.sequence()
    assert not found_by(report_of(chunk_events=40))


def test_it_finds_nothing_while_money_moves_and_read_models_are_rebuilt(kept: Kept) -> None:
    ledger = kept.ledger
    reports: list[Report] = []
    with meanwhile(lambda: _pay_and_dispatch(ledger)), meanwhile(_replay):
        while len(reports) < 12 or (reports[-1].position < reports[0].position + MOVED and len(reports) < 200):
            reports.append(report_of(chunk_events=(20, 60, 400)[len(reports) % 3]))
    assert reports[-1].position >= reports[0].position + MOVED, "nothing moved meanwhile"
    assert [found_by(report) for report in reports] == [{}] * len(reports)
    assert not [finding.remarks for report in reports for finding in report.findings if finding.remarks]


@pytest.mark.parametrize("chunk_events", [3, 20])
def test_it_finds_nothing_when_a_long_stream_moves_between_two_reads_of_it(kept: Kept, chunk_events: int) -> None:
    """The projections stand still for some reads and then catch up, so that a row falls behind and goes on."""
    moves = count(1)

    def move(phase: str, *, done: int, total: int) -> None:
        for account_id in (kept.ledger.shop, kept.ledger.household):
            accounts.deposit(context=context(), account_id=account_id, amount="0.01")
        sequencer.sequence()
        if next(moves) % 5 == 0:
            kept.ledger.dispatch()

    report = report_of(chunk_events=chunk_events, progress=move)
    assert not found_by(report)
    assert next(moves) > 10
    assert not [finding.remarks for finding in report.findings if finding.remarks]


@pytest.mark.parametrize("chunk_events", [4, 20])
def test_it_finds_nothing_when_what_waited_is_sequenced_between_two_reads_of_its_stream(
    kept: Kept, chunk_events: int
) -> None:
    """Fewer events than it reads at a time, or a stream would grow faster than it is read."""

    def deposit() -> None:
        for account_id in (kept.ledger.shop, kept.ledger.household):
            accounts.deposit(context=context(), account_id=account_id, amount="0.01")

    def sequence_and_let_wait(phase: str, *, done: int, total: int) -> None:
        deposit()
        sequencer.sequence()
        deposit()

    report = report_of(chunk_events=chunk_events, progress=sequence_and_let_wait)
    assert not found_by(report)
    assert {finding.name: finding.counts for finding in report.findings}["sequencing"]["waiting in the outbox"] > 1


def test_it_ends_where_the_streams_ended_at_the_start_though_new_ones_come_faster_than_it_reads(kept: Kept) -> None:
    ledger, reads = kept.ledger, count(1)

    def go_on(phase: str, *, done: int, total: int) -> None:
        assert next(reads) < 100, "it does not end"
        for _ in range(6):
            customer = accounts.register_customer(context=context(), name="Dave", email="dave@example.com").value
            opened = accounts.open_account(
                context=context(),
                customer_id=customer.customer_id,
                title="Dave's",
                currency="EUR",
                initial_balance="5.00",
            ).value
            accounts.deposit(context=context(), account_id=opened.account_id, amount="0.01")
            ledger.transfer(opened.account_id, ledger.shop, "1.00")
        ledger.dispatch()

    report = report_of(chunk_events=20, progress=go_on)
    assert not found_by(report)
    assert next(reads) > 10
    assert not [finding.remarks for finding in report.findings if finding.remarks]
    assert not found_by(report_of())


def test_it_ends_with_the_answers_of_the_start_though_new_ones_come_faster_than_it_reads(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.rewrite(*RIGHT_ANSWERS)
    reads = count(1)

    def look_up(*arguments: Any) -> Any:
        assert next(reads) < 100, "it does not end"
        kept.change(
            "INSERT INTO eventstore_idempotency_record (principal, key, fingerprint, answer, created_at)"
            " SELECT principal, gen_random_uuid()::text, fingerprint, answer, created_at"
            " FROM eventstore_idempotency_record WHERE key = 'entry'"
        )
        return _real_look_up(*arguments)

    _real_look_up = answers._look_up
    monkeypatch.setattr(answers, "_look_up", look_up)
    monkeypatch.setattr(answers, "_PAGE", 1)
    (finding,) = report_of([AnswersCheck()]).findings
    assert not finding.named
    assert finding.examined == len(RIGHT_ANSWERS) + 1


def _pay_and_dispatch(ledger: Ledger) -> None:
    for payer, payee in ((ledger.household, ledger.shop), (ledger.shop, ledger.household)):
        ledger.transfer(payer, payee, "1.00")
        accounts.deposit(context=context(), account_id=payee, amount="0.01")
    ledger.transfer(ledger.household, ledger.closed, "1.00")
    ledger.dispatch()


def _replay() -> None:
    for projection in subscriptions.projections():
        rebuild(projection, store=STORE)


def test_it_finds_nothing_while_what_is_parked_grows_and_is_handled(kept: Kept) -> None:
    reports: list[Report] = []
    with meanwhile(lambda: _park_and_retry(kept.ledger)):
        while len(reports) < 12 or (not _has_seen_parked(reports) and len(reports) < 200):
            reports.append(report_of(chunk_events=(20, 400)[len(reports) % 2]))
    assert [found_by(report) for report in reports] == [{}] * len(reports)
    assert _has_seen_parked(reports), "nothing was parked meanwhile"


def _park_and_retry(ledger: Ledger) -> None:
    """A saga and a projection fail for a while; what comes after is parked behind; then all is handled."""
    saga, projection = subscriptions.get("accounts.saga"), subscriptions.get("views.accounts")
    assert isinstance(saga, Reactor)
    assert isinstance(projection, Projection)
    for _ in range(3):
        ledger.transfer(ledger.household, ledger.shop, "0.01")
        accounts.deposit(context=context(), account_id=ledger.shop, amount="0.01")
    sequencer.sequence()
    ledger.advance(replace(saga, handlers=dict.fromkeys(saga.handlers, _fail)))
    ledger.advance(replace(projection, handler=_Failing()))
    ledger.dispatch()
    accounts.deposit(context=context(), account_id=ledger.shop, amount="0.01")
    ledger.dispatch()
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE eventstore_parked_key SET next_attempt_at = clock_timestamp()")
    ledger.dispatch()


def _fail(recorded: object) -> None:
    raise ArithmeticError("a test")


class _Failing:
    def project(self, events: object, tables: object) -> None:
        _fail(events)


def _has_seen_parked(reports: Sequence[Report]) -> bool:
    found = [finding for report in reports for finding in report.findings if finding.name == "parked"]
    return any(finding.examined > finding.counts.get("parked keys", 0) for finding in found)


def test_it_tells_a_stream_that_a_projection_has_parked(kept: Kept) -> None:
    ledger = kept.ledger
    kept.change(
        """
        INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
        VALUES ('views.accounts', %(shop)s, 12, clock_timestamp() + interval '1 hour', clock_timestamp(), 'a test')
        """
    )
    accounts.deposit(context=context(), account_id=ledger.shop, amount="1.00")
    accounts.deposit(context=context(), account_id=ledger.household, amount="1.00")
    ledger.dispatch()
    for chunk_events in (5, 2_000):
        report = report_of(chunk_events=chunk_events)
        assert not found_by(report)
        remarks = {finding.name: finding.remarks for finding in report.findings if finding.remarks}
        assert remarks.keys() == {"readmodel.account", "readmodel.entry"}
        assert all(str(ledger.shop) in remark for (remark,) in remarks.values())
    kept.change("UPDATE readmodel.account SET balance = balance + 1 WHERE account_id = %(shop)s")
    assert found_by(report_of()).keys() == {"readmodel.account"}


# --- What each check finds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [pytest.param(broken, id=f"{broken.check}: {broken.name}") for broken in EVERYTHING_BROKEN],
)
def test_it_names_what_was_broken(kept: Kept, broken: Broken) -> None:
    (kept.change if broken.as_app else kept.rewrite)(*broken.statements)
    report = report_of(limit=1_000)
    assert not (report.clean and report.complete)
    finding = next(finding for finding in report.findings if finding.name == broken.check)
    assert broken.is_named(finding, kept.ledger), finding


@pytest.mark.parametrize(
    ("name", "ends_as"), [("initial", TransferStatus.REJECTED), ("debited", TransferStatus.REFUNDED)]
)
def test_it_finds_a_discard_by_nobody_though_the_bank_goes_by_it(
    kept: Kept, name: str, ends_as: TransferStatus
) -> None:
    kept.change(FORGED_ENDS[name])
    kept.ledger.dispatch()
    assert kept.ledger.state_of(getattr(kept.ledger, name)) is ends_as
    found = found_by(report_of())
    assert found.keys() == {"operations", "transfers"}
    (unanswered,) = found["transfers"].named
    assert (unanswered.field, unanswered.actual) == ("actor", "system:accounts.saga")


def test_each_check_is_shown_to_fail() -> None:
    elsewhere = {check.name for check in read_model_checks()}  # in the other tests of this module
    assert {check.name for check in ledger_checks()} == {broken.check for broken in EVERYTHING_BROKEN} | elsewhere


def test_a_transfer_that_waits_for_somebody_is_not_late(kept: Kept) -> None:
    """Its time runs from its release: `MoneyTransferCreated` comes last when a date or an approval comes before."""
    kept.rewrite(
        "UPDATE eventstore_event SET recorded_at = recorded_at - interval '1 day' WHERE stream_id = %(initial)s",
        "UPDATE eventstore_event SET event_type = 'DebitRecorded', data = data || '{\"account_version\": 1}'"
        " WHERE stream_id = %(initial)s",
    )
    assert "finality" not in found_by(report_of())


KEYS = {check.name: check._table.key for check in read_model_checks()}
_COLUMNS = [(check.name, column) for check in read_model_checks() for column in check._table.columns]

# What is done to a value, by its type.
_ALTERED = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({column}, '') || 'x'",
    "int4": "coalesce({column}, 0) + 1000",
    "int8": "coalesce({column}, 0) + 1",
    "timestamptz": "coalesce({column}, '2026-01-01T00:00Z') + interval '1 microsecond'",
    "jsonb": '{column} || \'{{"forged": "yes"}}\'',
}
_SELECT_TYPE = """
SELECT y.typname FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
WHERE a.attrelid = %s::regclass AND a.attname = %s
"""
_READ = "SELECT ctid::text, {column} FROM {table} LIMIT 1"
_ALTER = "UPDATE {table} SET {column} = {altered} WHERE ctid = %s::tid RETURNING ctid::text"
_MEND = "UPDATE {table} SET {column} = %s WHERE ctid = %s::tid"


@pytest.mark.parametrize(("table", "column"), _COLUMNS, ids=[f"{table}.{column}" for table, column in _COLUMNS])
def test_it_compares_every_column_of_every_read_model(mended: Kept, table: str, column: str) -> None:
    with psycopg.connect(mended.database.app_url, autocommit=True) as app:
        found = app.execute(_SELECT_TYPE, [table, column]).fetchone()
        assert found is not None
        names = {"table": sql.Identifier(*table.split(".")), "column": sql.Identifier(column)}
        altered = sql.SQL(_ALTERED[found[0]]).format(**names)
        place, before = app.execute(sql.SQL(_READ).format(**names)).fetchone() or (None, None)
        (place,) = app.execute(sql.SQL(_ALTER).format(**names, altered=altered), [place]).fetchone() or (None,)
        differences = found_by(report_of(read_model_checks(), chunk_events=100))
        app.execute(sql.SQL(_MEND).format(**names), [Jsonb(before) if isinstance(before, dict) else before, place])
    assert differences.keys() == {table}
    named = {difference.field for difference in differences[table].named}
    assert named == ({"row"} if column in KEYS[table] else {column})
    assert not found_by(report_of(read_model_checks()))


def test_every_table_of_every_projection_is_compared() -> None:
    kept = {f"{projection.schema}.{table}" for projection in subscriptions.projections() for table in projection.tables}
    assert {check.name for check in read_model_checks()} == kept


def test_it_does_not_show_personal_fields(kept: Kept) -> None:
    kept.change("UPDATE readmodel.customer SET name = 'Mallory', email = 'mallory@example.com', version = 9")
    (finding,) = report_of(limit=100).findings[-5:-4]
    assert finding.name == "readmodel.customer"
    shown = {(difference.field, difference.expected, difference.actual) for difference in finding.named}
    assert {("name", PERSONAL, PERSONAL), ("email", PERSONAL, PERSONAL), ("version", "1", "9")} <= shown
    assert "Mallory" not in str(finding.named)
    assert "Alice" not in str(finding.named)


def test_it_finds_a_person_that_was_erased_and_is_still_shown(kept: Kept) -> None:
    erase(kept.ledger.alice)
    finding = found_by(report_of())["readmodel.customer"]
    assert {difference.field for difference in finding.named} == {"name", "email"}


def test_it_says_that_it_cannot_judge_what_another_version_of_a_projection_made(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.change(
        "COMMENT ON TABLE readmodel.account IS 'views.accounts 99:0'",
        "COMMENT ON TABLE readmodel.entry IS 'views.accounts 99:0'",
        "UPDATE eventstore_checkpoint SET projection_version = 99 WHERE subscription = 'views.accounts'",
        "UPDATE readmodel.account SET balance = 0",
        "UPDATE eventstore_snapshot SET state_version = 99, state = '{}'",
    )
    report = report_of()
    assert report.clean
    assert not report.complete
    left_out = {finding.name for finding in report.findings if finding.not_compared}
    assert left_out == {"readmodel.account", "readmodel.entry"}
    counts = {finding.name: finding.counts for finding in report.findings}
    assert counts["readmodel.account"] == {"rows of another version of the projection, not compared": 6}
    assert counts["snapshots"] == {"of a state version that this program ignores": 1}
    with pytest.raises(SystemExit) as left:
        call_command("verify_ledger")
    assert left.value.code == 2
    assert "Not everything could be compared.\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        call_command("verify_ledger", json=True)
    assert left.value.code == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["clean"], answer["complete"]) == (False, False)


@pytest.mark.parametrize("into", [1, 4])
def test_it_finds_nothing_in_a_subscription_that_an_operator_has_paused_and_split(kept: Kept, into: int) -> None:
    operator = {"actor": "staff:olga", "reason": "To look"}
    operations.pause("views.accounts", **operator)
    if into > 1:
        operations.split("views.accounts", into=into, **operator)
    report = report_of()
    assert report.clean
    assert report.complete
    operations.resume("views.accounts", **operator)
    assert not found_by(report_of())


def test_it_finds_each_guard_of_the_database_that_is_gone(kept: Kept) -> None:
    expected = set()
    with psycopg.connect(kept.database.owner_url, autocommit=True) as owner:
        for table, keys in UNIQUE_COLUMNS.items():
            for columns in keys:
                expected.add(f"unique index on {table} ({', '.join(columns)})")
                constraint = owner.execute(_SELECT_CONSTRAINT, [table, list(columns)]).fetchone()
                assert constraint is not None
                names = {"table": sql.Identifier(table), "constraint": sql.Identifier(constraint[0])}
                owner.execute(sql.SQL(_DROP_CONSTRAINT).format(**names))
        for table, change in zip(APPEND_ONLY, _DISABLED, strict=True):
            expected.add(f"trigger that keeps {table} append-only")
            owner.execute(
                sql.SQL(change).format(table=sql.Identifier(table), name=sql.Identifier(f"{table}_append_only"))
            )
    finding = found_by(report_of([GuardsCheck(app_role="daybook_app")], limit=100))["guards"]
    foreign = "constraint on eventstore_parked_event: FOREIGN KEY"  # falls with the index that it needs
    named = {difference.field for difference in finding.named if not difference.field.startswith(foreign)}
    # A column of a primary key that is gone may be empty on some versions of the server.
    assert {field for field in named if not field.startswith("NOT NULL")} == expected


_SELECT_CONSTRAINT = """
SELECT c.conname FROM pg_catalog.pg_constraint c
WHERE c.conrelid = %s::regclass AND c.contype IN ('p', 'u') AND %s::text[] = ARRAY(
    SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k (attnum, ordinal)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.attnum ORDER BY k.ordinal
)
"""
_DROP_CONSTRAINT = "ALTER TABLE {table} DROP CONSTRAINT {constraint} CASCADE"
_DISABLED = (
    "ALTER TABLE {table} DISABLE TRIGGER {name}",
    "ALTER TABLE {table} ENABLE REPLICA TRIGGER {name}",
    "DROP TRIGGER {name} ON {table}",
    "ALTER TABLE {table} ENABLE TRIGGER {name}",
)


def test_it_finds_each_table_and_constraint_of_the_store_guarded(fresh_database: Database) -> None:
    """Those that are written down are those that the migrations make, whatever the server's version."""
    with psycopg.connect(fresh_database.owner_url) as owner:
        tables = {table for (table,) in owner.execute(_SELECT_STORE_TABLES).fetchall()}
        constraints = owner.execute(_SELECT_CONSTRAINTS).fetchall()
    assert tables == UNIQUE_COLUMNS.keys() == REQUIRED.keys()
    written = [(table, text) for table, texts in CONSTRAINTS.items() for text in texts]
    assert sorted(constraints) == sorted(written)


_SELECT_STORE_TABLES = """
SELECT relname FROM pg_catalog.pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 'eventstore\\_%'
"""
_SELECT_CONSTRAINTS = """
SELECT t.relname, pg_get_constraintdef(c.oid)
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class t ON t.oid = c.conrelid
WHERE c.contype IN ('c', 'f') AND t.relnamespace = 'public'::regnamespace AND t.relname LIKE 'eventstore\\_%'
"""


def test_it_waits_for_the_attempts_of_who_begins_to_dispatch_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    (broken,) = [broken for broken in EVERYTHING_BROKEN if broken.name == "a key that nobody tries"]
    kept.change(*broken.statements)
    retry = "UPDATE eventstore_parked_key SET attempts = attempts + 1, next_attempt_at = clock_timestamp()"
    monkeypatch.setattr("eventstore.verification.parked.time", _time(lambda _: kept.change(retry)))
    (finding,) = report_of([ParkedCheck()]).findings
    assert not broken.is_named(finding, kept.ledger)
    monkeypatch.setattr("eventstore.verification.parked.time", _time(lambda _: None))
    operations.pause("accounts.saga", actor="staff:olga", reason="To look")
    kept.change(OVERDUE)
    (finding,) = report_of([ParkedCheck(patience_seconds=0)]).findings
    assert not broken.is_named(finding, kept.ledger)  # nobody is to try it


_STORY: Final = 3_000  # transfers
_MANY_TRANSFERS = f"""
INSERT INTO eventstore_event (
    event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at
)
SELECT gen_random_uuid(), stream_type, gen_random_uuid(), 1, event_type, 1, data, metadata, recorded_at
FROM (SELECT * FROM eventstore_event WHERE stream_id = %(completed)s AND version = 1) AS one,
    generate_series(1, {_STORY})
"""
_THEIR_PLACES = """
INSERT INTO eventstore_log
SELECT head.position + row_number() OVER (ORDER BY e.id), e.id, 0, 0, head.sequenced_at
FROM eventstore_event e, eventstore_sequencer head
WHERE NOT EXISTS (SELECT FROM eventstore_log l WHERE l.event_id = e.id)
"""
_AT_THE_END = "UPDATE {} SET position = (SELECT max(position) FROM eventstore_log)"
_PARK_SOME = """
WITH k AS (
    INSERT INTO eventstore_parked_key (subscription, key, attempts, next_attempt_at, parked_at, error)
    SELECT 'accounts.saga', e.stream_id, 1, clock_timestamp() + interval '2 s', clock_timestamp(), 'a test'
    FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id
    WHERE l.position > 180 ORDER BY l.position LIMIT 7 RETURNING id, key
)
INSERT INTO eventstore_parked_event (parked_key_id, subscription, position, parked_at)
SELECT k.id, 'accounts.saga', l.position, clock_timestamp()
FROM k JOIN eventstore_event e ON e.stream_id = k.key JOIN eventstore_log l ON l.event_id = e.id
"""


def test_it_holds_no_transaction_while_it_looks_through_a_long_story(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a client makes it that sends one correlation id for a night's transfers, some of which are parked."""
    ends = [_AT_THE_END.format(table) for table in ("eventstore_sequencer", "eventstore_checkpoint")]
    kept.rewrite(_MANY_TRANSFERS, _THEIR_PLACES, *ends, _PARK_SOME)
    keys_read: list[int] = []
    decoded: list[tuple[int, bool]] = []

    @contextmanager
    def counting(**options: Any) -> Iterator[Any]:
        keys_read.append(0)
        with one_moment(**options) as cursor:
            yield cursor

    def behind(*arguments: Any) -> Any:
        keys_read[-1] += 1
        return _real_behind(*arguments)

    def decode_each(rows: Any, **options: Any) -> Any:
        decoded.append((len(rows), connections["default"].in_atomic_block))
        return walking.decode_each(rows, **options)

    _real_behind = parked._behind
    monkeypatch.setattr(parked, "one_moment", counting)
    monkeypatch.setattr(parked, "_behind", behind)
    monkeypatch.setattr(parked, "decode_each", decode_each)
    (finding,) = report_of([ParkedCheck(patience_seconds=0)]).findings
    assert not finding.named
    assert finding.counts["parked keys"] == 7
    assert sorted(keys_read)[-7:] == [1] * 7  # each fills a transaction
    long = [within for length, within in decoded if length > 1_000]
    assert long == [False] * 7


def test_a_page_of_parked_keys_ends_when_it_has_taken_long_enough(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.rewrite(*[statement for number in range(3) for statement in _park_transfer(number)])
    whole = report_of([ParkedCheck(patience_seconds=0)]).findings
    assert whole[0].differences
    monkeypatch.setattr(parked, "_PAGE_SECONDS", 0)
    assert report_of([ParkedCheck(patience_seconds=0)]).findings == whole


def _park_transfer(number: int) -> Sequence[str]:
    stream = ("completed", "failed", "rejected")[number]
    (broken,) = [broken for broken in EVERYTHING_BROKEN if broken.name == "a key that was parked and overtaken"]
    return [statement.replace("%(completed)s", f"%({stream})s") for statement in broken.statements]


def test_it_says_when_the_role_that_runs_the_bank_owns_history(kept: Kept) -> None:
    with psycopg.connect(kept.database.owner_url) as owner:
        owner.execute("GRANT CREATE ON SCHEMA public TO daybook_app")
        for table in APPEND_ONLY:
            owner.execute(sql.SQL("ALTER TABLE {} OWNER TO daybook_app").format(sql.Identifier(table)))
    (finding,) = report_of([GuardsCheck(app_role=None)]).findings
    assert not finding.named
    assert finding.counts == {"tables of history that are the app role's own": len(APPEND_ONLY)}
    (finding,) = report_of([GuardsCheck(app_role="daybook_app")]).findings
    assert finding.differences == len(APPEND_ONLY)


def test_it_finds_the_same_in_chunks_of_any_size(kept: Kept) -> None:
    kept.change(
        "UPDATE readmodel.account SET balance = balance + 1",
        "UPDATE readmodel.entry SET amount = amount + 1 WHERE version %% 7 = 1",
        "DELETE FROM readmodel.transfer_step WHERE version = 2",
        f"UPDATE eventstore_snapshot SET stream_id = '{NOBODY}'",
        """
        INSERT INTO readmodel.transfer_step
        SELECT gen_random_uuid(), version, event_id, event_type, actor, recorded_at
        FROM readmodel.transfer_step, generate_series(1, 30)
        """,
        """
        INSERT INTO readmodel.entry
        SELECT '00000000-0000-0000-0000-000000000001', n, entry_id, kind, amount, balance_after, transfer_id,
            counterparty_account_id, reverses, description, recorded_at
        FROM readmodel.entry, generate_series(1, 30) n WHERE account_id = %(shop)s AND version = 60
        """,
    )
    whole = found_by(report_of(limit=10_000))
    assert whole.keys() == {"snapshots", "readmodel.account", "readmodel.entry", "readmodel.transfer_step"}
    assert whole["readmodel.account"].differences == 6
    assert whole["readmodel.entry"].differences > 30
    assert whole["readmodel.transfer_step"].differences > 300
    for chunk_events in (1, 3, 40):
        found = found_by(report_of(limit=10_000, chunk_events=chunk_events))
        assert {name: _as_a_set(finding) for name, finding in found.items()} == {
            name: _as_a_set(finding) for name, finding in whole.items()
        }


@pytest.mark.parametrize("chunk_events", [1, 3, 40])
@pytest.mark.parametrize(
    "name", ["an account that is there twice, and shown wrong first", "a line of a statement that is there twice"]
)
def test_it_finds_a_row_that_is_there_twice_once(kept: Kept, name: str, chunk_events: int) -> None:
    (broken,) = [broken for broken in EVERYTHING_BROKEN if broken.name == name]
    kept.change(*broken.statements)
    finding = found_by(report_of(chunk_events=chunk_events))[broken.check]
    assert broken.is_named(finding, kept.ledger), finding
    assert len([difference for difference in finding.named if difference.field == broken.field]) == 1


@pytest.mark.parametrize("chunk_events", [1, 2])
def test_it_finds_what_is_left_behind_by_what_the_next_read_shows(kept: Kept, chunk_events: int) -> None:
    (broken,) = [broken for broken in EVERYTHING_BROKEN if broken.name == "an event that is left behind"]
    kept.rewrite(*broken.statements)
    finding = found_by(report_of(chunk_events=chunk_events, limit=1_000))["sequencing"]
    assert broken.is_named(finding, kept.ledger), finding


def _as_a_set(finding: Finding) -> tuple[int, set[Difference]]:
    return finding.differences, set(finding.named)


# --- What cannot be checked -----------------------------------------------------------------------------------


def _fall(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a test")


def _ask_nonsense(_: object, cursor: Any, *__: object) -> Any:
    cursor.execute("SELECT 1 / 0")


_FALLING = [
    (LogCheck, "differences", _fall, "ZeroDivisionError: a test (test_verify_ledger.py, line "),
    (FinalityCheck, "begin", _fall, "ZeroDivisionError: a test"),
    (FinalityCheck, "read", _fall, "ZeroDivisionError: a test"),
    (FinalityCheck, "read", _ask_nonsense, "DataError: division by zero"),
    (BalancesCheck, "compare", _fall, "ZeroDivisionError: a test"),
    (ReversalsCheck, "finish", _fall, "ZeroDivisionError: a test"),
]


@pytest.mark.parametrize(("falling", "step", "fall", "reason"), _FALLING)
def test_a_check_that_fails_says_so_and_the_others_go_on(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, falling: type[Check], step: str, fall: Any, reason: str
) -> None:
    kept.change("UPDATE readmodel.account SET balance = balance + 1")
    whole = {finding.name: finding for finding in report_of(chunk_events=40).findings}
    monkeypatch.setattr(falling, step, fall)
    report = verify(ledger_checks(), aggregates=AGGREGATES, chunk_events=40)
    found = {finding.name: finding for finding in report.findings}
    fallen, before = found.pop(falling.name), whole.pop(falling.name)
    (what,) = fallen.not_compared
    assert what.startswith(f"what was left when this check could not go on: {reason}")
    assert fallen.examined <= before.examined
    assert found == whole
    assert not report.complete


def test_nothing_is_said_of_sums_when_the_transfers_could_not_be_read(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TransfersCheck, "compare", _fall)
    report = verify(ledger_checks(), aggregates=AGGREGATES)
    assert report.clean
    assert {finding.name for finding in report.findings if finding.not_compared} == {"transfers", "conservation"}


def test_a_check_that_fails_makes_the_command_end_with_2(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LogCheck, "differences", _fall)
    with pytest.raises(SystemExit) as left:
        call_command("verify_ledger")
    assert left.value.code == 2
    out = capsys.readouterr().out
    assert "log: not compared (0 entries)\n" in out
    assert "    NOT COMPARED: what was left when this check could not go on: ZeroDivisionError: a test" in out
    kept.change("UPDATE readmodel.account SET balance = balance + 1")
    with pytest.raises(SystemExit) as left:
        call_command("verify_ledger", json=True)
    assert left.value.code == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["clean"], answer["complete"]) == (False, False)


def test_streams_that_nobody_can_read_leave_all_their_checks_undone(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.verification.walking._decode", _fall)
    report = verify(ledger_checks(), aggregates=AGGREGATES)
    assert report.clean
    undone = {finding.name for finding in report.findings if finding.not_compared}
    assert undone == {check.name for check in ledger_checks() if isinstance(check, walking.StreamCheck)}


@pytest.mark.parametrize(("check", "step"), [(LogCheck, "differences"), (FinalityCheck, "read")])
def test_a_database_that_goes_away_ends_it(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, check: type[Check], step: str
) -> None:
    def lose(*_: object) -> Any:
        raise OperationalError("server closed the connection unexpectedly\n\tThis probably means")

    monkeypatch.setattr(check, step, lose)
    with pytest.raises(CommandError) as left:
        call_command("verify_ledger")
    assert left.value.returncode == 2
    assert str(left.value) == "The ledger could not be checked: server closed the connection unexpectedly"


@pytest.mark.parametrize("keys", [(), (Fernet.generate_key().decode(),)], ids=["none", "another"])
def test_settings_without_the_sealing_key_are_not_taken_for_falsified_history(
    kept: Kept, settings: Settings, keys: tuple[str, ...]
) -> None:
    settings.EVENTSTORE = {**settings.EVENTSTORE, "SEALING_KEYS": keys}
    with pytest.raises(CommandError, match=r"\AThe ledger could not be checked: .*\['SEALING_KEYS'\].*\Z") as left:
        call_command("verify_ledger")
    assert left.value.returncode == 2


def test_it_ends_in_one_line_when_it_is_interrupted(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(FinalityCheck, "read", interrupt)
    with pytest.raises(CommandError, match=r"\AInterrupted\.\Z") as left:
        call_command("verify_ledger")
    assert left.value.returncode == 130


def test_it_answers_in_json_whatever_number_is_in_an_event(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    where = "event_type IN ('AccountCredited', 'CashEntryReversed')"
    kept.rewrite(f"UPDATE eventstore_event SET data = jsonb_set(data, '{{amount}}', '{TOO_MUCH}') WHERE {where}")
    kept.rewrite(
        "UPDATE eventstore_event SET data = jsonb_set(data, '{amount}', '9223372036854775807')"
        " WHERE event_type = 'CashDeposited'"
    )
    with pytest.raises(SystemExit) as left:
        call_command("verify_ledger", json=True)
    assert left.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report["complete"] is True
    unreadable = [difference for finding in report["findings"] for difference in finding["named"]]
    assert any("ValidationError: Expected `int` <= " in difference["actual"] for difference in unreadable)


# --- The command ----------------------------------------------------------------------------------------------


def test_it_names_some_differences_of_a_check_and_counts_the_rest(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.change("UPDATE readmodel.entry SET amount = amount + 1")
    with pytest.raises(SystemExit) as left:
        call_command("verify_ledger", limit=3)
    assert left.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("readmodel.entry: DIFFERS")]
    assert [line.startswith("  - ") for line in lines[place + 1 : place + 7]] == [False, True, True, True, True, False]
    assert lines[place + 5].startswith("  - and ")
    assert lines[-1].endswith(" differences.")


def test_it_counts_for_people_with_separators() -> None:
    finding = Finding(
        name="events",
        proves="x",
        examined=40_609,
        unit="events",
        differences=1,
        named=(),
        counts={"accounts": 1_200},
        remarks=(),
        not_compared=(),
    )
    lines = list(in_words(Report(log_id=None, position=40_609, seconds=1.5, findings=[finding])))
    assert lines[0] == "events: DIFFERS 1 time (40,609 events)"
    assert lines[2:] == [
        "    accounts: 1,200",
        "  - and 1 more",
        "Checked up to position 40,609 in 1.5 s.",
        "1 difference.",
    ]


def test_it_answers_programs_in_json(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("verify_ledger", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["clean"] is True
    assert report["position"] > 0
    assert {finding["differences"] for finding in report["findings"]} == {0}
    kept.change("UPDATE readmodel.account SET balance = 7 WHERE account_id = %(shop)s")
    with pytest.raises(SystemExit):
        call_command("verify_ledger", json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["clean"] is False
    (difference,) = [named for finding in report["findings"] for named in finding["named"]]
    assert difference["stream"] == f"account/{kept.ledger.shop}"
    assert (difference["field"], difference["actual"]) == ("balance", "7")


def test_it_shows_how_far_it_is(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("verify_ledger", json=True)
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    position = json.loads(captured.out)["position"]
    assert f"Checking log: {position} of {position}\n" in captured.err
    assert f"Checking streams: {position} of {position}\n" in captured.err


def test_it_says_so_when_it_cannot_check(kept: Kept) -> None:
    with psycopg.connect(kept.database.owner_url) as owner:
        owner.execute("ALTER TABLE eventstore_log RENAME TO elsewhere")
    with pytest.raises(CommandError, match="could not be checked") as left:
        call_command("verify_ledger")
    assert left.value.returncode == 2


def test_it_needs_no_more_memory_for_ten_times_the_events(kept: Kept) -> None:
    few = multiply(kept.database, copies=25)
    kept.ledger.seal()
    small = _verify_in_a_process(kept.database)
    many = multiply(kept.database, copies=10, again=True)
    kept.ledger.seal()
    large = _verify_in_a_process(kept.database)
    assert many > 9 * few
    assert large < small + 10_000, f"{small} kB for {few} events, {large} kB for {few + many}"


# By VmHWM (proc_pid_status(5)): what getrusage calls the most includes what this process was forked from.
_VERIFY_AND_MEASURE = """
from pathlib import Path
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "verify_ledger", "--json"])
(most,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(most)
"""


def _verify_in_a_process(database: Database) -> int:
    """The most memory that checking this database took, in kB."""
    done = subprocess.run(
        [sys.executable, "-c", _VERIFY_AND_MEASURE],
        cwd=ROOT,
        env=database.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer, most = done.stdout.splitlines()
    assert json.loads(answer)["clean"] is True
    return int(most)
