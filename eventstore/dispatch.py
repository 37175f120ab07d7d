"""Dispatches: sequences what was committed and advances every subscription, until nothing is left.

The data path in one place: outbox → `sequencer` → log → `subscriptions.runner` → handlers; beside it, when nothing else
is to be done or every second, log → `seals.sealer` → seals. Celery workers, the sweep and `manage.py dispatch` all call
`drain`; any number of them may run at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from eventstore import sequencer
from eventstore.seals import sealer
from eventstore.store import EventStore
from eventstore.subscriptions import checkpoints, parking
from eventstore.subscriptions.registry import Projection, Reactor, Subscription, SubscriptionRegistry
from eventstore.subscriptions.runner import Progress, advance
from eventstore.wakeup import quietly

BUDGET_SECONDS: Final = 20.0
"""How long one drain goes on at most; a worker then sends itself another wake-up, so that it can be stopped."""
PROJECTIONS_EVERY: Final = 8
"""Rounds of sagas after which the projections have their turn though the sagas still have work."""
BUSY_PAUSE_SECONDS: Final = 0.005
BUSY_PAUSES: Final = 100
"""How often a drain looks again when all that is left is in other hands. A lock in other hands is not "empty"."""
RETRIED_KEYS: Final = 50
"""Parked keys that one round retries, at most."""


class _Round:
    """What one round of a drain has done."""

    def __init__(self) -> None:
        self.moved = False
        self.full = False  # there is enough for another worker
        self.busy = False

    def note(self, progress: Progress) -> None:
        self.moved |= progress in (Progress.MOVED, Progress.FULL)
        self.full |= progress is Progress.FULL
        self.busy |= progress is Progress.BUSY


def drain(
    *,
    store: EventStore,
    budget_seconds: float = BUDGET_SECONDS,
    on_more: Callable[[], None] = lambda: None,
    batch_size: int | None = None,
) -> bool:
    """Dispatches until nothing is left or the time is up; answers whether nothing is left.

    `on_more` is called when there is enough work for another worker besides.
    """
    deadline = time.monotonic() + budget_seconds
    pauses = rounds = 0
    pace = sealer.Pace()
    checkpoints.ensure(store.subscriptions, using=store.using)
    parking.heed_clock(using=store.using)
    with quietly():
        while time.monotonic() < deadline:
            rounds += 1
            done = _round(store, with_projections=rounds % PROJECTIONS_EVERY == 0, batch_size=batch_size)
            if done.full:
                on_more()
            if pace.is_up() or not (done.moved or done.busy):
                done.moved |= sealer.seal_quietly(using=store.using)
            if done.moved:
                pauses = 0
            elif not done.busy or pauses >= BUSY_PAUSES:
                return not done.busy
            else:
                pauses += 1
                time.sleep(BUSY_PAUSE_SECONDS)
    return False


def _round(store: EventStore, *, with_projections: bool, batch_size: int | None) -> _Round:
    """Sequences; then the sagas; then, when those have nothing to do or it is their turn, projections and retries."""
    done = _Round()
    outcome = sequencer.sequence(using=store.using)
    done.busy |= outcome is sequencer.Outcome.BUSY
    done.moved |= outcome is sequencer.Outcome.MOVED
    reactors = {found.id for found in store.subscriptions.all() if isinstance(found, Reactor)}
    due = _due(store)
    for found in due:
        if found.subscription in reactors:
            done.note(_advance(found, store, batch_size))
    sagas_moved = done.moved and any(found.subscription in reactors for found in due)
    if sagas_moved and not with_projections:
        return done
    for found in due:
        if found.subscription not in reactors:
            done.note(_advance(found, store, batch_size))
    done.moved |= _retry_parked(store)
    return done


def _due(store: EventStore) -> list[checkpoints.Due]:
    """What has something to do and can be done by this version of the program."""
    registry = store.subscriptions
    found = checkpoints.due([subscription.id for subscription in registry.all()], using=store.using)
    return [checkpoint for checkpoint in found if _is_current(registry, checkpoint)]


def _is_current(registry: SubscriptionRegistry, due: checkpoints.Due) -> bool:
    """Whether the tables are those of this version: another version's are rebuilt by a replay, not gone on with."""
    subscription = registry.get(due.subscription)
    return not isinstance(subscription, Projection) or subscription.version == due.projection_version


def _advance(due: checkpoints.Due, store: EventStore, batch_size: int | None) -> Progress:
    return advance(due.id, _declared(due.subscription, store), store=store, batch_size=batch_size)


def _retry_parked(store: EventStore) -> bool:
    """Retries the parked keys whose time has come, for a moment at most; answers whether it did anything.

    For a moment, because each may be one whose handler hangs: what is not parked comes in between.
    """
    done = False
    due = parking.due_keys(store.subscriptions.all(), limit=RETRIED_KEYS, using=store.using)
    for waiting in sorted({key.subscription for key in due if key.waits}):
        done |= parking.retry_waiting(_declared(waiting, store), store=store)
    failed = [key for key in due if not key.waits]
    until = time.monotonic() + parking.RETRY_SECONDS if failed else 0.0
    for tried, key in enumerate(failed):
        seconds = until - time.monotonic()
        if tried and seconds < 0:
            return True
        outcome = parking.retry(key.id, _declared(key.subscription, store), store=store, budget_seconds=seconds)
        done |= outcome in (parking.Retry.FREED, parking.Retry.GOES_ON)
    return done


def _declared(subscription_id: str, store: EventStore) -> Subscription:
    found = store.subscriptions.get(subscription_id)
    if found is None:
        raise LookupError(f"no subscription {subscription_id!r}")
    return found
