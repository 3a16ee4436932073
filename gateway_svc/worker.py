"""What the one gateway that works does, and the others wait for: the lease, the follower, a sender for each target."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from gateway_svc.following import Follower
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.notifications import DeadLetter, DeadReason
from gateway_svc.outbox import Fence, FencedError, Outbox
from gateway_svc.sending import Sender
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks
from tessera.domain.errors import UnavailableError

log = get_logger()

_ORPHANS_A_ROUND = 256
_GAUGES_EVERY_S = 1.0


class Worker:
    """Holds the lease and works, or waits for it.

    Args:
        holder: names this process to the others; another one after a restart.
        lease_s: a gateway that is gone is followed by another after so long.
        outbox: what is owed.
        follower: takes events in.
        senders: one for each target.
        clock: for ages.
        metrics: where it counts.
    """

    def __init__(
        self,
        holder: str,
        lease_s: float,
        *,
        outbox: Outbox,
        follower: Follower,
        senders: Sequence[Sender],
        clock: Clock,
        metrics: GatewayMetrics,
    ) -> None:
        self._holder = holder
        self._lease_s = lease_s
        self._outbox = outbox
        self._follower = follower
        self._senders = {sender.target.name: sender for sender in senders}
        self._clock = clock
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self.is_leading = False

    @property
    def is_following(self) -> bool:
        """Whether the stream of events is open."""
        return self._follower.is_following

    def wake(self, targets: Collection[str]) -> None:
        """Something new is owed to these."""
        for name in targets:
            self._senders[name].wake()

    def stop(self) -> None:
        """Take in no more, begin no attempt, and end when those under way have."""
        self._stopping.set()

    async def run(self) -> None:
        """Work whenever the lease can be had, until `stop`."""
        while not self._stopping.is_set():
            fence = await self._acquired()
            if fence is None:
                await self._pause(self._lease_s / 3)
                continue
            log.info("lease.taken", fence=fence)
            self.is_leading = True
            self._metrics.leading.set(1)
            try:
                await self._lead(fence)
            except FencedError as error:
                log.warning("lease.lost", error=str(error))
            finally:
                self.is_leading = False
                self._metrics.leading.set(0)
                with contextlib.suppress(UnavailableError):
                    await self._outbox.release(self._holder, fence)

    async def _acquired(self) -> Fence | None:
        try:
            return await self._outbox.acquire(self._holder, self._lease_s)
        except UnavailableError as error:
            log.info("lease.away", error=str(error))
            return None

    async def _lead(self, fence: Fence) -> None:
        sending = [asyncio.create_task(sender.run(fence)) for sender in self._senders.values()]
        others = [
            asyncio.create_task(work)
            for work in (
                self._renew(fence),
                self._follower.run(fence),
                self._bury_orphans(fence),
                self._show(),
                self._stopping.wait(),
            )
        ]
        try:
            done, _ = await asyncio.wait((*sending, *others), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await end_tasks(*others[1:])  # the lease is held on to until the last answer is written
            for sender in self._senders.values():
                sender.finish()
            await asyncio.gather(*sending)
        finally:
            await end_tasks(*sending, *others)

    async def _renew(self, fence: Fence) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 3)
            with contextlib.suppress(UnavailableError):  # whoever writes notices as well
                await self._outbox.renew(self._holder, fence, self._lease_s)

    async def _bury_orphans(self, fence: Fence) -> None:
        """What waits for a target that is configured no more would wait for ever."""
        orphans: frozenset[str] | None = None
        while orphans is None or orphans:
            try:
                orphans = await self._outbox.targets() - self._senders.keys()
                for target in orphans:
                    for one in await self._outbox.due(target, self._clock.now(), _ORPHANS_A_ROUND):
                        why = f"there is no target {target} any more"
                        await self._outbox.bury(fence, DeadLetter(one, DeadReason.NO_TARGET, why, self._clock.now()))
                        self._metrics.deliveries.labels(target, DeadReason.NO_TARGET.value.lower()).inc()
            except UnavailableError:
                pass
            await asyncio.sleep(_GAUGES_EVERY_S)
        await asyncio.Event().wait()  # done, and no reason for the others to end

    async def _show(self) -> None:
        while True:
            with contextlib.suppress(UnavailableError):
                await self._count()
            await asyncio.sleep(_GAUGES_EVERY_S)

    async def _count(self) -> None:
        now = self._clock.now()
        for name in self._senders:
            depth, held = await self._outbox.depth(name), await self._outbox.held_back(name)
            age_s = (now - depth.oldest).total_seconds() if depth.oldest is not None else 0.0
            self._metrics.outbox_depth.labels(name).set(depth.waiting)
            self._metrics.outbox_oldest_s.labels(name).set(max(0.0, age_s))
            self._metrics.held_back.labels(name).set(held.untold)
        self._metrics.dead_letters.set(await self._outbox.dead_count())

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
