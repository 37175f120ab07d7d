"""The faults, each a class with a name: what it does to a running Daybook, and what must be true while it lasts.

A fault draws its strength and its moment from its own seeded random, so that a plan repeats. It ends with the product
mended (or mending itself): recovery is measured from there. Imported by the fault tests and the soak.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from random import Random
from typing import ClassVar, Final, NamedTuple
from uuid import uuid4

import psutil

from config.processes import wait_until
from tests.faults.inside.apps import SAGA
from tests.faults.product import WORKER_PROCESSES, Hung, Product, children
from tests.faults.proxies import CommitFault, WakeupFault
from tests.faults.tail import POLL_SECONDS

PARKED_SECONDS: Final = 60.0
"""How long it may take until what fails is parked, on a busy machine: what dies alone does so five times first."""
MOST_HANGING_SECONDS: Final = 30.0
"""How long others may wait, at most, while handlers hang for good."""
MOST_DELAYED_SECONDS: Final = 30.0
"""How long a transfer may take, at most, while no wake-up arrives, or Redis is away."""
MOST_SILENT_SECONDS: Final = 60.0
"""How long a process may wait for a server that is gone or says nothing: it is to find out within half a minute."""
NEWER_NAME: Final = "NewerThing"
"""What events are called that only a newer version knows; they are numbered."""
KINDS: Final[dict[str, type[Fault]]] = {}


class Fault(ABC):
    """Something that goes wrong under load."""

    name: ClassVar[str]
    least_seconds: ClassVar[float] = 2.0
    most_seconds: ClassVar[float] = 8.0

    def __init_subclass__(cls) -> None:
        """Every fault with a name can be planned."""
        if "name" in vars(cls):
            KINDS[cls.name] = cls

    def __init__(self, *, product: Product, seed: int) -> None:
        self.product = product
        self.random = Random(seed)
        self.seconds = self.random.uniform(self.least_seconds, self.most_seconds)
        self.bystander_seconds: float | None = None  # how long another had to wait while it lasted, if that was tried
        self.over: float | None = None  # since when the product can recover, where that is before `strike` returns
        self.killed: dict[tuple[str, ...], int] = {}  # parts that were killed, each with its process

    @abstractmethod
    def strike(self) -> None:
        """Does it; returns when the fault is over."""

    def kill(self, *words: str) -> None:
        """SIGKILL to a part of the product, which is to come back."""
        self.killed[words] = self.product.kill(*words)

    def check_returned(self) -> None:
        """Every part that was killed is there again."""
        for words, pid in self.killed.items():
            self.product.wait_for_part(*words, instead_of=pid)

    def go_on(self) -> None:
        """Has a transfer come to its end while the fault lasts, and lets the load run until its time is over."""
        took = self.pass_one(seconds=MOST_DELAYED_SECONDS)
        self.last(max(0.0, self.seconds - took))

    def pass_one(self, *, seconds: float) -> float:
        """Has a transfer come to its end in so many seconds, whatever lasts; answers with those that it took."""
        began = time.monotonic()
        accounts = self.product.town.by_currency["EUR"]
        with self.product.pausing:
            bystander = self.product.probe((accounts[1], accounts[2]))
            passed = self.product.tail.wait_until_final({bystander}, seconds=seconds)
        assert passed, f"{bystander} waits for the end of {self.name}\n{self.product.describe()}"
        self.bystander_seconds = time.monotonic() - began
        return self.bystander_seconds

    def last(self, seconds: float | None = None) -> None:
        """Lets the load run under the fault, until its time is over."""
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        wait_until(lambda: time.monotonic() > deadline, timeout_seconds=120.0, poll_seconds=POLL_SECONDS)

    def wait_for_work(self) -> None:
        """Waits until some transfer is on its way, so that the fault meets one."""
        self.product.wait(lambda: bool(self.product.tail.open), "a transfer is on its way", seconds=60.0)


# --- Processes ------------------------------------------------------------------------------------------------------


class WorkerChildKilled(Fault):
    """SIGKILL to a process that does the work, a few times."""

    name = "worker child killed"

    def strike(self) -> None:
        """Kills."""
        for _ in range(self.random.randint(1, 4)):
            self.wait_for_work()
            self.product.kill_worker_child()


class WorkerParentKilled(Fault):
    """SIGKILL to the worker's parent."""

    name = "worker parent killed"

    def strike(self) -> None:
        """Kills."""
        self.wait_for_work()
        self.kill("config.celery", "worker")


class BeatKilled(Fault):
    """SIGKILL to the clock."""

    name = "beat killed"

    def strike(self) -> None:
        """Kills."""
        self.kill("config.celery", "beat")


class WebKilled(Fault):
    """SIGKILL to the web server: to its parent, or to the process that answers."""

    name = "web killed"

    def strike(self) -> None:
        """Kills."""
        web = self.product.wait_for_part("granian")
        below = children(web)
        victim = self.random.choice([web, *below])
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            web.kill()


class UpKilled(Fault):
    """SIGKILL to `up` itself; then it is started again."""

    name = "up killed"

    def strike(self) -> None:
        """Kills and starts."""
        self.wait_for_work()
        self.product.kill_up()
        self.over = time.monotonic()
        self.product.start()


# --- Redis ----------------------------------------------------------------------------------------------------------


class RedisKilled(Fault):
    """SIGKILL to Redis: everything in it is gone."""

    name = "Redis killed"

    def strike(self) -> None:
        """Kills."""
        self.kill("redis-server")


class RedisFrozen(Fault):
    """Redis takes connections and says nothing."""

    name = "Redis frozen"

    def strike(self) -> None:
        """Freezes, and thaws."""
        with self.product.frozen("redis-server"):
            self.go_on()


class RedisFlushed(Fault):
    """FLUSHALL, a few times: queued wake-ups and marks are gone."""

    name = "Redis flushed"

    def strike(self) -> None:
        """Flushes, until something was lost by it."""
        lost, times = 0, self.random.randint(1, 10)
        with self.product.redis_client() as client:
            while times > 0 or not lost:
                lost += int(client.dbsize())
                client.flushall()
                times -= 1
                self.last(self.random.uniform(0, 0.3))


class RedisSlow(Fault):
    """Every command of Redis takes so much longer: sometimes more than clients wait."""

    name = "Redis slow"

    def strike(self) -> None:
        """Delays."""
        with self.product.proxies.slow_redis(self.random.choice([0.05, 0.2, 0.45, 0.7])):
            self.go_on()


class WakeupsLost(Fault):
    """Wake-ups are acknowledged to who sent them, and never arrive."""

    name = "wake-ups lost"
    how: ClassVar[str] = "lost"
    least = 3  # of them

    def strike(self) -> None:
        """Does that to most of them."""
        done, before = self.product.proxies.redis.done, self.product.proxies.redis.done[f"wake-ups {self.how}"]
        with self.product.proxies.wakeups(WakeupFault(how=self.how, share=self.random.choice([0.5, 0.9, 1.0]))):
            self.go_on()
            self.product.wait(
                lambda: done[f"wake-ups {self.how}"] >= before + self.least, f"wake-ups were {self.how}", seconds=60.0
            )


class WakeupsDoubled(WakeupsLost):
    """Wake-ups arrive twice."""

    name = "wake-ups doubled"
    how = "doubled"


class WakeupsReordered(WakeupsLost):
    """Wake-ups overtake those before them."""

    name = "wake-ups reordered"
    how = "reordered"


# --- Postgres -------------------------------------------------------------------------------------------------------


class BackendsTerminated(Fault):
    """pg_terminate_backend to backends of the product, again and again."""

    name = "backends terminated"

    def strike(self) -> None:
        """Terminates."""
        cut = 0
        for _ in range(self.random.randint(2, 8)):
            self.wait_for_work()
            cut += self.product.cut_connections(most=self.random.choice([1, 2, 5, 100]))
        assert cut, "no backend was there to be terminated"


class PostmasterKilled(Fault):
    """SIGKILL to the database server; the supervisor starts it again, and it recovers from its log."""

    name = "postmaster killed"

    def strike(self) -> None:
        """Kills."""
        self.wait_for_work()
        self.kill("postgres")


class WebCommitUnanswered(Fault):
    """The connection breaks after the database has committed, and before the web server knows; or just before."""

    name = "web: commit unanswered"
    role: ClassVar[str] = "web"
    hows: ClassVar[tuple[str, ...]] = ("unanswered", "unsent")

    def strike(self) -> None:
        """Cuts, of each kind some."""
        for how in self.hows:
            fault = CommitFault(role=self.role, how=how, share=self.random.choice([0.1, 0.3, 0.6]))
            before = self.product.proxies.postgres.done[f"commits {how}"]
            with self.product.proxies.commits(fault):
                self.last(self.seconds / 2)
                self.product.wait(
                    lambda: self.product.proxies.postgres.done[f"commits {how}"] > before,  # noqa: B023
                    f"a commit of {self.role} was {how}",
                    seconds=30.0,
                )


class WorkerCommitUnanswered(WebCommitUnanswered):
    """The same for workers: sequencer, sagas, projections."""

    name = "worker: commit unanswered"
    role = "worker"


class WebCommitLate(Fault):
    """The answer to a commit comes late: sometimes later than the client waits, or after the lock's time."""

    name = "web: commit late"
    role: ClassVar[str] = "web"

    def strike(self) -> None:
        """Holds answers back."""
        seconds, share = self.random.choice([(0.1, 1.0), (1.0, 0.5), (3.0, 0.3), (12.0, 0.1)])
        before = self.product.proxies.postgres.done["commits late"]
        with self.product.proxies.commits(CommitFault(role=self.role, how="late", share=share, seconds=seconds)):
            self.last()
            self.product.wait(
                lambda: self.product.proxies.postgres.done["commits late"] > before,
                f"a commit of {self.role} was late",
                seconds=60.0,
            )


class WorkerCommitLate(WebCommitLate):
    """The same for workers."""

    name = "worker: commit late"
    role = "worker"


class WebCommitSilent(Fault):
    """The database has committed, and then the network is gone: no answer comes, and nobody ends the connection."""

    name = "web: commit silent"
    role: ClassVar[str] = "web"
    how: ClassVar[str] = "silent"

    def strike(self) -> None:
        """Silences a few connections; others go by, and whoever waits for an answer gives up by itself."""
        proxy = self.product.proxies.postgres
        most = self.random.randint(1, 3)
        fault = CommitFault(role=self.role, how=self.how, share=self.random.choice([0.1, 0.3]), most=most)
        before = proxy.done[f"commits {self.how}"]
        working = self._processes()
        try:
            with self.product.proxies.commits(fault):
                self.product.wait(
                    lambda: proxy.done[f"commits {self.how}"] >= before + most,
                    f"{most} commits of {self.role} were {self.how}",
                    seconds=60.0,
                )
            self.pass_one(seconds=MOST_SILENT_SECONDS)
            self.product.wait(
                lambda: not proxy.waiting(), f"every process of {self.role} has given up", seconds=MOST_SILENT_SECONDS
            )
            assert self._processes() == working, "a process was ended instead of giving up by itself"
        finally:
            proxy.forget_silent()

    def _processes(self) -> set[int]:
        part = self.product.worker() if self.role == "worker" else self.product.wait_for_part("granian")
        return {child.pid for child in children(part)}


class WorkerCommitSilent(WebCommitSilent):
    """The same for workers."""

    name = "worker: commit silent"
    role = "worker"


class WebCommitMute(WebCommitSilent):
    """The database has committed, and says nothing any more, as behind a pooler that hangs: probes are answered."""

    name = "web: commit mute"
    how = "mute"


class WorkerCommitMute(WebCommitSilent):
    """The same for workers."""

    name = "worker: commit mute"
    role = "worker"
    how = "mute"


class ClockSetBack(Fault):
    """The database's clock goes ahead for a while, and is then set back: what was recorded lies in the future."""

    name = "clock set back"

    def strike(self) -> None:
        """Sets the clock ahead, has the product work, and sets it back; meanwhile nobody looks how old things are."""
        with self.product.dating:
            self._set_ahead_and_back()

    def _set_ahead_and_back(self) -> None:
        self.product.set_clock(ahead_seconds=self.random.choice([15, 90, 3_600]))
        try:
            self.last(self.seconds / 2)
            self.product.wait(self._has_recorded_ahead, "an event is recorded ahead of time", seconds=60.0)
            for _ in range(30):  # what is held now is held until a moment that lies in the future
                self.wait_for_work()
                self.product.cut_connections(most=100)
                if wait_until(self._is_held_ahead, timeout_seconds=1.0):
                    break
            else:
                raise Hung(f"nothing is held ahead of time\n{self.product.describe()}")
        finally:
            self.product.set_clock(ahead_seconds=0)

    def _is_held_ahead(self) -> bool:
        statement = """
        SELECT EXISTS (SELECT FROM eventstore_checkpoint
                       WHERE held_until > pg_catalog.clock_timestamp() + interval '10 seconds')
        """
        return bool(self.product.rows(statement)[0][0])

    def _has_recorded_ahead(self) -> bool:
        """Whether the latest event lies in the future of the machine's clock."""
        statement = """
        SELECT recorded_at > pg_catalog.clock_timestamp() + interval '5 seconds'
        FROM eventstore_event ORDER BY id DESC LIMIT 1
        """
        return bool(self.product.rows(statement)[0][0])


# --- Workers --------------------------------------------------------------------------------------------------------


class TwoSequencers(Fault):
    """Two loops of `manage.py dispatch` beside the workers; one is asked to stop, one is killed."""

    name = "two sequencers"

    def strike(self) -> None:
        """Runs them."""
        beside: list[subprocess.Popen[str]] = [self.product.spawn("dispatch") for _ in range(2)]
        try:
            for process in beside:
                assert process.stdout is not None
                said = process.stdout.readline()
                assert "Dispatching" in said, (said, process.poll())
            self.last()
            for process in beside:
                assert process.poll() is None, process.communicate()
            beside[0].send_signal(signal.SIGTERM)
            beside[1].kill()
            output, errors = beside[0].communicate(timeout=90.0)
            assert beside[0].returncode == 0, output + errors
        finally:
            for process in beside:
                process.kill()
                process.communicate()


class Poison(NamedTuple):
    """Where a transfer is poisoned, and which way it has to go to come there."""

    event_type: str
    by: str = SAGA  # or the projection
    from_closed: bool = False  # the payer is closed: the debit is rejected
    to_closed: bool = False  # the payee is: the credit is rejected, and the debit refunded
    amount: str = "0.01"


POISONS: Final = (
    Poison("MoneyTransferCreated"),
    Poison("AccountDebited"),
    Poison("DebitRecorded"),
    Poison("AccountCredited"),
    Poison("AccountDebitFailedDueToInsufficientFunds", amount="9000000.00"),
    Poison("AccountDebitRejected", from_closed=True),
    Poison("AccountCreditRejected", to_closed=True),
    Poison("CreditRejectionRecorded", to_closed=True),
    Poison("AccountDebitRefunded", to_closed=True),
    Poison("MoneyTransferCreated", by="views.transfers"),
    Poison("DebitRecorded", by="views.transfers"),
    Poison("CreditRejectionRecorded", by="views.transfers", to_closed=True),
)
"""Every event of the saga that something is done about, and some that are shown."""


class PoisonedHandler(Fault):
    """A handler that does something bad to one transfer, and to no other."""

    does: ClassVar[str]
    parks: ClassVar[bool] = False
    poisons: ClassVar[tuple[Poison, ...]] = POISONS

    def strike(self) -> None:
        """Poisons a transfer; checks that it is met, and parked if it should be, and that another goes by."""
        poison = self.random.choice(self.poisons)
        accounts = self.accounts()
        name, transfer_id = self.poison(poison, accounts)
        try:
            self.product.wait(lambda: self.met(name) > 0, f"{self.does}: {poison} is met", seconds=PARKED_SECONDS)
            if self.parks:
                self.wait_until_parked(transfer_id, poison)
                self.pass_by([accounts[:2]], transfer_id, poison, seconds=PARKED_SECONDS)
                self.last()
            else:
                self.stay(poison, accounts, transfer_id)
        finally:
            self.mend(name)

    def stay(self, poison: Poison, accounts: list[str], transfer_id: str) -> None:
        """What happens between the meeting and the antidote."""

    def poison(self, poison: Poison, accounts: list[str]) -> tuple[str, str]:
        """Has a transfer on its way that meets it; answers with the name of the poison and the transfer's id."""
        closed = self.product.closed_account() if poison.from_closed or poison.to_closed else ""
        payer = closed if poison.from_closed else accounts[0]
        payee = closed if poison.to_closed else accounts[1]
        name = f"poison-{uuid4()}"
        self.write(name, poison, does=self.does)
        return name, self.product.probe((payer, payee), amount=poison.amount, description=name)

    def write(self, name: str, poison: Poison, *, does: str) -> None:
        """What it does, from now on."""
        told = {"does": does, "event_type": poison.event_type, "by": poison.by}
        temporary = self.product.control / f"{name}.new"
        temporary.write_text(json.dumps(told), encoding="utf-8")
        temporary.rename(self.product.control / name)

    def mend(self, name: str) -> None:
        """From now on the handler does what it should."""
        (self.product.control / name).unlink(missing_ok=True)

    def met(self, name: str) -> int:
        """How often a handler has met it."""
        trace = self.product.control / f"{name}.met"
        return len(trace.read_text(encoding="ascii").split()) if trace.exists() else 0

    def pass_by(self, pairs: list[list[str]], transfer_id: str, poison: Poison, *, seconds: float) -> float:
        """Has a transfer between each pair of accounts come to its end, be shown, and the poisoned one not.

        Answers with the seconds that took.
        """
        with self.product.pausing:
            return self._pass_by(pairs, transfer_id, poison, seconds=seconds)

    def _pass_by(self, pairs: list[list[str]], transfer_id: str, poison: Poison, *, seconds: float) -> float:
        began = time.monotonic()
        bystanders = {self.product.probe((payer, payee)) for payer, payee in pairs}
        passed = self.product.tail.wait_until_final(bystanders, seconds=seconds)
        assert passed, f"{bystanders} wait for {transfer_id}, {self.does} at {poison}\n{self.product.describe()}"
        left = seconds - (time.monotonic() - began)
        self.product.wait(
            lambda: self.product.shown(bystanders) == len(bystanders),
            f"{bystanders} are shown beside {transfer_id}, {self.does} at {poison}",
            seconds=max(left, 1.0),
        )
        took = time.monotonic() - began
        if poison.by == SAGA:
            assert transfer_id not in self.product.tail.states
        return took

    def accounts(self) -> list[str]:
        """Four that are not frozen, those that have money first, and of those the hot one."""
        with self.product.client() as client:
            plain = self.product.town.by_currency["EUR"][:6]
            rich = [id for id in plain if client.get(f"accounts/{id}")["balance"] not in ("0.00", "0.01")]
        return [*rich, *(id for id in plain if id not in rich)][:4]

    def wait_until_parked(self, transfer_id: str, poison: Poison) -> None:
        """Until the transfer is out of the way of the others."""
        statement = "SELECT FROM eventstore_parked_key WHERE key = %s AND attempts > 0"
        self.product.wait(
            lambda: bool(self.product.rows(statement, [transfer_id])),
            f"{self.does}: {poison} is parked",
            seconds=PARKED_SECONDS,
        )


class HandlerFailsOnce(PoisonedHandler):
    """It raises at the first try."""

    name = "handler fails once"
    does = "fails once"


class HandlerFailsAlways(PoisonedHandler):
    """It raises at every try: the transfer is parked, others go by, and it goes on once it is mended."""

    name = "handler fails always"
    does = "fails"
    parks = True


class HandlerKillsItsProcess(PoisonedHandler):
    """It ends its process at every try."""

    name = "handler kills its process"
    does = "dies"
    parks = True


class HandlerHangs(PoisonedHandler):
    """It never comes back, at any try; others go by meanwhile, on the same accounts and on others."""

    name = "handler hangs"
    does = "hangs"

    def strike(self) -> None:
        """Nobody pauses anything from its beginning on, so that the others' time is counted from there."""
        with self.product.pausing:
            super().strike()

    def stay(self, poison: Poison, accounts: list[str], transfer_id: str) -> None:
        """Others go by while it hangs; it is mended no sooner."""
        pairs = [accounts[:2], accounts[2:]]
        self.bystander_seconds = self.pass_by(pairs, transfer_id, poison, seconds=MOST_HANGING_SECONDS)
        self.last()


class HandlersHang(PoisonedHandler):
    """Several transfers are parked, and from then on each retry of one hangs; others go by all the same."""

    name = "several handlers hang"
    does = "fails"
    several: ClassVar[int] = 4

    def strike(self) -> None:
        """Parks them, has their retries hang, and sees that others go by. Nobody pauses anything meanwhile."""
        with self.product.pausing:
            self._hang()

    def _hang(self) -> None:
        accounts = self.accounts()
        chosen = [self.random.choice(self.poisons) for _ in range(self.several)]
        poisoned = [(*self.poison(poison, accounts), poison) for poison in chosen]
        try:
            for _, transfer_id, poison in poisoned:
                self.wait_until_parked(transfer_id, poison)
            before = {name: self.met(name) for name, _, _ in poisoned}
            for name, _, poison in poisoned:
                self.write(name, poison, does="hangs")
            self.product.wait(
                lambda: sum(self.met(name) > before[name] for name in before) >= WORKER_PROCESSES,
                "as many retries hang as there are processes that do the work",
                seconds=2 * PARKED_SECONDS,
            )
            _, transfer_id, poison = poisoned[0]
            pairs = [accounts[:2], accounts[2:]]
            self.bystander_seconds = self.pass_by(pairs, transfer_id, poison, seconds=MOST_HANGING_SECONDS)
            self.last()
        finally:
            for name, _, _ in poisoned:
                self.mend(name)


class UnknownEvent(Fault):
    """A newer version of the program appends an event that this one does not know; then the newer version arrives."""

    name = "unknown event"

    def strike(self) -> None:
        """Appends, sees that it is held for, and brings the newer version."""
        released = self.product.control / "released"
        known = released.read_text(encoding="utf-8") if released.exists() else ""
        name = f"{NEWER_NAME}{len(known.split()) + 1}"
        self.product.manage("append_newer", name, FAULTS_KNOWS=name)
        try:
            self.product.wait(lambda: self._is_held_for(name), f"somebody is held for {name}", seconds=60.0)
            self.last()
        finally:
            temporary = released.with_suffix(".new")
            temporary.write_text(f"{known}{name}\n", encoding="utf-8")
            temporary.rename(released)
        self.over = time.monotonic()
        worker = self.product.worker()
        worker.send_signal(signal.SIGTERM)  # as a rolling upgrade ends the old version
        worker.wait(120.0)

    def _is_held_for(self, name: str) -> bool:
        statement = "SELECT FROM eventstore_checkpoint WHERE held_reason LIKE %s"
        return bool(self.product.rows(statement, [f"%{name}%"]))
