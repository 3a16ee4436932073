"""Drives the checkpoints of all audit logs: one gallery at a time, at a steady pace, whatever the disk does.

Decisions never wait for it. While nothing can be written, the age of what no checkpoint covers grows, and is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from gallery_svc.checkpointed_log import CheckpointedLog, ReceiptSource, TrailPlace
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import InvalidInputError, TesseraError

LEASE = "checkpoints"
LEASE_S = 15.0
"""After so long another gallery goes on for one that died."""
LONGEST_PACE_S = 1.0
"""Logs are looked at so often at least: a thousand entries are not left to wait for the interval."""


class Checkpointer:
    """Writes the checkpoints, as long as this gallery has the lease.

    Args:
        store: where the logs are.
        place: where checkpoints go; None: none are written, and no log is trimmed.
        receipts: of erasures, which are kept beside the checkpoints.
        clock: for the pace.
        metrics: where it counts.
        member_id: names this process.
        interval_s: how often a log with new entries gets a checkpoint.
        kept: entries of each log that stay in the store.
    """

    def __init__(
        self,
        *,
        store: Store,
        place: TrailPlace | None,
        receipts: ReceiptSource,
        clock: Clock,
        metrics: GalleryMetrics,
        member_id: str,
        interval_s: float,
        kept: int,
    ) -> None:
        self._store = store
        self._place = place
        self._receipts = receipts
        self._clock = clock
        self._metrics = metrics
        self._member_id = member_id
        self._interval_s = interval_s
        self._kept = kept
        self._logs: dict[str, CheckpointedLog] = {}
        self._obstacles: dict[str, str] = {}
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Write checkpoints until `stop`, and one more then."""
        if self._place is None:
            get_logger().warning(
                "checkpoints.off", why="audit_dir is not set: no audit log is provable, none is trimmed"
            )
            return
        while not self._stopped.is_set():
            await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LONGEST_PACE_S, self._interval_s)):
                    await self._stopped.wait()
        await self._end()

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped.set()

    async def step(self) -> None:
        """Look at every log once; what stands in the way is told in the log and by the metric."""
        await self._do("", self._look)

    # ---- inside

    async def _look(self) -> None:
        if not await self._store.take_lease(LEASE, self._member_id, LEASE_S):
            await self._let_go()
            return
        for log in await self._store.audit_logs():
            if log not in self._logs:
                self._logs[log] = self._opened(log)
            await self._do(log, self._logs[log].step)
            await self._store.take_lease(LEASE, self._member_id, LEASE_S)

    async def _end(self) -> None:
        for log, each in self._logs.items():
            await self._do(log, partial(each.step, is_last=True))
        await self._let_go()
        with contextlib.suppress(TesseraError):
            await self._store.drop_lease(LEASE, self._member_id)

    async def _let_go(self) -> None:
        for each in self._logs.values():
            await each.close()
        self._logs.clear()

    async def _do(self, log: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do one thing; what stands in its way is told when it is new, and tried again at the next look."""
        obstacle = ""
        try:
            await work()
        except TesseraError as error:
            obstacle = str(error)
        except Exception as error:  # noqa: BLE001 - the edge of this task: checkpoint_age_seconds goes on to grow
            obstacle = type(error).__name__
            if obstacle != self._obstacles.get(log):
                get_logger().exception("checkpoints.failed", log=log)
        if obstacle and obstacle != self._obstacles.get(log):
            get_logger().error("checkpoints.delayed", log=log, why=obstacle)
        elif not obstacle and self._obstacles.get(log):
            get_logger().info("checkpoints.resumed", log=log)
        self._obstacles[log] = obstacle

    def _opened(self, log: str) -> CheckpointedLog:
        if self._place is None:
            raise InvalidInputError("audit_dir", "", "a folder")
        return CheckpointedLog(
            log,
            store=self._store,
            place=self._place,
            receipts=self._receipts,
            clock=self._clock,
            metrics=self._metrics,
            interval_s=self._interval_s,
            kept=self._kept,
        )
