"""A transfer that takes too long shows on Today, and in the log once; that posting is delayed shows on every page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from pytest_django import Settings
from structlog.testing import capture_logs

from config.staff.roles import Role
from eventstore import operations
from eventstore.dispatch import drain
from eventstore.inspection import Undone
from eventstore.store import EventStore
from eventstore.subscriptions import checkpoints
from eventstore.subscriptions.registry import SubscriptionRegistry, subscriptions
from tests.conftest import Database
from tests.integration.counter import Counter
from tests.integration.pages.desk import Desk
from tests.integration.shops import rows
from views_readmodel import delay
from views_readmodel.slow import (
    AGAIN_SECONDS,
    AgeWatch,
    SlowTransfer,
    StepWatch,
    TransfersCollector,
    slow_steps,
    slow_transfers,
)


@pytest.fixture
def stuck(fresh_database: Database) -> UUID:
    """A transfer that nobody goes on with, as it is shown."""
    counter = Counter(Role.TELLER)
    payer, payee = counter.account("500.00"), counter.account("0.00")
    found = counter.transfer(payer, payee, "150.00")
    projections = SubscriptionRegistry()
    for projection in subscriptions.projections():
        projections._add(projection)
    checkpoints.ensure(subscriptions, using="default")
    assert drain(store=EventStore(subscriptions=projections))
    return found


def _is_slow(transfer_id: UUID) -> bool:
    return transfer_id in {one.transfer_id for one in slow_transfers()}


def test_it_is_slow_only_after_the_limit(stuck: UUID, settings: Settings) -> None:
    assert not _is_slow(stuck)
    settings.SLOW_TRANSFER_SECONDS = 0
    assert _is_slow(stuck)


def test_a_transfer_that_ended_is_not_slow(stuck: UUID, settings: Settings) -> None:
    assert drain(store=EventStore())
    settings.SLOW_TRANSFER_SECONDS = 0
    assert slow_transfers() == []


def test_a_transfer_counts_from_its_release_and_not_while_it_waits_for_somebody(
    stuck: UUID, settings: Settings
) -> None:
    settings.SLOW_TRANSFER_SECONDS = 60
    rows("UPDATE readmodel.transfer SET created_at = created_at - interval '3 days'")
    assert not _is_slow(stuck)  # it was asked for long ago, and released just now
    rows("UPDATE readmodel.transfer_step SET recorded_at = recorded_at - interval '3 days'")
    assert _is_slow(stuck)
    rows("UPDATE readmodel.transfer SET state = 'AWAITING_APPROVAL'")
    assert not _is_slow(stuck)


@pytest.mark.parametrize("role", [Role.TELLER, Role.SUPERVISOR, Role.AUDITOR])
def test_everybody_who_sees_transfers_is_led_to_it_from_today(stuck: UUID, settings: Settings, role: Role) -> None:
    settings.SLOW_TRANSFER_SECONDS = 0
    page = Desk(role).get("/").content.decode()
    panel = page[page.index('id="slow-title"') :]
    assert f"/transfers/{stuck}" in panel[: panel.index("</section>")]


def test_today_has_no_such_panel_when_all_is_well_and_none_for_an_operator(stuck: UUID, settings: Settings) -> None:
    assert "Slow transfers" not in Desk(Role.TELLER).get("/").content.decode()
    settings.SLOW_TRANSFER_SECONDS = 0
    assert "Slow transfers" not in Desk(Role.OPERATOR).get("/").content.decode()


# --- Steps, asked of the store itself ----------------------------------------------------------------------------


@pytest.fixture
def unseen(fresh_database: Database) -> None:
    """A transfer that no saga goes on with, and that no read model shows: the projection is paused."""
    counter = Counter(Role.TELLER)
    payer, payee = counter.account("500.00"), counter.account("0.00")
    assert drain(store=EventStore())
    operations.pause("views.transfers", actor="staff:olga", reason="To look")
    operations.pause("accounts.saga", actor="staff:olga", reason="To look")
    counter.transfer(payer, payee, "150.00")


def _stages() -> list[tuple[str, str]]:
    return [(one.stage, one.subscription) for one in slow_steps()]


def test_a_step_is_slow_wherever_it_waits_and_whatever_the_read_model_shows(unseen: None, settings: Settings) -> None:
    assert _stages() == []
    settings.SLOW_TRANSFER_SECONDS = 0
    assert _stages() == [("unsequenced", "")]
    drain(store=EventStore())
    assert _stages() == [("unhandled", "accounts.saga")]
    assert slow_transfers() == []
    rows(
        "INSERT INTO eventstore_parked_key (subscription, key, next_attempt_at, parked_at, error) VALUES"
        " ('transfers.saga', gen_random_uuid(), clock_timestamp(), clock_timestamp() - interval '1 hour', 'a test')"
    )
    assert _stages() == [("parked", "transfers.saga"), ("unhandled", "accounts.saga")]


@pytest.mark.parametrize("role", [Role.TELLER, Role.OPERATOR])
def test_today_shows_a_step_that_waits(unseen: None, settings: Settings, role: Role) -> None:
    words = {Role.TELLER: "Steps of transfers wait", Role.OPERATOR: "Oldest step of a saga that waits"}[role]
    assert words not in Desk(role).get("/").content.decode()
    settings.SLOW_TRANSFER_SECONDS = 0
    assert words in Desk(role).get("/").content.decode()


def test_the_log_says_once_that_steps_wait_and_again_much_later() -> None:
    watch, told = StepWatch(), []
    wait = Undone("parked", "accounts.saga", datetime(2026, 11, 1, tzinfo=UTC), 100.0)
    looks = [(False, 0), (True, 15), (True, 30), (True, 16 + AGAIN_SECONDS), (False, 700), (False, 715), (True, 730)]
    for waits, now in looks:
        with capture_logs() as logged:
            watch.look([wait] if waits else [], now=now)
        told += [(line["event"], line.get("stage")) for line in logged]
    assert told == [
        ("transfers.steps_wait", "parked"),
        ("transfers.steps_wait", "parked"),
        ("transfers.steps_wait_no_more", None),
        ("transfers.steps_wait", "parked"),
    ]


def test_the_oldest_transfer_counts_from_its_release_in_metrics_too(stuck: UUID) -> None:
    rows("UPDATE readmodel.transfer SET created_at = created_at - interval '3 days'")
    assert 0 < _metric("daybook_transfers_oldest_unfinished_age_seconds") < 3_600
    rows("UPDATE readmodel.transfer_step SET recorded_at = recorded_at - interval '3 days'")
    assert _metric("daybook_transfers_oldest_unfinished_age_seconds") > 3_600


def test_metrics_tell_the_age_of_the_oldest_step(unseen: None) -> None:
    assert _metric("daybook_transfers_oldest_step_age_seconds", stage="unsequenced") > 0
    drain(store=EventStore())
    assert _metric("daybook_transfers_oldest_step_age_seconds", stage="unhandled") > 0
    assert _metric("daybook_transfers_oldest_step_age_seconds", stage="parked") == 0


def _metric(name: str, **labels: str) -> float:
    families = TransfersCollector(counted=CollectorRegistry()).collect()
    (found,) = [one.value for family in families for one in family.samples if (one.name, one.labels) == (name, labels)]
    return float(found)


def _slow(count: int) -> list[SlowTransfer]:
    return [SlowTransfer(uuid4(), "DEBITED", datetime(2026, 11, 1, tzinfo=UTC)) for _ in range(count)]


def test_the_log_says_it_once_and_again_only_when_it_gets_worse_or_much_later() -> None:
    watch = AgeWatch()
    told: list[str] = []
    looks: list[tuple[int, float]] = [(0, 0), (2, 15), (2, 30), (3, 45), (4, 60), (4, 75), (4, 61 + AGAIN_SECONDS)]
    for count, now in [*looks, (0, 700), (0, 715), (1, 730)]:
        with capture_logs() as logged:
            watch.look(_slow(count), now=now)
        told += [f"{line['event']} {line.get('transfers', '')}".strip() for line in logged]
    assert told == [
        "transfers.slow 2",
        "transfers.slow 4",
        "transfers.slow 4",
        "transfers.slow_no_more",
        "transfers.slow 1",
    ]


# --- Posting is delayed -------------------------------------------------------------------------------------

BANNER = "Posting is delayed"


@pytest.fixture(autouse=True)
def _asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delay, "_answer", delay._Answer())


def test_pages_say_that_posting_is_delayed_when_an_event_has_waited_for_long(
    stuck: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Desk(Role.TELLER)
    assert BANNER not in teller.get("/transfers").content.decode()
    monkeypatch.setattr(delay, "DELAYED_SECONDS", 0.0)
    monkeypatch.setattr(delay, "_answer", delay._Answer())
    assert BANNER in teller.get("/transfers").content.decode()
    assert drain(store=EventStore())
    monkeypatch.setattr(delay, "_answer", delay._Answer())
    assert BANNER not in teller.get("/transfers").content.decode()


def test_pages_say_that_posting_is_delayed_when_wake_ups_cannot_be_sent(
    stuck: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delay, "is_broker_away", lambda: True)
    assert BANNER in Desk(Role.SUPERVISOR).get("/accounts").content.decode()


def test_the_question_is_asked_once_in_two_seconds(stuck: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(**_: Any) -> float:
        asked.append(1)
        return 0.0

    monkeypatch.setattr("eventstore.inspection.longest_wait_seconds", ask)
    for now in (10.0, 10.5, 11.9, 12.1, 13.0):
        delay.posting_is_delayed(now=now)
    assert len(asked) == 2
