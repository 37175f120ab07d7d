"""Demo data goes through the services and leaves a bank whose every transfer has ended."""

import io
import itertools

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core.management import CommandError, call_command
from django.test import RequestFactory

from eventstore.models import Event, LogEntry, OutboxEntry
from eventstore.progress import progress
from tests.conftest import Database
from views_readmodel.models import Account, Customer, Transfer

FINAL = {"COMPLETED", "FAILED_DUE_TO_INSUFFICIENT_FUNDS", "REJECTED", "REFUNDED"}


def test_it_loads_what_was_asked_for_and_every_transfer_ends(fresh_database: Database) -> None:
    call_command("load_demo", customers=6, transfers=40, seed=7)
    assert Customer.objects.count() == 6
    assert Account.objects.count() >= 6
    assert {transfer.state for transfer in Transfer.objects.all()} <= FINAL
    assert Transfer.objects.filter(state="COMPLETED").count() > 20
    assert OutboxEntry.objects.count() == 0
    assert LogEntry.objects.count() == Event.objects.count()
    for name in ("teller", "supervisor", "auditor", "operator"):
        member = authenticate(RequestFactory().post("/log-in"), username=name, password="daybook-demo")
        assert member is not None
        assert [group.name for group in member.groups.all()] == [name]


def test_it_leaves_a_bank_with_a_history_alone(fresh_database: Database) -> None:
    said = io.StringIO()
    call_command("load_demo", customers=2, transfers=0, stdout=said)
    before = Event.objects.count()
    call_command("load_demo", "--if-empty", stdout=said)
    assert Event.objects.count() == before
    assert said.getvalue().count("Log in as teller") == 2
    with pytest.raises(CommandError, match="has a history already"):
        call_command("load_demo")


def test_it_tells_log_ins_only_where_they_work(fresh_database: Database) -> None:
    call_command("load_demo", customers=2, transfers=0, stdout=io.StringIO())
    teller = get_user_model().objects.get(username="teller")
    teller.set_password("something of their own")
    teller.save()
    said = io.StringIO()
    call_command("load_demo", "--if-empty", stdout=said)
    assert said.getvalue() == ""


@pytest.mark.parametrize("arguments", [["--customers", "0"], ["--transfers=-1"], ["--seed", "x"]])
def test_it_refuses_numbers_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=r"must be a whole number|invalid int"):
        call_command("load_demo", *arguments)


def test_progress_is_told_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=2.0)
    monkeypatch.setattr("eventstore.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    with progress(title="Replay", total=10, stream=stream) as advance:
        for _ in range(5):
            advance(2)
    lines = stream.getvalue().splitlines()
    assert lines[-1] == "Replay: 10 of 10"
    assert 1 < len(lines) < 5


def test_progress_is_a_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress(title="Replay", total=10, stream=stream) as advance:
        advance(10)
    assert "Replay" in stream.getvalue()
    assert "10/10" in stream.getvalue()
