"""The outbox against what an operator fears: kill -9 at each of its steps, the store or a receiver away, a full disk.

Each gateway is a process with the product's own parts, on a private Valkey that answers only what is on disk, as
`tessera up` runs it; the event log is a real gRPC service, the receiver a real HTTP server that checks each message
with the receiver library. A notification is lost when it neither came nor lies among the dead letters at the end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path

from prometheus_client import CollectorRegistry

from benchmarks.alerts.house import SECRET, EventLog, Receiver, running_log, running_receiver
from benchmarks.alerts.killed_gateway import IN_DELIVER, STEPS, run_gateway
from benchmarks.figures import Figure
from benchmarks.gallery.store_server import valkey_binary
from benchmarks.parts import Context
from gateway_svc.happenings import Happening, Kind
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.networks import Allowed, parse_networks
from gateway_svc.notifications import Notification
from gateway_svc.redis_outbox import RedisOutbox
from gateway_svc.sending import Backoff, Sender
from gateway_svc.targets import Late, Target, Webhook
from gateway_svc.webhook import WebhookDeliverer
from tessera.chassis.clock import ManualClock
from tessera.chassis.logs import configure_logs
from tessera.chassis.ports import free_port
from tessera.chassis.settings import Secret
from tessera.chassis.tasks import end_tasks
from tessera.client.webhooks import WebhookReceiver
from tessera.domain.errors import UnavailableError

KILLS = 100
LANES = 4
_LIMIT_S = 120.0
# A gateway that failed ends with 1. The second is what multiprocessing tells when the start of another lane's gateway,
# which looks after every child, was the first to ask.
_KILLED = (-signal.SIGKILL, 255)
_OUTAGES = 10
_AWAY_S = 600


def figure(name: str, value: float | str, unit: str, bar: str = "", holds: bool | None = None) -> Figure:
    """A figure; `run` says how it is measured again."""
    return Figure(name, value, unit, bar, holds, "")


# ---- the store


@dataclass
class Store:
    """A private Valkey, whose files can be kept from growing."""

    folder: Path
    fsync: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def url(self, number: int = 0) -> str:
        """Of one of its databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> None:
        """Start it; who needs it waits for its answers."""
        command = [str(valkey_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", self.fsync, "--logfile", "valkey.log"]
        # Signals as Python leaves them: a file that may not grow is an error to the server and does not end it.
        self.process = subprocess.Popen(command, restore_signals=False)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def limit_files(self, file_bytes: int) -> None:
        """Let no file of it grow beyond so many bytes: what a full disk does, without one."""
        if self.process is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))

    def largest_file(self) -> int:
        """Bytes of the largest of its files that grow."""
        return max((path.stat().st_size for path in self.folder.glob("**/*.aof")), default=0)


@contextmanager
def running_store(fsync: str = "always") -> Iterator[Store]:
    """A store until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="tessera-bench-outbox-") as folder:
        store = Store(Path(folder), fsync)
        store.start()
        try:
            yield store
        finally:
            store.kill()


# ---- one house


class House:
    """An event log, a receiver, and gateways one after the other between them.

    Args:
        log: the event log.
        address: of the log.
        receiver: who is told.
        store_url: of the outbox.
    """

    def __init__(self, log: EventLog, address: str, receiver: Receiver, store_url: str) -> None:
        self.log = log
        self.receiver = receiver
        self.outbox = RedisOutbox(store_url)
        self.told: list[str] = []
        self._arguments = (store_url, address, receiver.url)
        self._processes = multiprocessing.get_context("forkserver")

    def tell(self, alert_id: str, revision: int = 1, valid_s: float = 3600.0) -> None:
        """Record an alert, and that it is owed."""
        self.told.append(self.log.tell(alert_id, revision, valid_s))

    @asynccontextmanager
    async def gateway(self, step: str = "") -> AsyncIterator[BaseProcess]:
        """A gateway until the end of the block; it has ended by then, by itself or by SIGKILL."""
        process = self._processes.Process(target=run_gateway, args=(step, *self._arguments), daemon=True)
        process.start()
        try:
            yield process
        finally:
            process.kill()
            await asyncio.to_thread(process.join)

    async def is_settled(self) -> bool:
        """Whether everything that was told came or is dead, and nothing waits."""
        try:
            if (await self.outbox.depth("door")).waiting or await self.outbox.cursor() != str(len(self.log.events)):
                return False
        except UnavailableError:
            return False
        return True

    async def lost(self) -> list[str]:
        """What neither came nor is dead."""
        dead = {letter.notification.key for letter in await self.outbox.dead("", 1_000_000)}
        return sorted(set(self.told) - set(self.receiver.keys) - dead)

    def strange(self) -> int:
        """Keys that came and belong to nothing that was told: a duplicate under another key."""
        return len(set(self.receiver.keys) - set(self.told))

    def duplicates(self) -> int:
        """What came again, under its key."""
        return len(self.receiver.keys) - len(set(self.receiver.keys))

    def out_of_order(self) -> int:
        """Incidents whose second revision came before its first had come."""
        first = {key: at for at, key in reversed(list(enumerate(self.receiver.keys)))}
        pairs = [(key, key.replace("/1/", "/2/")) for key in first if "/1/" in key]
        return sum(second in first and first[second] < first[key] for key, second in pairs)


@asynccontextmanager
async def house(store_url: str) -> AsyncIterator[House]:
    """An event log and a receiver; the gateways' first start has taken a place in the log."""
    async with running_log() as (log, address), running_receiver() as receiver:
        made = House(log, address, receiver, store_url)
        try:
            await wait_for(lambda: _answers(made.outbox), "the store")
            async with made.gateway():
                made.log.tell("zero")

                async def has_begun() -> bool:
                    return bool(await made.outbox.cursor())

                await wait_for(has_begun, "the first cursor")
                await wait_for(made.is_settled, "the first event")
            receiver.keys.clear()
            yield made
        finally:
            await made.outbox.close()


async def wait_for(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask until it is true.

    Raises:
        TimeoutError: it was not within the limit.
    """
    until_s = time.monotonic() + _LIMIT_S
    while not await condition():
        if time.monotonic() > until_s:
            raise TimeoutError(f"not within {_LIMIT_S:.0f} s: {what}")
        await asyncio.sleep(0.01)


async def _answers(outbox: RedisOutbox) -> bool:
    try:
        await outbox.check()
    except UnavailableError:
        return False
    return True


# ---- kill -9 at each step


async def kills(count: int) -> list[Figure]:
    """So many kills at each step, on several houses beside each other; then a gateway that is left alone."""
    rounds = [step for _ in range(count) for step in STEPS]
    with running_store() as store:
        lanes = [rounds[lane::LANES] for lane in range(LANES)]
        results = await asyncio.gather(*(_lane(store.url(lane), steps) for lane, steps in enumerate(lanes)))
    total: Counter[str] = sum(results, Counter())
    fewest = min(total[step] for step in STEPS)
    holds = total["lost"] == 0
    return [
        figure("kill -9 at each of 11 steps: kills at the step killed least", fewest, "kills", "100", fewest >= KILLS),
        figure("kill -9 at each step: notifications told", total["told"], "notifications"),
        figure("kill -9 at each step: lost", total["lost"], "notifications", "0", holds),
        figure("kill -9 at each step: came again, under their keys", total["duplicates"], "deliveries"),
        figure("kill -9 at each step: under strange keys", total["strange"], "deliveries", "0", not total["strange"]),
        figure("kill -9 at each step: out of order", total["disorder"], "incidents", "0", not total["disorder"]),
        figure("kill -9 at each step: genuine messages rejected", total["rejected"], "messages"),
    ]


async def _lane(store_url: str, steps: list[str]) -> Counter[str]:
    counted: Counter[str] = Counter()
    async with house(store_url) as made:
        for number, step in enumerate(steps):
            counted[step] += await _killed(made, step, number)
        made.receiver.answers.clear()
        made.receiver.kills = 0
        async with made.gateway():
            await wait_for(made.is_settled, "everything delivered")
        counted["told"] = len(made.told)
        counted["lost"] = len(await made.lost())
        counted["duplicates"] = made.duplicates()
        counted["strange"] = made.strange()
        counted["disorder"] = made.out_of_order()
        counted["rejected"] = sum(made.receiver.rejected.values())
    return counted


async def _killed(made: House, step: str, number: int) -> int:
    """One round: a gateway that dies at the step while an incident of two revisions is told.

    Returns:
        1 when it died there.
    """
    made.receiver.answers.clear()
    if step.endswith("postpone"):
        made.receiver.answers.append(503)
    async with made.gateway(step) as process:
        if step == IN_DELIVER:
            made.receiver.kills = process.pid or 0
        made.tell(f"a{number}", 1, valid_s=-1.0 if step.endswith("bury") else 3600.0)
        made.tell(f"a{number}", 2)
        await asyncio.wait_for(asyncio.to_thread(process.join), _LIMIT_S)
        return int(process.exitcode in _KILLED)


# ---- the store away


async def store_away() -> list[Figure]:
    """The store is killed and started again, ten times, while alerts are told."""
    with running_store() as store:
        async with house(store.url()) as made, made.gateway():
            number = 0
            for _ in range(_OUTAGES):
                for away in (False, True):
                    if away:
                        store.kill()
                    for _ in range(5):
                        number += 1
                        made.tell(f"s{number}")
                        await asyncio.sleep(0.02)
                store.start()
                await wait_for(lambda: _answers(made.outbox), "the store again")
            await wait_for(made.is_settled, "everything delivered")
            lost = len(await made.lost())
            return [
                figure(f"store killed and back {_OUTAGES} times: notifications told", len(made.told), "notifications"),
                figure(f"store killed and back {_OUTAGES} times: lost", lost, "notifications", "0", not lost),
                figure(f"store killed and back {_OUTAGES} times: came again", made.duplicates(), "deliveries"),
                figure(
                    f"store killed and back {_OUTAGES} times: under strange keys",
                    made.strange(),
                    "deliveries",
                    "0",
                    not made.strange(),
                ),
            ]


# ---- the disk full


async def disk_full(fsync: str) -> list[Figure]:
    """The store's file may not grow while alerts are told; then it may again."""
    with running_store(fsync) as store:
        async with house(store.url()) as made, made.gateway():
            store.limit_files(store.largest_file() + 2000)
            for number in range(60):
                made.tell(f"d{number}")
                await asyncio.sleep(0.02)
            came_before = len(set(made.receiver.keys))
            refused = not await _takes_writes(made.outbox)
            if store.process is not None and store.process.poll() is not None:  # as the server does with `always`
                store.start()
            else:
                store.limit_files(resource.RLIM_INFINITY)
            await wait_for(made.is_settled, "everything delivered")
            lost = len(await made.lost())
            name = f"disk full, appendfsync {fsync}"
            return [
                figure(f"{name}: notifications told, of which came before there was room", f"60, {came_before}", ""),
                figure(f"{name}: the store took no writes meanwhile", str(refused), "", "True", refused),
                figure(f"{name}: lost", lost, "notifications", "0", not lost),
                figure(f"{name}: came again, under their keys", made.duplicates(), "deliveries"),
            ]


async def _takes_writes(outbox: RedisOutbox) -> bool:
    """Another gateway's try for the lease writes, or is refused by the store."""
    try:
        fence = await outbox.acquire("another", 0.001)
    except UnavailableError:
        return False
    return fence is not None


# ---- the receiver away


async def receiver_away() -> list[Figure]:
    """A receiver answers 503 for ten minutes of a clock that is moved, and then takes everything."""
    start = datetime.now(UTC)
    clock, owed = ManualClock(start), 100
    with running_store() as store:
        outbox = RedisOutbox(store.url())
        async with running_receiver() as receiver:
            await wait_for(lambda: _answers(outbox), "the store")
            way = Webhook(receiver.url, (Secret(SECRET),))
            target = Target("door", way, late=Late.DELIVER)
            deliverer = WebhookDeliverer(way, Allowed(parse_networks("networks", "127.0.0.0/8")), 10.0)
            metrics = GatewayMetrics(CollectorRegistry())
            sender = Sender(target, deliverer, outbox, clock=clock, metrics=metrics, backoff=Backoff())
            fence = await outbox.acquire("bench", 3600.0)
            if fence is None:
                raise RuntimeError("the lease of a new store is somebody else's")
            notifications = [Notification("door", _happening(number, start), start) for number in range(owed)]
            await outbox.accept(fence, "1", notifications, start)
            receiver.checking = WebhookReceiver(SECRET, window_s=3600.0, accept_late=True)
            receiver.is_away = True
            running = asyncio.create_task(sender.run(fence))
            for _ in range(_AWAY_S):
                clock.advance(1.0)
                sender.wake()

                async def nothing_due() -> bool:
                    return not await outbox.due("door", clock.now(), 1)

                await wait_for(nothing_due, "the attempts of a second")
            attempts = receiver.attempts
            receiver.is_away = False
            clock.advance(300.0)
            sender.wake()

            async def delivered() -> bool:
                return not (await outbox.depth("door")).waiting

            await wait_for(delivered, "everything delivered")
            await end_tasks(running)
            await deliverer.close()
            lost = owed - len(set(receiver.keys))
        await outbox.close()
    return [
        figure("receiver away for 10 min (simulated): notifications owed", owed, "notifications"),
        figure("receiver away for 10 min (simulated): attempts for each, mean", attempts / owed, "attempts"),
        figure("receiver away for 10 min (simulated): lost", lost, "notifications", "0", not lost),
    ]


def _happening(number: int, at: datetime) -> Happening:
    facts = {"alert_id": f"r{number}", "rule_id": "strangers", "severity": "CRITICAL", "state": "OPEN"}
    return Happening(Kind.ALERT, f"alert-r{number}", 1, at, at, at + timedelta(seconds=60), "yard", facts)


# ---- all of it


async def measure(count: int) -> list[Figure]:
    """Every part, one after the other."""
    figures = await kills(count)
    figures += await store_away()
    for fsync in ("always", "everysec"):
        figures += await disk_full(fsync)
    return figures + await receiver_away()


def run(context: Context) -> list[Figure]:
    """All of it: a hundred kills at each of eleven steps take some minutes."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["benchmarks.alerts.killed_gateway"])
    configure_logs("benchmark", level="error")
    figures = asyncio.run(measure(context.count(KILLS, 2)))
    return [context.figure(one.figure, one.value, one.unit, one.bar, holds=one.holds) for one in figures]
