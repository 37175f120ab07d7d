"""What an operator does to subscriptions and to what is parked: pause, resume, split, retry, discard.

Invariant: each is recorded, with who did it and why, in a table that nobody can rewrite; what changes a row commits
together with its record. Commands and the admin call this; handlers never do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from django.db import DatabaseError, OperationalError, connections, transaction
from django.db.backends.utils import CursorWrapper

from eventstore.buckets import split_evenly
from eventstore.conf import store_settings
from eventstore.failures import is_lock_timeout, is_passing
from eventstore.store import EventStore
from eventstore.subscriptions import parking
from eventstore.subscriptions.registry import Projection, Subscription
from eventstore.visible import has_unprintable, has_visible
from eventstore.wakeup import wake_on_commit

MAX_REASON_LENGTH: Final = 500
SETTLED_SECONDS: Final = 0.5
"""How long after its attempt a key is parked still that is told as such; a handler takes milliseconds."""
LOOK_SECONDS: Final = 0.1
"""How often it is looked at what became of keys."""
OS_USER: Final = "os_user"
"""In a record's detail: the user of the operating system, where somebody else was named as who did it."""

# Waits no longer than this for a worker that is in the middle of a batch.
_BOUND_WAIT = "SELECT set_config('lock_timeout', %s, true)"

# A subscription's checkpoints, locked in order, as every lock.
_LOCK_CHECKPOINTS = """
SELECT id, status FROM eventstore_checkpoint WHERE subscription = %s AND status <> 'replaying'
ORDER BY bucket_low FOR UPDATE
"""

_PAUSE = """
UPDATE eventstore_checkpoint SET status = 'paused', paused_by = %s, paused_reason = %s WHERE id = ANY(%s)
"""

# What held it, or died in it, is forgotten with the pause: whoever resumes has looked.
_RESUME = """
UPDATE eventstore_checkpoint
SET status = 'running', paused_by = '', paused_reason = '', attempts = 0, held_until = NULL, held_reason = ''
WHERE id = ANY(%s)
"""

# A subscription's ranges, locked in order, as every lock.
_LOCK_RANGES = """
SELECT id, follows, bucket_low, bucket_high, position, projection_version, status, paused_by, paused_reason,
    careful_until, careful_entries
FROM eventstore_checkpoint WHERE subscription = %s AND status <> 'replaying'
ORDER BY bucket_low FOR UPDATE
"""

# Whether a range has something to handle between its position and another.
_HAS_WORK = """
SELECT EXISTS (
    SELECT FROM eventstore_log l
    WHERE l.position > %s AND l.position <= %s
        AND CASE %s WHEN 'route' THEN l.route_bucket ELSE l.stream_bucket END BETWEEN %s AND %s
)
"""

_DELETE_RANGES = "DELETE FROM eventstore_checkpoint WHERE id = ANY(%s)"

_INSERT_RANGE = """
INSERT INTO eventstore_checkpoint
    (subscription, follows, bucket_low, bucket_high, position, projection_version, status, paused_by, paused_reason,
    careful_until, careful_entries)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""

# What an operator did.
_RECORD = "INSERT INTO eventstore_operation (actor, action, subscription, detail) VALUES (%s, %s, %s, %s::jsonb)"

# Whether the tables of a projection are of another version than this.
_SELECT_OUTDATED = """
SELECT FROM eventstore_checkpoint WHERE subscription = %s AND projection_version <> %s LIMIT 1
"""

# A parked key by its id.
_SELECT_KEY = "SELECT subscription, key FROM eventstore_parked_key WHERE id = %s"

# Some parked keys, and whether an operator has paused their subscription.
_SELECT_KEYS = """
SELECT k.id, k.subscription, EXISTS (
    SELECT FROM eventstore_checkpoint c WHERE c.subscription = k.subscription AND c.status = 'paused'
)
FROM eventstore_parked_key k WHERE k.id = ANY(%s)
"""

# Has some parked keys tried when somebody looks next, but for those that somebody is at. Sorted, as every lock.
_MAKE_DUE = """
UPDATE eventstore_parked_key SET next_attempt_at = clock_timestamp()
WHERE id = ANY(ARRAY(SELECT id FROM eventstore_parked_key WHERE id = ANY(%s) ORDER BY key FOR UPDATE SKIP LOCKED))
RETURNING id, subscription, key, attempts
"""

# How often those of some keys that are parked still have been tried.
_SELECT_ATTEMPTS = "SELECT id, attempts FROM eventstore_parked_key WHERE id = ANY(%s)"


class NoSuchSubscription(LookupError):
    """There is no subscription of that name."""


class RebuildNeeded(NoSuchSubscription):
    """Its tables are of another version of the program; what is parked goes on once they are rebuilt."""


class NothingToDo(Exception):
    """It is as you want it already."""


class SubscriptionBusy(Exception):
    """A worker is in the middle of a batch of it; try again in a moment."""


class RangesApart(Exception):
    """The ranges stand at different positions, and some have events to handle in between; let them catch up first."""


class ReasonMissing(ValueError):
    """Say why, in a few words."""


class DiscardFailed(Exception):
    """What is parked could not be given up, and nothing was changed."""


class _Range(NamedTuple):
    """One range of a subscription's buckets."""

    id: int
    follows: str
    bucket_low: int
    bucket_high: int
    position: int
    projection_version: int | None
    status: str
    paused_by: str
    paused_reason: str
    careful_until: int | None
    careful_entries: int


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of retrying some keys."""

    freed: int
    still_parked: int
    busy: int  # somebody else was at them, or they were gone
    begun: int  # of which some was handled and there was no time for the rest, which follows by itself
    left: int  # for which there was no time


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of keys that the dispatchers were asked to retry."""

    freed: int
    still_parked: int  # they were tried, and are not free
    left: int  # they will be tried within seconds
    paused: int  # they will be tried once their subscription is resumed
    foreign: int  # this program has no such subscription, or its tables are of another version
    busy: int  # somebody was at them already, or they were gone


def pause(subscription_id: str, *, actor: str, reason: str, os_user: str = "", using: str = "default") -> int:
    """Stops every checkpoint of the subscription until it is resumed; answers with how many it stopped.

    Raises `NoSuchSubscription`, `NothingToDo`, `SubscriptionBusy`, `ReasonMissing`.
    """
    why = clean_reason(reason)
    with _operating(using) as cursor:
        ids = _lock_checkpoints(cursor, subscription_id, status="running")
        cursor.execute(_PAUSE, [actor, why, ids])
        _record(cursor, actor, "pause", subscription_id, {"reason": why, "checkpoints": len(ids)}, os_user=os_user)
    return len(ids)


def resume(subscription_id: str, *, actor: str, reason: str, os_user: str = "", using: str = "default") -> int:
    """Lets the subscription's paused checkpoints go on where they stood; answers with how many.

    Raises `NoSuchSubscription`, `NothingToDo`, `SubscriptionBusy`, `ReasonMissing`.
    """
    why = clean_reason(reason)
    with _operating(using) as cursor:
        ids = _lock_checkpoints(cursor, subscription_id, status="paused")
        cursor.execute(_RESUME, [ids])
        _record(cursor, actor, "resume", subscription_id, {"reason": why, "checkpoints": len(ids)}, os_user=os_user)
        wake_on_commit(using)
    return len(ids)


def split(
    subscription_id: str, *, into: int, actor: str, reason: str, os_user: str = "", using: str = "default"
) -> int:
    """Has the subscription handled in so many ranges of buckets from now on; answers with how many there were.

    More ranges let more workers advance it, fewer mean larger batches. Only where all stand at one position: an event
    would be handled twice, or never, otherwise. A range that has nothing to handle up to where the others stand counts
    as standing there. Raises `RangesApart`, `NoSuchSubscription`, `NothingToDo`, `SubscriptionBusy`, `ReasonMissing`,
    and ValueError when `into` is not between 1 and 256.
    """
    why, wanted = clean_reason(reason), split_evenly(into)
    with _operating(using) as cursor:
        found = _lock_ranges(cursor, subscription_id)
        if [(part.bucket_low, part.bucket_high) for part in found] == wanted:
            raise NothingToDo(f"nothing to split: {subscription_id} is handled in {_ranges(into)} already")
        position = _common_position(cursor, found)
        first = found[0]
        careful_until = max(part.careful_until or 0 for part in found) or None
        careful_entries = min((part.careful_entries for part in found if part.careful_until), default=1)
        cursor.execute(_DELETE_RANGES, [[part.id for part in found]])
        for low, high in wanted:
            state = [first.projection_version, first.status, first.paused_by, first.paused_reason]
            careful = [careful_until, careful_entries]
            cursor.execute(_INSERT_RANGE, [subscription_id, first.follows, low, high, position, *state, *careful])
        detail = {"reason": why, "from": len(found), "into": into, "position": position}
        _record(cursor, actor, "split", subscription_id, detail, os_user=os_user)
        wake_on_commit(using)
    return len(found)


def retry(
    parked_key_id: int,
    *,
    actor: str,
    reason: str,
    os_user: str = "",
    store: EventStore,
    budget_seconds: float | None = None,
) -> parking.Retry:
    """Handles what is behind the key now, in the log's order, until something fails or the time is up.

    It is recorded first, in a transaction of its own: the handler may kill the process. Raises `parking.NotParked`,
    `NoSuchSubscription`, `RebuildNeeded`.
    """
    why = clean_reason(reason)
    subscription_id, key = _find_key(parked_key_id, using=store.using)
    subscription = store.subscriptions.get(subscription_id)
    if subscription is None:
        raise NoSuchSubscription(f"this program has no subscription {subscription_id!r}")
    _require_current(subscription, using=store.using)
    with _operating(store.using) as cursor:
        _record(cursor, actor, "retry", subscription_id, {"key": str(key), "reason": why}, os_user=os_user)
    return parking.retry(parked_key_id, subscription, store=store, budget_seconds=budget_seconds)


def retry_many(
    parked_key_ids: Sequence[int],
    *,
    actor: str,
    reason: str,
    os_user: str = "",
    store: EventStore,
    budget_seconds: float,
) -> Retried:
    """Retries one key after the other until the time is up; what it has no time for stays as it is."""
    deadline = time.monotonic() + budget_seconds
    freed = still_parked = busy = begun = 0
    tried = 0
    for parked_key_id in parked_key_ids:
        if time.monotonic() >= deadline:
            break
        tried += 1
        try:
            seconds = deadline - time.monotonic()
            outcome = retry(
                parked_key_id, actor=actor, reason=reason, os_user=os_user, store=store, budget_seconds=seconds
            )
        except parking.NotParked:  # a worker was faster
            outcome = parking.Retry.BUSY
        except NoSuchSubscription:  # of another program, which alone can handle it
            outcome = parking.Retry.STILL_PARKED
        freed += outcome is parking.Retry.FREED
        still_parked += outcome is parking.Retry.STILL_PARKED
        busy += outcome is parking.Retry.BUSY
        begun += outcome is parking.Retry.GOES_ON
    left = len(parked_key_ids) - tried
    return Retried(freed=freed, still_parked=still_parked, busy=busy, begun=begun, left=left)


def ask_to_retry(
    parked_key_ids: Sequence[int],
    *,
    actor: str,
    reason: str,
    os_user: str = "",
    store: EventStore,
    wait_seconds: float,
) -> Asked:
    """Has the dispatchers retry the keys at once, and waits so long at most to tell what came of it.

    For a process that must live on: what is parked may have killed the one that handled it, or hang, and dispatchers
    are made for that. The wait is one of short reads, without a transaction. Raises `ReasonMissing`.
    """
    why = clean_reason(reason)
    found = _find_keys(parked_key_ids, using=store.using)
    handled = {id for id in {subscription_id for _, subscription_id, _ in found} if _can_handle(store, id)}
    mine = [id for id, subscription_id, _ in found if subscription_id in handled]
    with _operating(store.using) as cursor:
        cursor.execute(_MAKE_DUE, [mine])
        attempts: dict[int, int] = {}
        for id, subscription_id, key, tried in cursor.fetchall():
            attempts[id] = tried
            detail = {"key": str(key), "reason": why}
            _record(cursor, actor, "retry", subscription_id, detail, os_user=os_user)
        wake_on_commit(store.using)
    paused = [id for id, _, is_paused in found if is_paused and attempts.pop(id, None) is not None]
    still_parked, left = _await_attempts(attempts, seconds=wait_seconds, using=store.using)
    foreign = len(found) - len(mine)
    return Asked(
        freed=len(attempts) - still_parked - left,
        still_parked=still_parked,
        left=left,
        paused=len(paused),
        foreign=foreign,
        busy=len(parked_key_ids) - len(attempts) - len(paused) - foreign,
    )


def discard(parked_key_id: int, *, actor: str, reason: str, os_user: str = "", store: EventStore) -> int:
    """Gives up the first event behind the key and ends its story soundly; answers with its position.

    Raises `NoSuchSubscription`, `ReasonMissing`, `parking.NotParked`, `parking.NotDiscardable`, and `DiscardFailed`
    when the event cannot be read, its ending is refused or others were faster. Then nothing has changed.
    """
    why = clean_reason(reason)
    subscription_id, _ = _find_key(parked_key_id, using=store.using)
    subscription = store.subscriptions.get(subscription_id)
    if subscription is None:
        raise NoSuchSubscription(f"this program has no subscription {subscription_id!r}")
    try:
        return parking.discard(parked_key_id, subscription, actor=actor, reason=why, os_user=os_user, store=store)
    except (parking.NotParked, parking.NotDiscardable):
        raise
    except Exception as error:
        # Whatever reading the event, its ending or the stream's decider raise is what stands in the way. A refusal
        # of the database's own, that others cannot mend by waiting, is a mistake of the program.
        if isinstance(error, DatabaseError) and not is_passing(error):
            raise
        raise DiscardFailed(parking.describe(error)) from error


def record_unsealing(
    *,
    actor: str,
    action: str,
    what: str,
    reason: str,
    key: UUID | None = None,
    os_user: str = "",
    using: str = "default",
) -> None:
    """Records that somebody is about to be shown personal fields, whose and why; `key` is the id in `what`, if any.

    Raises `ReasonMissing`.
    """
    detail = {"action": action, "what": what, "reason": clean_reason(reason)}
    if key is not None:
        detail["key"] = str(key)
    with _operating(using) as cursor:
        _record(cursor, actor, "unseal", "", detail, os_user=os_user)


def record(*, actor: str, action: str, detail: Mapping[str, Any], os_user: str = "", using: str = "default") -> None:
    """Records what an operator did beside the store, such as to who may sign in, in the caller's transaction."""
    with connections[using].cursor() as cursor:
        _record(cursor, actor, action, "", detail, os_user=os_user)


def clean_reason(text: str) -> str:
    """The reason on one line, as it is recorded. Raises `ReasonMissing`."""
    reason = " ".join(text.split())
    if not has_visible(reason) or len(reason) > MAX_REASON_LENGTH:
        raise ReasonMissing(f"say why, in at most {MAX_REASON_LENGTH} characters")
    if has_unprintable(reason):
        raise ReasonMissing("say why in characters that can be printed")
    return reason


def _require_current(subscription: Subscription, *, using: str) -> None:
    """Raises `RebuildNeeded` when a projection's tables are not those of this version of the program."""
    if not isinstance(subscription, Projection):
        return
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_OUTDATED, [subscription.id, subscription.version])
        if cursor.fetchone() is not None:
            raise RebuildNeeded(f"the tables of {subscription.id} are of another version: manage.py replay_projections")


@contextmanager
def _operating(using: str) -> Iterator[CursorWrapper]:
    """One transaction, which waits for a worker only as long as a command does."""
    try:
        with transaction.atomic(using=using, durable=True), connections[using].cursor() as cursor:
            cursor.execute(_BOUND_WAIT, [f"{store_settings().LOCK_TIMEOUT_MS}ms"])
            yield cursor
    except OperationalError as error:
        if is_lock_timeout(error):
            raise SubscriptionBusy("a worker is in the middle of a batch; try again") from error
        raise


def _lock_checkpoints(cursor: CursorWrapper, subscription_id: str, *, status: str) -> list[int]:
    """The ids of the subscription's checkpoints of that status, all of them locked."""
    found = _lock(cursor, _LOCK_CHECKPOINTS, subscription_id)
    ids = [id for id, current in found if current == status]
    if not ids:
        raise NothingToDo(f"no checkpoint of {subscription_id} is {status}")
    return ids


def _lock_ranges(cursor: CursorWrapper, subscription_id: str) -> list[_Range]:
    """The subscription's ranges, all of them locked and in the same status."""
    found = [_Range(*row) for row in _lock(cursor, _LOCK_RANGES, subscription_id)]
    if len({(part.status, part.projection_version) for part in found}) > 1:
        raise RangesApart(f"some ranges of {subscription_id} are paused and some are not: pause or resume it first")
    return found


def _lock(cursor: CursorWrapper, statement: str, subscription_id: str) -> list[Any]:
    """What the statement locks of the subscription. Raises `NoSuchSubscription`.

    Where that is nothing, it looks once more: what it has waited for may have been a split, which puts others in the
    place of the checkpoints, and those no statement sees that began before.
    """
    for _ in range(2):
        cursor.execute(statement, [subscription_id])
        found: list[Any] = cursor.fetchall()
        if found:
            return found
    raise NoSuchSubscription(f"there is no subscription {subscription_id!r}")


def _common_position(cursor: CursorWrapper, ranges: Sequence[_Range]) -> int:
    """The position of the foremost, which the others have nothing to handle up to. Raises `RangesApart`."""
    position = max(part.position for part in ranges)
    for part in ranges:
        cursor.execute(_HAS_WORK, [part.position, position, part.follows, part.bucket_low, part.bucket_high])
        if cursor.fetchone()[0]:
            raise RangesApart(
                f"the range {part.bucket_low}-{part.bucket_high} stands at {part.position} and has events to handle"
                f" before {position}, where another stands: let it catch up first"
            )
    return position


def _find_key(parked_key_id: int, *, using: str) -> tuple[str, UUID]:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_KEY, [parked_key_id])
        found = cursor.fetchone()
    if found is None:
        raise parking.NotParked("the key is not parked any more")
    return found[0], found[1]


def _find_keys(parked_key_ids: Sequence[int], *, using: str) -> list[tuple[int, str, bool]]:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_KEYS, [list(parked_key_ids)])
        return list(cursor.fetchall())


def _can_handle(store: EventStore, subscription_id: str) -> bool:
    """Whether dispatchers of this program would try what the subscription has parked."""
    subscription = store.subscriptions.get(subscription_id)
    if subscription is None:
        return False
    try:
        _require_current(subscription, using=store.using)
    except RebuildNeeded:
        return False
    return True


def _await_attempts(attempts: Mapping[int, int], *, seconds: float, using: str) -> tuple[int, int]:
    """How many of the keys were tried and are parked still, and how many nobody has tried in so much time.

    By how often they had been tried: who tries counts first, so that a key that was may become free a moment later.
    """
    deadline = time.monotonic() + seconds
    tried_since: dict[int, float] = {}
    while True:
        now = time.monotonic()
        parked = _select_attempts(attempts, using=using)
        tried = {id for id, count in parked.items() if count > attempts[id]}
        tried_since = {id: tried_since.get(id, now) for id in tried}  # not what was put off: that is tried again
        if now >= deadline or all(now - tried_since.get(id, now) >= SETTLED_SECONDS for id in parked):
            return len(tried), len(parked) - len(tried)
        time.sleep(LOOK_SECONDS)


def _select_attempts(parked_key_ids: Iterable[int], *, using: str) -> dict[int, int]:
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_ATTEMPTS, [list(parked_key_ids)])
        return dict(cursor.fetchall())


def _record(
    cursor: CursorWrapper,
    actor: str,
    action: str,
    subscription_id: str,
    detail: Mapping[str, Any],
    *,
    os_user: str = "",
) -> None:
    beside = {OS_USER: os_user} if os_user else {}
    cursor.execute(_RECORD, [actor, action, subscription_id, json.dumps({**detail, **beside})])


def _ranges(count: int) -> str:
    return "1 range" if count == 1 else f"{count} ranges"
